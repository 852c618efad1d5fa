"""Modulated convolution against explicit kernels, one a sample."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxgan.networks.layers import convolution_3x3
from jaxgan.ops import enlarge
from jaxgan.ops.conv import conv
from jaxgan.ops.enlarge import Enlargement
from jaxgan.ops.modulation import demodulation, modulated_conv, spatially_modulated_conv
from jaxgan.ops.resample import upsample_conv
from jaxgan.ops.resize import resize


def operands(kernel=3):
    rng = np.random.default_rng(0)
    shapes = (3, 4, 6, 5), (kernel, kernel, 5, 2), (3, 5)
    return tuple(jnp.asarray(rng.standard_normal(s), jnp.float32) for s in shapes)


def per_sample(x, w, styles, *, demodulate):
    """The paper's form (StyleGAN2, section 2.2): a kernel for every sample."""
    out = []
    for image, style in zip(np.asarray(x), np.asarray(styles)):
        kernel = np.asarray(w) * style[None, None, :, None]
        if demodulate:
            kernel = kernel / np.sqrt(np.sum(kernel**2, axis=(0, 1, 2)) + 1e-8)
        layout = ("NHWC", "HWIO", "NHWC")
        out.append(lax.conv_general_dilated(image[None], kernel, (1, 1), "SAME", dimension_numbers=layout)[0])
    return np.stack(out)


@pytest.mark.parametrize(
    ("kernel", "convolution", "demodulate"), [(3, convolution_3x3, True), (1, conv, False), (1, conv, True)]
)
def test_equals_a_kernel_per_sample(kernel, convolution, demodulate):
    x, w, styles = operands(kernel)
    y = modulated_conv(x, w, styles, convolution, demodulate=demodulate)
    np.testing.assert_allclose(y, per_sample(x, w, styles, demodulate=demodulate), rtol=0, atol=1e-5)


def test_demodulation_is_the_norm_of_the_modulated_kernel():
    _, w, styles = operands()
    kernels = np.asarray(w)[None] * np.asarray(styles)[:, None, None, :, None]
    expected = 1 / np.sqrt(np.sum(kernels**2, axis=(1, 2, 3)) + 1e-8)
    np.testing.assert_allclose(demodulation(w, styles), expected, rtol=1e-5)


@pytest.mark.parametrize("convolution", [convolution_3x3, upsample_conv])
def test_demodulated_output_does_not_depend_on_the_kernels_scale(convolution):
    x, w, styles = operands()
    y = modulated_conv(x, w, styles, convolution)
    np.testing.assert_allclose(modulated_conv(x, 7.0 * w, styles, convolution), y, rtol=0, atol=2e-5)
    # Nor on the scale of one output channel, or of a sample's style.
    by_channel, by_sample = jnp.array([0.1, 30.0]), jnp.array([[2.0], [0.5], [9.0]])
    scaled = modulated_conv(x, w * by_channel, styles * by_sample, convolution)
    np.testing.assert_allclose(scaled, y, rtol=0, atol=2e-5)


CELLS = [(1, 1), (2, 3), (4, 6), (8, 9)]


def to_all_of(x):
    return Enlargement(x.shape[1:3], (0, 0, *x.shape[1:3]), "torch_bilinear")


@pytest.mark.parametrize("cells", CELLS)
@pytest.mark.parametrize("rule", ["centre", "window"])
@pytest.mark.parametrize("convolution", [convolution_3x3, upsample_conv])
def test_a_style_that_is_the_same_everywhere_is_one_of_the_whole_image(rule, convolution, cells):
    """Section 11, test 1, of the layer: an identity, so that float64 sees it to its own rounding."""
    with jax.enable_x64(True):
        x, w, styles = (jnp.asarray(a, jnp.float64) for a in operands())
        expected = modulated_conv(x, w, styles, convolution)
        everywhere = jnp.broadcast_to(styles[:, None, None], (3, *cells, styles.shape[1]))
        before, after = to_all_of(x), to_all_of(expected)
        y = spatially_modulated_conv(x, w, everywhere, convolution, before=before, after=after, rule=rule)
        assert y.dtype == jnp.float64
        np.testing.assert_allclose(y, expected, rtol=0, atol=1e-10 * float(np.abs(expected).max()))


@pytest.mark.parametrize("cells", CELLS)
def test_a_colour_layer_s_style_that_is_the_same_everywhere_is_one_of_the_whole_image(cells):
    """The same of ToRGB, whose output is not demodulated."""
    with jax.enable_x64(True):
        x, w, styles = (jnp.asarray(a, jnp.float64) for a in operands(1))
        expected = modulated_conv(x, w, styles, conv, demodulate=False)
        everywhere = jnp.broadcast_to(styles[:, None, None], (3, *cells, styles.shape[1]))
        y = spatially_modulated_conv(x, w, everywhere, conv, before=to_all_of(x), after=None)
        np.testing.assert_allclose(y, expected, rtol=0, atol=1e-10 * float(np.abs(expected).max()))


@pytest.mark.parametrize("form", enlarge.FORMS)
@pytest.mark.parametrize("rule", ["centre", "window"])
@pytest.mark.parametrize("convolution", [convolution_3x3, upsample_conv])
def test_styles_that_differ_are_those_of_each_pixel(rule, convolution, form, monkeypatch):
    """Spelt out: styles resized to both sizes, squares summed at each pixel of the result."""
    monkeypatch.setattr(enlarge, "default_form", lambda *_: form)
    with jax.enable_x64(True):
        x, w, _ = (jnp.asarray(a, jnp.float64) for a in operands())
        styles = jax.random.normal(jax.random.key(0), (3, 2, 2, 5), jnp.float64)
        plain = convolution(x * resize(styles, x.shape[1:3], "torch_bilinear"), w)
        squares = jnp.square(resize(styles, plain.shape[1:3], "torch_bilinear"))
        if rule == "window":
            total = conv(jnp.pad(squares, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge"), jnp.square(w))
        else:
            total = squares @ jnp.square(w).sum((0, 1))
        y = spatially_modulated_conv(x, w, styles, convolution, before=to_all_of(x), after=to_all_of(plain), rule=rule)
        np.testing.assert_allclose(y, plain / jnp.sqrt(total + 1e-8), rtol=0, atol=1e-10)


@pytest.mark.parametrize("form", enlarge.FORMS)
def test_styles_that_cross_zero_between_cells_leave_numbers(form, monkeypatch):
    """The norm is 0 there; made of the squares around it, it may be rounded to less."""
    monkeypatch.setattr(enlarge, "default_form", lambda *_: form)
    x, w = jnp.ones((64, 8, 8, 1)), jnp.ones((3, 3, 1, 1))
    corner = 100 * jax.random.normal(jax.random.key(0), (64, 1, 1, 1))
    styles = jnp.concatenate([corner, -3 * corner], axis=2).repeat(2, axis=1)
    where = to_all_of(x)
    assert np.isfinite(spatially_modulated_conv(x, w, styles, convolution_3x3, before=where, after=where)).all()


def test_bfloat16_is_close_and_survives_large_weights():
    x, w, styles = operands()
    full = np.asarray(modulated_conv(x, w, styles, convolution_3x3))
    for scale in (1.0, 1e6):
        low = modulated_conv(x.astype(jnp.bfloat16), w * scale, styles * scale, convolution_3x3)
        assert low.dtype == jnp.bfloat16
        np.testing.assert_allclose(np.asarray(low, np.float32), full, rtol=0, atol=0.03 * np.abs(full).max())


def test_gradients_are_finite_in_bfloat16():
    x, w, styles = operands()

    def f(w, styles):
        return jnp.sum(modulated_conv(x.astype(jnp.bfloat16), w, styles, convolution_3x3).astype(jnp.float32) ** 2)

    for gradient in jax.jit(jax.grad(f, argnums=(0, 1)))(w, styles):
        assert np.all(np.isfinite(gradient))
