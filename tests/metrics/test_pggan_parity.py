"""Laplacian pyramid, sliced Wasserstein distance and MS-SSIM against values of Progressive GAN's own code."""

from pathlib import Path

import numpy as np
import pytest

from jaxgan.errors import UserError
from jaxgan.metrics import swd
from jaxgan.metrics.ms_ssim import ms_ssim


@pytest.fixture(scope="module")
def reference():
    return dict(np.load(Path(__file__).parent.parent / "data" / "parity" / "pggan_metrics_64.npz"))


def test_laplacian_levels(reference):
    pyramid = swd.laplacian_pyramid(reference["images_a"][:4])
    assert [p.shape[1] for p in pyramid] == swd.levels(64) == [64, 32, 16]
    for i, level in enumerate(pyramid):
        np.testing.assert_allclose(level, reference[f"laplacian_a_level{i}"], atol=1e-3)


def test_sliced_wasserstein_lies_within_the_seeds(reference):
    expected = reference["swd_x1e3_per_level_5seeds"]
    mean, spread = expected.mean(0), expected.std(0, ddof=1)
    found = [swd.images_distance([reference["images_a"]], [reference["images_b"]], seed=s) for s in range(3)]
    # Three of ours against five of theirs: means differ by no more than chance lets them.
    error = np.abs(np.mean(found, 0) - mean) / (spread * (1 / 3 + 1 / 5) ** 0.5)
    assert (error < 3).all(), (found, mean, spread)
    assert (np.std(found, 0, ddof=1) < 4 * spread).all()


def test_ms_ssim(reference):
    a, b = reference["images_a"], reference["images_b"]
    np.testing.assert_allclose(ms_ssim(a[:8], b[:8]), reference["ms_ssim_a_b_pairs"], atol=1e-4)
    np.testing.assert_allclose(np.mean(ms_ssim(a[:8], b[:8])), reference["ms_ssim_a_b_batch8"], atol=1e-4)


def test_ms_ssim_of_equal_and_of_odd_images(reference):
    a = reference["images_a"][:2]
    np.testing.assert_allclose(ms_ssim(a, a), 1, atol=1e-5)
    odd = a[:, :33, :47]
    np.testing.assert_allclose(ms_ssim(odd, odd), 1, atol=1e-5)
    assert np.isfinite(ms_ssim(odd, odd[::-1])).all()
    grey = a[..., :1]
    np.testing.assert_allclose(ms_ssim(grey, grey), 1, atol=1e-5)


def test_patches_do_not_depend_on_how_batches_are_filled_up(reference):
    images = reference["images_a"][:4]
    one, other = swd.Patches(), swd.Patches()
    one.add(images, 3)
    other.add(images)
    assert one.count == 3
    assert other.count == 4
    np.testing.assert_array_equal(one._parts[0][0], other._parts[0][0][: 3 * swd.PATCHES_PER_IMAGE])
    with pytest.raises(UserError, match="3 and 4 images"):
        swd.sliced_wasserstein(one, other)


def test_the_same_images_are_close_and_noise_is_far(reference):
    a = reference["images_a"]
    noisy = np.clip(a + np.random.default_rng(0).normal(0, 30, a.shape), 0, 255)
    same, far = swd.images_distance([a], [a]), swd.images_distance([a], [noisy])
    assert same[0] < far[0] / 5


@pytest.mark.parametrize("side", [8, 24])
def test_sides_without_a_pyramid(side):
    with pytest.raises(UserError, match=f"images of {side} px"):
        swd.levels(side)


def test_arrays_and_streams_grey_and_alpha(reference):
    a, b = (reference[f"images_{x}"][:6] for x in "ab")
    assert swd.images_distance(a, b, batch_size=2) == swd.images_distance(
        [a[:2], a[2:4], a[4:]], [b[:2], b[2:4], b[4:]]
    )
    grey = np.repeat(a[..., :1], 3, -1)
    np.testing.assert_allclose(swd.images_distance(a[..., :1], b), swd.images_distance(grey, b))
    opaque = [np.concatenate([x, np.full_like(x[..., :1], 255)], -1) for x in (a, b)]
    np.testing.assert_allclose(ms_ssim(*opaque), ms_ssim(a, b), rtol=1e-6)


def test_images_that_cannot_be_measured(reference):
    a = np.asarray(reference["images_a"][:2], np.float32)
    with pytest.raises(UserError, match=r"lie in \[0, 1\]"):
        swd.images_distance(a / 255, a / 255)
    with pytest.raises(UserError, match="64x32"):
        swd.images_distance(a[:, :, :32], a[:, :, :32])
    with pytest.raises(UserError, match="48 px"):
        swd.images_distance(a[:, :48, :48], a[:, :48, :48])
    with pytest.raises(UserError, match="NaN"):
        ms_ssim(a, a * np.nan)
    with pytest.raises(UserError, match="no pairs"):
        ms_ssim(a, a[:1])
    with pytest.raises(UserError, match=r"\(0, 64, 64, 3\)"):
        ms_ssim(a[:0], a[:0])
