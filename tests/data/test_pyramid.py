"""Sets of images at lower resolutions."""

import dataclasses

import numpy as np
import pytest

from jaxgan.data.pyramid import Reduced, at_height
from jaxgan.data.sources import open_images


@pytest.fixture(scope="module")
def images():
    return open_images("emoji", split="test")


def test_levels_are_rounded_means_over_squares(images, tmp_path):
    level = at_height(images, 16, cache_dir=tmp_path)
    assert level.images.shape == (len(images), 16, 16, 3)
    picks = np.array([5, 0, 17])
    pixels = images.gather(picks).astype(np.float64)
    got = level.gather(picks)
    for i, j in np.ndindex(16, 16):
        expected = pixels[:, 4 * i : 4 * i + 4, 4 * j : 4 * j + 4].mean(axis=(1, 2))
        assert np.max(np.abs(got[:, i, j] - expected)) <= 0.5
    np.testing.assert_array_equal(level.labels, images.labels)
    assert level.fingerprint != images.fingerprint


def test_it_is_kept_and_equals_what_is_made_on_the_fly(images, tmp_path):
    kept = at_height(images, 8, cache_dir=tmp_path)
    assert len(list(tmp_path.glob("images-*-8.npy"))) == 1
    again = at_height(dataclasses.replace(images, images=np.zeros_like(images.images)), 8, cache_dir=tmp_path)
    picks = np.arange(len(images))
    np.testing.assert_array_equal(again.gather(picks), kept.gather(picks))  # read, not made anew
    lazy = at_height(images, 8, cache_dir=tmp_path, memory_map_gb=0.0)
    assert isinstance(lazy.images, Reduced)
    np.testing.assert_array_equal(lazy.gather(picks[::-1]), kept.gather(picks[::-1]))


def test_the_full_height_is_the_set_itself(images):
    assert at_height(images, 64) is images


@pytest.mark.parametrize("height", [24, 48])
def test_a_height_that_is_no_level(images, height):
    with pytest.raises(ValueError, match="no level"):
        at_height(images, height)
