"""Resizing against Pillow, and against the definitions of TensorFlow 1 and torch."""

import jax
import numpy as np
import pytest
from PIL import Image

from jaxgan.ops import resize

PILLOW = {
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


@pytest.mark.parametrize("size", [(24, 40), (7, 5), (16, 16), (64, 100)])
@pytest.mark.parametrize("name", PILLOW)
def test_equals_pillow(name, size):
    image = np.random.default_rng(0).uniform(0, 255, (16, 20)).astype(np.float32)
    expected = np.asarray(Image.fromarray(image, mode=None).resize(size[::-1], PILLOW[name]))
    found = resize.resize(image[None, :, :, None], size, name)
    np.testing.assert_allclose(found[0, :, :, 0], expected, atol=2e-3)


def test_tf1_bilinear_starts_at_the_first_pixel():
    x = np.array([0.0, 1.0, 2.0, 3.0])
    np.testing.assert_allclose(resize.matrix(4, 8, "tf1_bilinear") @ x, [0, 0.5, 1, 1.5, 2, 2.5, 3, 3])
    np.testing.assert_allclose(resize.matrix(4, 2, "tf1_bilinear") @ x, [0, 2])


def test_torch_bilinear_has_half_pixels():
    x = np.array([0.0, 1.0, 2.0, 3.0])
    np.testing.assert_allclose(resize.matrix(4, 8, "torch_bilinear") @ x, [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3])
    np.testing.assert_allclose(resize.matrix(4, 2, "torch_bilinear") @ x, [0.5, 2.5])


@pytest.mark.parametrize("name", resize.FILTERS)
@pytest.mark.parametrize("sizes", [(4, 9), (9, 4), (32, 299)])
def test_a_constant_stays(name, sizes):
    np.testing.assert_allclose(resize.matrix(*sizes, name).sum(1), 1, atol=1e-12)


def test_leading_axes_and_unknown_filters():
    x = jax.random.normal(jax.random.key(0), (2, 3, 4, 4, 1))
    assert resize.resize(x, (8, 6), "box").shape == (2, 3, 8, 6, 1)
    assert resize.resize(x, (4, 4), "box") is x
    with pytest.raises(ValueError, match="sinc"):
        resize.matrix(4, 8, "sinc")
