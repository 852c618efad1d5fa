"""What every architecture promises: the pair of networks, what a discriminator returns, how a network is called."""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from jaxgan.errors import UserError
from jaxgan.ops.interpolate import lerp


class Gan(NamedTuple):
    """Two Flax modules and nothing else; what they compute with arrives as `variables = {"params", "buffers"}`."""

    generator: nn.Module
    discriminator: nn.Module


class DOut(NamedTuple):
    """What a discriminator returns: logits [B], features {name: [B, h, w, C] or [B, C]} in forward order, classes."""

    logits: jax.Array
    features: dict[str, jax.Array]
    class_logits: jax.Array | None = None


EXTRAS_KEY = 0x4EA7  # folded into a noise key, so that extras and noise are drawn independently
BLOCK = "block"  # the name of what `block_output` marks


def block_output(x: jax.Array) -> jax.Array:
    """x, marked as what a block hands to the next: what is kept where the rest is computed anew (`config.remat`)."""
    return checkpoint_name(x, BLOCK)


def call(module: nn.Module, variables: dict[str, Any], *args: Any, train: bool = False, **kwargs: Any) -> Any:
    """Applies a network. With `train=True` returns (output, new buffers), otherwise only the output."""
    if not train:
        return module.apply(variables, *args, **kwargs)
    out, updated = module.apply(variables, *args, train=True, mutable=["buffers"], **kwargs)
    return out, updated.get("buffers", {})


def extras_dim(generator: nn.Module) -> int:
    """How many numbers an image takes beside its ws, such as where an EqGAN's heatmaps lie; 0 for most architectures.

    A generator that takes some has `draw_extras(keys)`, `batch_extras(key, count)`, `rest_extras(count)` and
    `clip_extras(numbers)`, all of [B, extras_dim], and `extras(numbers)`, the keyword arguments of `synthesize` that
    they stand for.
    """
    return getattr(generator, "extras_dim", 0)


def extras(generator: nn.Module, numbers: jax.Array | None) -> dict[str, Any]:
    """The keyword arguments of `synthesize` for numbers [B, extras_dim]; none for None."""
    return {} if numbers is None else generator.extras(numbers)


def draw_extras(generator: nn.Module, keys: jax.Array) -> dict[str, Any]:
    """The same of numbers drawn for keys [B]; none where the generator takes none."""
    return extras(generator, generator.draw_extras(keys) if extras_dim(generator) else None)


def batch_extras(generator: nn.Module, noise_key: jax.Array, count: int) -> jax.Array | None:
    """Numbers [count, extras_dim] as training draws them for a whole batch, by the key that its noise is drawn with."""
    if not extras_dim(generator):
        return None
    return generator.batch_extras(jax.random.fold_in(noise_key, EXTRAS_KEY), count)


def z_shape(generator: nn.Module) -> tuple[int, ...]:
    """Of one image's z: (z_dim,), or a map of it."""
    return getattr(generator, "z_shape", (generator.z_dim,))


def image_box(generator: nn.Module) -> tuple[float, float, float, float]:
    """(top, left, bottom, right) of the image, as shares of the canvas that a map of latents covers."""
    return getattr(generator, "image_box", (0.0, 0.0, 1.0, 1.0))


def draw_z(generator: nn.Module, key: jax.Array, count: int) -> jax.Array:
    """Random z [count, *z_shape], N(0, I) at every position.

    A generator of maps has `draw_z(keys)` of its own, [B] keys to [B, *z_shape].
    """
    if hasattr(generator, "draw_z"):
        return generator.draw_z(jax.random.split(key, count))
    return jax.random.normal(key, (count, generator.z_dim))


def by_row(numbers: jax.Array, ws: jax.Array) -> jax.Array:
    """One number for each row of ws [B, num_ws, ..., w_dim], shaped to broadcast against them."""
    return numbers.reshape(-1, *(1,) * (ws.ndim - 2))


def truncate(
    generator: nn.Module, w_avg: jax.Array, ws: jax.Array, psi: jax.Array | float, cutoff: int | None = None
) -> jax.Array:
    """ws [B, num_ws, ..., w_dim] drawn towards w_avg [w_dim], all of the way at psi 0, in the rows below `cutoff`.

    The numbers at the end of a row that are a class's code (`generator.label_dim`) stay as they are.
    """
    moved = jnp.arange(ws.shape[-1]) < ws.shape[-1] - getattr(generator, "label_dim", 0)
    if cutoff is not None:
        moved = moved & by_row(jnp.arange(ws.shape[1]) < cutoff, ws)
    return jnp.where(moved, lerp(w_avg, ws, psi), ws)


def check_truncation(generator: nn.Module, psi: float) -> None:
    """Raises UserError for a truncation that would change nothing."""
    if psi != 1.0 and not getattr(generator, "truncatable", True):
        raise UserError(
            f"truncation_psi={psi:g}: this generator normalises its latent, so that truncation changes nothing; "
            "leave it at 1"
        )


def recorder(
    taps: Mapping[str, jax.Array] | None,
) -> tuple[OrderedDict[str, jax.Array], Callable[[str, jax.Array], jax.Array]]:
    """(features, tap) of a discriminator's call: `tap(name, value)` records a feature and adds the tap of its name."""
    features: OrderedDict[str, jax.Array] = OrderedDict()  # jit would sort the keys of a plain dict

    def tap(name: str, value: jax.Array) -> jax.Array:
        value = value if taps is None or name not in taps else value + taps[name].astype(value.dtype)
        features[name] = block_output(value)
        return features[name]

    return features, tap


def one_hot(labels: jax.Array | None, num_classes: int, batch: int) -> jax.Array | None:
    """Labels as float32 [B, num_classes]: class numbers [B] or rows that are already codes; None where there are none.

    Raises:
        ValueError: a conditional network was called without labels, or the shapes do not fit.
    """
    if num_classes == 0:
        return None
    if labels is None:
        raise ValueError(f"this network is conditional on {num_classes} classes: pass labels")
    labels = jnp.asarray(labels)
    if labels.ndim == 1:
        labels = jax.nn.one_hot(labels, num_classes)
    if labels.shape != (batch, num_classes):
        raise ValueError(
            f"labels {labels.shape} are neither [{batch}] class numbers nor [{batch}, {num_classes}] codes"
        )
    return labels.astype(jnp.float32)
