"""Penalties: R1, WGAN-GP's and drift of the discriminator; path length and orthogonality of the generator."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def squared_gradient(logits: Callable[[jax.Array], tuple[jax.Array, Any]], images: jax.Array) -> tuple[jax.Array, Any]:
    """(|d sum(D(x)) / dx|^2 summed over each image [B], whatever `logits` returns beside its logits).

    R1's penalty on real images, R2's on generated ones; the loss is gamma / 2 times its mean (Mescheder et al. 2018).
    """

    def total(images):
        values, aux = logits(images)
        return jnp.sum(values), (values, aux)

    gradient, aux = jax.grad(total, has_aux=True)(images)
    return jnp.sum(jnp.square(gradient.astype(jnp.float32)), axis=(1, 2, 3)), aux


def gradient_penalty(
    logits: Callable[[jax.Array], tuple[jax.Array, Any]],
    real: jax.Array,
    fake: jax.Array,
    key: jax.Array,
    target: float,
) -> jax.Array:
    """WGAN-GP's (|d D(x) / dx| - target)^2 / target^2 at x uniformly between a real and a generated image, [B].

    Gulrajani et al. 2017 with target 1; Progressive GAN uses 750 on CIFAR-10.
    """
    mix = jax.random.uniform(key, (real.shape[0], 1, 1, 1))
    squares, _ = squared_gradient(logits, real + mix * (fake - real))
    return jnp.square(jnp.sqrt(squares + 1e-12) - target) / target**2


def path_lengths(synthesize: Callable[[jax.Array], jax.Array], ws: jax.Array, image_noise: jax.Array) -> jax.Array:
    """|J^T y| per image, [B], root of the mean over the rows of ws (StyleGAN2, section 3.2 and the official code).

    `image_noise` is y, of the images' shape, already divided by sqrt(H * W). The derivative by a row that is a map
    [h, w, w_dim] is that by an offset of the whole map.
    """
    _, vjp = jax.vjp(synthesize, ws)
    (gradient,) = vjp(image_noise)
    gradient = gradient.sum(axis=range(2, gradient.ndim - 1))
    return jnp.sqrt(jnp.mean(jnp.sum(jnp.square(gradient), axis=2), axis=1) + 1e-12)


def path_length_penalty(lengths: jax.Array, mean: jax.Array, decay: float) -> tuple[jax.Array, jax.Array]:
    """(penalty [B], the new running mean).

    The gradient flows through the mean's last update, as in the official code; the mean that is stored does not carry
    it further.
    """
    mean = mean + decay * (jnp.mean(lengths) - mean)
    return jnp.square(lengths - mean), jax.lax.stop_gradient(mean)


def orthogonal_penalty(params: Any) -> jax.Array:
    """Sum over all kernels but embeddings of |W W^T without its diagonal|^2 / 2, rows being output features.

    BigGAN (Brock et al. 2019, equation 3).
    """

    def one(path, weight):
        if weight.ndim < 2 or "embed" in jax.tree_util.keystr(path):
            return 0.0
        columns = weight.reshape(-1, weight.shape[-1])  # [fan-in, output features]
        # |W W^T| = |W^T W|: the smaller of the two is made, and the squared diagonal taken off.
        small = columns @ columns.T if columns.shape[0] < columns.shape[1] else columns.T @ columns
        norms = jnp.sum(jnp.square(columns), axis=0)
        return 0.5 * (jnp.sum(jnp.square(small)) - jnp.sum(jnp.square(norms)))

    return sum(jax.tree.leaves(jax.tree_util.tree_map_with_path(one, params)))
