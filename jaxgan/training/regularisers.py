"""Gradient penalties: R1 of the discriminator and the generator's path length."""

from collections.abc import Callable

import jax
import jax.numpy as jnp


def r1_penalty(logits: Callable[[jax.Array], jax.Array], images: jax.Array) -> jax.Array:
    """|d sum(D(x)) / dx|^2 summed over each image, [B]; the loss is gamma / 2 times its mean (Mescheder 2018)."""
    gradient = jax.grad(lambda x: jnp.sum(logits(x)))(images)
    return jnp.sum(jnp.square(gradient.astype(jnp.float32)), axis=(1, 2, 3))


def path_lengths(synthesize: Callable[[jax.Array], jax.Array], ws: jax.Array, image_noise: jax.Array) -> jax.Array:
    """|J^T y| per image, [B], root of the mean over the rows of ws (StyleGAN2, section 3.2 and the official code).

    `image_noise` is y, of the images' shape, already divided by sqrt(H * W).
    """
    _, vjp = jax.vjp(synthesize, ws)
    (gradient,) = vjp(image_noise)
    return jnp.sqrt(jnp.mean(jnp.sum(jnp.square(gradient), axis=2), axis=1) + 1e-12)


def path_length_penalty(lengths: jax.Array, mean: jax.Array, decay: float) -> tuple[jax.Array, jax.Array]:
    """(penalty [B], the new running mean).

    The gradient flows through the mean's last update, as in the official code; the mean that is stored does not carry
    it further.
    """
    mean = mean + decay * (jnp.mean(lengths) - mean)
    return jnp.square(lengths - mean), jax.lax.stop_gradient(mean)
