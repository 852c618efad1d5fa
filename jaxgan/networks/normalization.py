"""Normalisation with explicit state: batch moments and spectral-norm vectors live in the `buffers` collection.

A call with `train=True` uses what the batch says and moves the buffers on (`jaxgan.networks.gan.call` returns them);
without it the stored ones are used and nothing changes.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp


class BatchNorm(nn.Module):
    """Batch normalisation over all axes but the last, computed in float32.

    The stored moments are the plain mean over the first 1 / (1 - momentum) training batches and an exponential average
    after them, so a count put back to 0 starts an estimate afresh (standing statistics). Under jit a batch that is
    split over devices is normalised as one batch.

    Attributes:
        momentum: share of the old moments that an update keeps.
        epsilon: added to the variance.
        affine: learned gain (initialised at N(1, gain_stddev)) and shift (0); without it the caller brings its own.
    """

    momentum: float = 0.99
    epsilon: float = 1e-5
    affine: bool = True
    gain_stddev: float = 0.0

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        """x [N, ..., C] -> the same shape and dtype."""
        features = x.shape[-1:]
        mean = self.variable("buffers", "mean", jnp.zeros, features)
        variance = self.variable("buffers", "variance", jnp.ones, features)
        count = self.variable("buffers", "count", jnp.zeros, ())
        y = x.astype(jnp.float32)
        mu, var = mean.value, variance.value
        if train:
            axes = tuple(range(x.ndim - 1))
            mu = jnp.mean(y, axis=axes)
            var = jnp.mean(jnp.square(y - mu), axis=axes)
            share = jnp.maximum(1 / (count.value + 1), 1 - self.momentum)
            # Not in place: buffers that are NumPy arrays would change under the caller.
            mean.value = mean.value + share * (jax.lax.stop_gradient(mu) - mean.value)
            variance.value = variance.value + share * (jax.lax.stop_gradient(var) - variance.value)
            count.value = count.value + 1
        y = (y - mu) * jax.lax.rsqrt(var + self.epsilon)
        if self.affine:

            def gain(key, shape):
                return 1 + self.gain_stddev * jax.random.normal(key, shape)

            y = y * self.param("weight", gain, features) + self.param("bias", nn.initializers.zeros, features)
        return y.astype(x.dtype)


class LayerNorm(nn.Module):
    """Normalisation of each image over all its values, then a gain and a shift per channel (WGAN-GP's critic)."""

    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """x [N, ..., C] -> the same shape and dtype."""
        features = x.shape[-1:]
        axes = tuple(range(1, x.ndim))
        y = x.astype(jnp.float32)
        y = y - jnp.mean(y, axis=axes, keepdims=True)
        y = y * jax.lax.rsqrt(jnp.mean(jnp.square(y), axis=axes, keepdims=True) + self.epsilon)
        weight = self.param("weight", nn.initializers.ones, features)
        return (y * weight + self.param("bias", nn.initializers.zeros, features)).astype(x.dtype)


def spectral_norm(module: nn.Module, weight: jax.Array, *, train: bool, epsilon: float = 1e-12) -> jax.Array:
    """`weight` [..., out] divided by its largest singular value as a matrix [everything else, out].

    One power iteration a call on the vector `u` [out] in the module's buffers, without gradient; with `train` the
    improved vector is kept (Miyato et al. 2018, arXiv 1802.05957). To be called inside a compact method.
    """
    matrix = weight.reshape(-1, weight.shape[-1])
    u = module.variable("buffers", "u", lambda: jax.random.normal(module.make_rng("params"), weight.shape[-1:]))

    def normalised(v):
        return v / jnp.maximum(jnp.linalg.norm(v), epsilon)

    fixed = jax.lax.stop_gradient(matrix)
    v = normalised(fixed @ u.value)
    new = normalised(v @ fixed)
    if train:
        u.value = new
    return weight / (v @ matrix @ new)


def has_batch_moments(buffers: Any) -> bool:
    """Whether a tree of buffers (or of their shapes) holds a BatchNorm's."""
    return any(_is_count(path) for path, _ in jax.tree_util.tree_leaves_with_path(buffers))


def without_count(buffers: Any) -> Any:
    """The buffers with every count of batches at 0, from where a new estimate of the moments starts."""
    return jax.tree_util.tree_map_with_path(lambda path, x: jnp.zeros_like(x) if _is_count(path) else x, buffers)


def _is_count(path: tuple) -> bool:
    return path[-1] == jax.tree_util.DictKey("count")
