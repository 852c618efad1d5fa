"""Where a discriminator looks: GradCAM maps of its features (Selvaraju et al., arXiv 1610.02391), as EqGAN-SA has them.

The rectifier stands before the sum over the channels, not after it as in the first paper: a map is what each channel
says by itself, added up. Weights come from one reverse pass to the features; its forward pass is the caller's own.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.networks.gan import call
from jaxgan.ops.resize import resize

EVIDENCE = ("fake", "real")
EQGAN_FEATURES = (
    "b8",
    "b16",
    "b32",
)  # of StyleGAN2's discriminator, 4, 8 and 16 px: one a level


def feature_shapes(discriminator: nn.Module, variables: Any, images: Any, labels: Any = None) -> dict[str, tuple]:
    """{name: shape} of a discriminator's features, in forward order."""
    names: list[str] = []

    def features(variables: Any, images: Any, labels: Any) -> list[jax.Array]:
        found = call(discriminator, variables, images, labels, group_size=1).features
        names.extend(found)  # jit would sort the keys of a dict
        return list(found.values())

    shapes = jax.eval_shape(features, variables, images, labels)
    return {name: shape.shape for name, shape in zip(names, shapes)}


def cam_weights(
    discriminator: nn.Module,
    variables: Any,
    images: jax.Array,
    labels: jax.Array | None,
    names: Sequence[str],
    *,
    evidence: str = "fake",
    group_size: int | None = None,
) -> dict[str, jax.Array]:
    """{name: [B, C]}: the mean over a feature map of how the evidence rises with it; nothing is differentiated further.

    Args:
        discriminator, variables, images, labels: as in its call.
        names: of features [B, h, w, C].
        evidence: "fake" is softplus(-logit), the generator's loss, as released; "real" the logit.
        group_size: of minibatch statistics; 1 judges every image by itself.
    """
    variables, images = jax.lax.stop_gradient((variables, images))

    def judged(taps: dict[str, jax.Array]) -> jax.Array:
        return call(discriminator, variables, images, labels, taps=taps, group_size=group_size).logits

    shapes = feature_shapes(discriminator, variables, images, labels)
    taps = {name: jnp.zeros(shapes[name], jnp.float32) for name in names}
    logits, back = jax.vjp(judged, taps)
    (slopes,) = back(jnp.ones_like(logits) if evidence == "real" else -jax.nn.sigmoid(-logits))
    return {name: jax.lax.stop_gradient(slope.mean((1, 2))) for name, slope in slopes.items()}


def cam_map(feature: jax.Array, weights: jax.Array, size: tuple[int, int]) -> jax.Array:
    """The map [B, H, W] in [0, 1] of a feature [B, h, w, C] with weights [B, C]: one of zeros where nothing counts."""
    rectified = jnp.maximum(feature.astype(jnp.float32) * weights[:, None, None], 0.0).sum(-1)
    return spread(resize(rectified[..., None], size, "corners")[..., 0])


def spread(maps: jax.Array) -> jax.Array:
    """Maps [B, H, W], each brought to [0, 1]; least and largest are no part of the gradient. A constant map is 0."""
    low = maps - jax.lax.stop_gradient(maps.min((1, 2), keepdims=True))
    largest = jax.lax.stop_gradient(low.max((1, 2), keepdims=True))
    return jnp.where(largest > 0, low / jnp.where(largest > 0, largest, 1.0), 0.0)


def cam_maps(
    features: Mapping[str, jax.Array], weights: Mapping[str, jax.Array], size: tuple[int, int]
) -> dict[str, jax.Array]:
    """`cam_map` of every feature that has weights."""
    return {name: cam_map(features[name], w, size) for name, w in weights.items()}
