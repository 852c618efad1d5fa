"""Resampling against a slow NumPy reference that inserts zeros, pads and filters, as upfirdn is defined."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.ops import resample

FILTER = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def zeros_between(x):
    out = np.zeros((x.shape[0], 2 * x.shape[1] - 1, 2 * x.shape[2] - 1, x.shape[3]))
    out[:, ::2, ::2] = x
    return out


def pad(x, before, after):
    return np.pad(x, ((0, 0), (before, after), (before, after), (0, 0)))


def correlate(x, w):
    """[N, H, W, I] with [k, k, I, O], no padding, pixel by pixel."""
    height, width = x.shape[1] - w.shape[0] + 1, x.shape[2] - w.shape[1] + 1
    out = np.zeros((x.shape[0], height, width, w.shape[3]))
    for i, j in itertools.product(range(height), range(width)):
        out[:, i, j] = np.einsum("nabi,abio->no", x[:, i : i + w.shape[0], j : j + w.shape[1]], w)
    return out


def filtered(x, taps):
    channels = x.shape[-1]
    return correlate(x, taps[:, :, None, None] * np.eye(channels))


def reference_upsample_conv(x, w):
    x = correlate(pad(zeros_between(x), 2, 2), w[::-1, ::-1])
    return filtered(pad(x, 1, 1), 4 * FILTER)


def reference_downsample_conv(x, w):
    return correlate(filtered(pad(x, 2, 2), FILTER), w)[:, ::2, ::2]


def close(a, b, tolerance=1e-5):
    assert a.shape == b.shape
    np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.max(np.abs(b)))


CONVOLUTIONS = {
    "up": (resample.upsample_conv, reference_upsample_conv, (2, 3, 5, 3)),
    "down": (resample.downsample_conv, reference_downsample_conv, (2, 6, 10, 3)),
}
convolutions = pytest.mark.parametrize("name", CONVOLUTIONS)


@convolutions
@pytest.mark.parametrize("form", [*resample.FORMS, None])
def test_convolution_equals_the_definition(name, form):
    function, reference, shape = CONVOLUTIONS[name]
    x, w = normal(0, *shape), normal(1, 3, 3, 3, 4)
    close(jax.jit(function, static_argnums=2)(x, w, form), reference(x, w))


@convolutions
def test_forms_have_the_same_derivatives(name):
    function, _, shape = CONVOLUTIONS[name]
    x, w = normal(0, *shape), normal(1, 3, 3, 3, 4)

    def derivatives(form):
        def f(x, w):
            return jnp.sum(jnp.sin(0.3 * function(x, w, form)))

        gradient = jax.grad(f, argnums=(0, 1))
        second = jax.grad(lambda x, w: sum(jnp.sum(jnp.square(g)) for g in gradient(x, w)), argnums=(0, 1))
        return gradient(x, w), second(x, w)

    oracle, *others = (jax.jit(derivatives, static_argnums=0)(form) for form in resample.FORMS)
    for other in others:
        jax.tree.map(lambda a, b: close(a, b, 2e-5), other, oracle)


def test_image_resampling_equals_the_definition():
    x = normal(0, 2, 4, 6, 3)
    close(jax.jit(resample.upsample)(x), filtered(pad(zeros_between(x), 2, 2), 4 * FILTER))
    close(jax.jit(resample.downsample)(x), filtered(pad(x, 1, 1), FILTER)[:, ::2, ::2])


def test_image_resampling_keeps_a_constant_inside():
    x = jnp.ones((1, 6, 4, 1))
    close(resample.upsample(x)[:, 1:-1, 1:-1], np.ones((1, 10, 6, 1)))
    close(resample.downsample(resample.upsample(x))[:, 1:-1, 1:-1], np.ones((1, 4, 2, 1)))


def test_image_resampling_is_each_others_transpose():
    """<up(x), y> = 4 <x, down(y)>: what lets a gradient path cost what the forward path does."""
    x, y = normal(0, 1, 3, 2, 2), normal(1, 1, 6, 4, 2)
    (transposed,) = jax.vjp(resample.upsample, x)[1](y)
    close(transposed, 4 * np.asarray(resample.downsample(y)))


@pytest.mark.parametrize("pads", [(1, 1), (2, 2), (2, 1), (0, 3)])
def test_filter_and_its_transpose_equal_the_depthwise_form(pads):
    x = normal(0, 2, 5, 7, 3)
    y = normal(1, 2, 5 + sum(pads) - 3, 7 + sum(pads) - 3, 3)

    def everything(function):
        def f(x):
            return function(x, pads, gain=2.0)

        def penalty(x):
            return jnp.sum(jnp.square(jax.grad(lambda x: jnp.sum(jnp.sin(f(x))))(x)))

        batched = jax.vmap(f, in_axes=2, out_axes=1)(jnp.stack([x, 2 * x], axis=2))
        return f(x), jax.vjp(f, x)[1](y)[0], jax.jvp(f, (x,), (x[::-1],))[1], jax.grad(penalty)(x), batched

    ours, depthwise = (
        jax.jit(lambda f=f: everything(f))() for f in (resample.filter_pad, resample.filter_pad_depthwise)
    )
    jax.tree.map(close, ours, depthwise)
    close(ours[0], filtered(pad(x, *pads), 4 * FILTER))


@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.bfloat16, 0.02), (np.float64, 1e-14)])
def test_filter_in_other_precisions(dtype, tolerance):
    with jax.enable_x64(True):
        x = jnp.asarray(normal(0, 1, 4, 4, 2), dtype)
        out = jax.jit(resample.filter_pad, static_argnums=(1, 2))(x, (1, 1), 2.0)
    assert out.dtype == dtype
    close(np.asarray(out, np.float64), filtered(pad(np.asarray(x, np.float64), 1, 1), 4 * FILTER), tolerance)


def test_filter_outside_jit():
    x = normal(0, 1, 4, 6, 2)
    close(resample.filter_pad(x, (2, 2)), filtered(pad(x, 2, 2), FILTER))


def test_space_to_depth_inverts_depth_to_space():
    x = normal(0, 2, 3, 2, 8)
    y = resample.depth_to_space(x)
    assert y.shape == (2, 6, 4, 2)
    np.testing.assert_array_equal(resample.space_to_depth(y), x)
    np.testing.assert_array_equal(y[0, 3, 2], x[0, 1, 1].reshape(2, 2, 2)[1, 0])


def test_default_form_is_one_of_the_three():
    assert resample.default_form("cpu") in resample.FORMS
    assert resample.default_form("gpu") in resample.FORMS
    assert resample.default_form() == resample.default_form(jax.default_backend())
