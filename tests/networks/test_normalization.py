"""Batch, layer and spectral normalisation against NumPy, and what happens to their buffers."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.networks.gan import call
from jaxgan.networks.normalization import BatchNorm, LayerNorm, spectral_norm


def normal(seed, *shape, scale=1.0, shift=0.0):
    return (scale * np.random.default_rng(seed).standard_normal(shape) + shift).astype(np.float32)


def variables(module, x):
    """Fresh buffers and random parameters."""
    tree = jax.jit(module.init)(jax.random.key(0, impl="rbg"), x)  # whose draws compile several times faster
    rng = np.random.default_rng(1)
    params = jax.tree.map(lambda p: rng.standard_normal(p.shape).astype(np.float32), tree.get("params", {}))
    return {"params": params, "buffers": dict(tree.get("buffers", {}))}


def batches(n, scale=3.0, shift=5.0):
    return [normal(10 + i, 4, 3, 2, 5, scale=scale, shift=shift) for i in range(n)]


# Batch normalisation


@pytest.mark.parametrize("shape", [(6, 5), (4, 3, 2, 5)])
def test_batch_norm_in_training_uses_the_batch(shape):
    x = normal(0, *shape, scale=3.0, shift=5.0)
    module = BatchNorm(epsilon=0.1)
    v = variables(module, x)
    y, buffers = jax.jit(lambda v: call(module, v, x, train=True))(v)
    flat = x.reshape(-1, 5).astype(np.float64)
    expected = (x - flat.mean(0)) / np.sqrt(flat.var(0) + 0.1) * v["params"]["weight"] + v["params"]["bias"]
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-5)
    # The first batch is taken as it is, however large the momentum.
    np.testing.assert_allclose(buffers["mean"], flat.mean(0), rtol=1e-5)
    np.testing.assert_allclose(buffers["variance"], flat.var(0), rtol=1e-5)
    assert buffers["count"] == 1


def test_batch_norm_outside_training_uses_the_buffers_and_keeps_them():
    x = normal(0, 4, 3, 2, 5)
    module = BatchNorm(epsilon=1e-3)
    v = variables(module, x)
    v["buffers"] = {"mean": normal(2, 5), "variance": normal(3, 5) ** 2, "count": jnp.float32(7)}
    apply = jax.jit(lambda x: module.apply(v, x, mutable=["buffers"]))
    y, updated = apply(x)
    scale = v["params"]["weight"] / np.sqrt(v["buffers"]["variance"] + 1e-3)
    np.testing.assert_allclose(y, (x - v["buffers"]["mean"]) * scale + v["params"]["bias"], rtol=0, atol=1e-4)
    jax.tree.map(np.testing.assert_array_equal, dict(updated["buffers"]), v["buffers"])
    # So no image sees another.
    np.testing.assert_allclose(jax.jit(lambda x: call(module, v, x))(x[2:3]), y[2:3], rtol=0, atol=1e-6)


def test_moments_are_a_plain_mean_and_then_an_exponential_average():
    xs = batches(9)
    module = BatchNorm(momentum=0.75, affine=False)
    v = variables(module, xs[0])
    assert v["params"] == {}
    step = jax.jit(lambda v, x: call(module, v, x, train=True)[1])
    means = [x.mean((0, 1, 2), dtype=np.float64) for x in xs]
    variances = [x.var((0, 1, 2), dtype=np.float64) for x in xs]
    for i, x in enumerate(xs):
        v["buffers"] = step(v, x)
        if i < 4:
            mean, variance = np.mean(means[: i + 1], axis=0), np.mean(variances[: i + 1], axis=0)
        else:
            mean, variance = 0.75 * mean + 0.25 * means[i], 0.75 * variance + 0.25 * variances[i]
        np.testing.assert_allclose(v["buffers"]["mean"], mean, rtol=1e-4)
        np.testing.assert_allclose(v["buffers"]["variance"], variance, rtol=1e-4)
        assert v["buffers"]["count"] == i + 1
    # A count of 0 forgets what was there.
    v["buffers"]["count"] = jnp.float32(0)
    v["buffers"] = step(v, xs[0])
    np.testing.assert_allclose(v["buffers"]["mean"], means[0], rtol=1e-4)
    np.testing.assert_allclose(v["buffers"]["variance"], variances[0], rtol=1e-4)


def test_batch_norm_in_bfloat16_measures_in_float32():
    """Moments around 1000 with a deviation of 10: bfloat16 has steps of 4 there, and its sums would be far off."""
    x = jnp.asarray(normal(0, 64, 4, 4, 3, scale=10.0, shift=1000.0), jnp.bfloat16)
    module = BatchNorm()
    v = variables(module, x)
    y, buffers = jax.jit(lambda v: call(module, v, x, train=True))(v)
    assert y.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(buffers)} == {jnp.dtype("float32")}
    exact = np.asarray(x, np.float64).reshape(-1, 3)
    np.testing.assert_allclose(buffers["mean"], exact.mean(0), rtol=1e-5)
    np.testing.assert_allclose(buffers["variance"], exact.var(0), rtol=1e-4)


def test_batch_norm_is_differentiated_through_its_moments():
    x, direction, weights = normal(0, 5, 3), normal(1, 5, 3), normal(2, 5, 3)
    module = BatchNorm()
    v = variables(module, x)

    def f(x):
        y, buffers = call(module, v, x, train=True)
        return jnp.sum(y * weights), buffers

    slope = np.sum(jax.jit(jax.grad(lambda x: f(x)[0]))(x) * direction)
    difference = jax.jit(lambda x: f(x)[0])
    numeric = (difference(x + 1e-2 * direction) - difference(x - 1e-2 * direction)) / 2e-2
    np.testing.assert_allclose(slope, numeric, rtol=2e-2)
    # The stored moments carry no gradient into the next step.
    through_buffers = jax.jit(jax.grad(lambda x: jnp.sum(f(x)[1]["mean"]) + jnp.sum(f(x)[1]["variance"])))(x)
    np.testing.assert_array_equal(through_buffers, 0)


def test_fresh_gains():
    x = jnp.zeros((1, 4000))
    for stddev in (0.0, 0.02):
        fresh = BatchNorm(gain_stddev=stddev).init(jax.random.key(0), x)["params"]
        assert abs(np.mean(fresh["weight"]) - 1) < 5 * stddev / 4000**0.5 + 1e-7
        assert abs(np.std(fresh["weight"]) - stddev) < 5 * stddev / 8000**0.5 + 1e-7
        np.testing.assert_array_equal(fresh["bias"], 0)


# Layer normalisation


@pytest.mark.parametrize("shape", [(6, 5), (4, 3, 2, 5)])
def test_layer_norm(shape):
    x = normal(0, *shape, scale=3.0, shift=5.0)
    module = LayerNorm(epsilon=0.1)
    v = variables(module, x)
    assert v["buffers"] == {}
    y = jax.jit(lambda v: call(module, v, x))(v)
    for image, normalised in zip(x.astype(np.float64), y):
        expected = (image - image.mean()) / np.sqrt(image.var() + 0.1)
        np.testing.assert_allclose(normalised, expected * v["params"]["weight"] + v["params"]["bias"], atol=1e-5)


# Spectral normalisation


class Linear(nn.Module):
    """x [N, I] -> [N, O] by a kernel [2, 2, I / 4, O] that is normalised as a matrix [I, O]."""

    features: int

    @nn.compact
    def __call__(self, x, *, train=False):
        shape = (2, 2, x.shape[1] // 4, self.features)
        weight = spectral_norm(self, self.param("weight", nn.initializers.normal(), shape), train=train)
        return x @ weight.reshape(-1, self.features)


@pytest.mark.parametrize("features", [3, 12])
def test_spectral_norm_converges_to_the_largest_singular_value(features):
    x = np.eye(8, dtype=np.float32)
    module = Linear(features)
    v = variables(module, x)
    step = jax.jit(lambda v: call(module, v, x, train=True))
    early = v["buffers"] = step(v)[1]
    for _ in range(100):
        y, v["buffers"] = step(v)
    matrix = v["params"]["weight"].reshape(8, features)
    _, values, right = np.linalg.svd(matrix)
    np.testing.assert_allclose(y, matrix / values[0], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(abs(right[0] @ v["buffers"]["u"]), 1, rtol=1e-4)
    # One iteration is not there yet: the vector is carried from call to call.
    assert abs(right[0] @ early["u"]) < 1 - 1e-4


def iterated(v):
    """(the kernel as a matrix, left and right vector of one power iteration) in NumPy."""
    matrix, u = v["params"]["weight"].reshape(8, 3).astype(np.float64), np.asarray(v["buffers"]["u"], np.float64)
    left = matrix @ u
    left /= np.linalg.norm(left)
    right = left @ matrix
    return matrix, left, right / np.linalg.norm(right)


def test_spectral_norm_takes_one_power_iteration_a_call():
    x = np.eye(8, dtype=np.float32)
    module = Linear(3)
    v = variables(module, x)
    matrix, left, right = iterated(v)
    y, buffers = call(module, v, x, train=True)
    np.testing.assert_allclose(y, matrix / (left @ matrix @ right), rtol=1e-5)
    np.testing.assert_allclose(buffers["u"], right, rtol=1e-5)
    # Outside training the same weights come out, and the vector stays.
    y, updated = module.apply(v, x, mutable=["buffers"])
    np.testing.assert_allclose(y, matrix / (left @ matrix @ right), rtol=1e-5)
    np.testing.assert_array_equal(updated["buffers"]["u"], v["buffers"]["u"])


def test_gradient_of_spectral_norm():
    """The vectors count as constants: dW/s - (left^T dW right) W / s^2 (Miyato et al. 2018)."""
    x = np.eye(8, dtype=np.float32)
    module = Linear(3)
    v = variables(module, x)
    cotangent = normal(4, 8, 3)
    loss = jax.jit(jax.grad(lambda p: jnp.sum(cotangent * call(module, v | {"params": p}, x))))
    gradient = loss(v["params"])["weight"].reshape(8, 3)
    matrix, left, right = iterated(v)
    sigma = left @ matrix @ right
    expected = cotangent / sigma - np.sum(cotangent * matrix) / sigma**2 * np.outer(left, right)
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
