"""EqGAN-SA's alignment: the generator makes images that the discriminator looks at where the heatmaps are.

Wang et al. (arXiv 2112.00718), the constants of the released code.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from jaxgan.networks import attention

FEATURES = ("b8", "b16", "b32")  # of StyleGAN2's discriminator, 4, 8 and 16 px: one a level of heatmaps
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


def losses(
    features: Mapping[str, jax.Array], weights: Mapping[str, jax.Array], maps: tuple[jax.Array, ...]
) -> dict[str, jax.Array]:
    """{feature: loss} of the three levels; the generator's term is their sum.

    Args:
        features: of the generated images, by `FEATURES`; the gradient goes to the images through them.
        weights: of the same, for evidence "fake"; see `jaxgan.networks.attention.weighed`.
        maps: the heatmaps of the images, [B, H, W, K] of each level.
    """
    seen = attention.cam_maps(features, {name: weights[name] for name in FEATURES}, maps[0].shape[1:3])
    return {name: truncated_l1(seen[name], wanted) for name, wanted in zip(FEATURES, targets(maps))}
