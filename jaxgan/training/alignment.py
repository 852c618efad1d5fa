"""EqGAN-SA's alignment: the generator makes images that the discriminator looks at where the heatmaps are.

Wang et al. (arXiv 2112.00718), the constants of the released code.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.networks import attention, heatmaps
from jaxgan.networks.gan import DOut

_THRESHOLD = 0.25  # smaller differences do not count, as long as there are larger ones


def targets(maps: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
    """Heatmaps [B, H, W, K] -> where attention should be, [B, H, W]: the coarsest as it is, the others in [0, 1]."""
    means = [heat.mean(-1) for heat in maps]
    return (means[0], *(attention.spread(mean) for mean in means[1:]))


def truncated_l1(ours: jax.Array, wanted: jax.Array) -> jax.Array:
    """The mean of |ours - wanted| over the whole batch's numbers above 0.25; over all if at most one is."""
    difference = jnp.abs(ours - wanted)
    counted = difference > _THRESHOLD
    count = counted.sum()
    large = jnp.where(counted, difference, 0.0).sum() / jnp.maximum(count, 1)
    return jnp.where(count > 1, large, difference.mean())


def alignment_losses(
    discriminator: nn.Module,
    variables: Any,
    images: jax.Array,
    labels: jax.Array | None,
    out: DOut,
    maps: tuple[jax.Array, ...],
) -> dict[str, jax.Array]:
    """{feature: loss} of the three levels; the generator's term is their sum.

    Args:
        discriminator, variables: of the step; nothing of it learns from this.
        images: generated [B, H, W, C], as the discriminator saw them.
        labels: theirs.
        out: what it said of them: the gradient goes to the images through its features.
        maps: the heatmaps of the images.
    """
    names = attention.EQGAN_FEATURES
    weights = attention.cam_weights(discriminator, variables, images, labels, names)
    seen = attention.cam_maps(out.features, weights, maps[0].shape[1:3])
    return {name: truncated_l1(seen[name], wanted) for name, wanted in zip(names, targets(maps))}


def drawn_maps(generator: nn.Module, key: jax.Array, count: int) -> tuple[jax.Array, ...]:
    """The heatmaps that `synthesize` draws by a noise key."""
    height, width, _ = generator.image_shape
    return heatmaps.of(None, key, count, (height, width), shared_width=generator.shared_width)
