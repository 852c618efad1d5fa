"""Where a discriminator looks: GradCAM maps of its features (Selvaraju et al., arXiv 1610.02391), as EqGAN-SA has them.

The rectifier stands before the sum over the channels, not after it as in the first paper: a map is what each channel
says by itself, added up. Weights come from one reverse pass to the features, whose forward pass is also the one that is
differentiated by the images.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.networks.gan import DOut, call
from jaxgan.ops.resize import resize

EVIDENCE = ("fake", "real")


def feature_shapes(discriminator: nn.Module, variables: Any, images: Any, labels: Any = None) -> dict[str, tuple]:
    """{name: shape} of a discriminator's features, in forward order."""
    names: list[str] = []

    def features(variables: Any, images: Any, labels: Any) -> list[jax.Array]:
        found = call(discriminator, variables, images, labels, group_size=1).features
        names.extend(found)  # jit would sort the keys of a dict
        return list(found.values())

    shapes = jax.eval_shape(features, variables, images, labels)
    return {name: shape.shape for name, shape in zip(names, shapes)}


def weighed(
    judge: Callable[[dict[str, jax.Array]], DOut], shapes: Mapping[str, tuple[int, ...]], evidence: Sequence[str]
) -> tuple[DOut, dict[str, dict[str, jax.Array]]]:
    """What a discriminator says, and how the evidence rises with its features: one forward pass for both.

    Args:
        judge: its call on some images, with taps {name: [B, h, w, C]} that are added to its features.
        shapes: {name: (B, h, w, C)} of the features that are looked at.
        evidence: of EVIDENCE; "fake" is softplus(-logit), the generator's loss, as released; "real" the logit.

    Returns:
        (its output, to be differentiated further; {evidence: {name: [B, C]}}, means over the feature maps of
        derivatives, each by one reverse pass to the features, which are not).
    """

    def judged(taps: dict[str, jax.Array]) -> tuple[jax.Array, DOut]:
        out = judge(taps)
        return out.logits, out

    taps = {name: jnp.zeros(shape, jnp.float32) for name, shape in shapes.items()}
    logits, back, out = jax.vjp(judged, taps, has_aux=True)
    weights = {}
    for kind in evidence:
        (slopes,) = back(jnp.ones_like(logits) if kind == "real" else -jax.nn.sigmoid(-logits))
        weights[kind] = {name: jax.lax.stop_gradient(slope.mean((1, 2))) for name, slope in slopes.items()}
    return out, weights


def look(
    discriminator: nn.Module,
    variables: Any,
    images: jax.Array,
    labels: jax.Array | None,
    names: Sequence[str],
    *,
    evidence: Sequence[str] = EVIDENCE,
    group_size: int | None = None,
) -> tuple[DOut, dict[str, dict[str, jax.Array]]]:
    """`weighed` of images [B, H, W, C] and features by name; `group_size` is of minibatch statistics, 1 for none."""
    shapes = feature_shapes(discriminator, variables, images, labels)

    def judge(taps: dict[str, jax.Array]) -> DOut:
        return call(discriminator, variables, images, labels, taps=taps, group_size=group_size)

    return weighed(judge, {name: shapes[name] for name in names}, evidence)


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
