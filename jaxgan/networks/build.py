"""From a config to a pair of networks."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxgan.errors import UserError
from jaxgan.networks import stylegan2
from jaxgan.networks.gan import Gan

_DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


def _stylegan2(model: Mapping[str, Any]) -> Gan:
    shared = {k: model[k] for k in ("resolution", "channels", "num_classes", "channel_base", "channel_max")}
    shared |= {"conv_clamp": model["conv_clamp"] or None, "low_precision_levels": model["low_precision_levels"]}
    shared |= {"dtype": _DTYPES[model["dtype"]]}
    generator = stylegan2.Generator(
        z_dim=model["z_dim"],
        w_dim=model["w_dim"],
        mapping_layers=model["mapping_layers"],
        base_shape=tuple(model["base_shape"]),
        **shared,
    )
    discriminator = stylegan2.Discriminator(
        architecture=model["d_architecture"], mbstd_group=model["mbstd_group"], **shared
    )
    return Gan(generator, discriminator)


ARCHITECTURES: dict[str, Callable[[Mapping[str, Any]], Gan]] = {"stylegan2": _stylegan2}


def check(model: Mapping[str, Any]) -> None:
    """Raises UserError, naming the field and the fix, if a model config cannot be built."""
    name, resolution = model["architecture"], model["resolution"]
    if name not in ARCHITECTURES:
        raise UserError(f"config.model.architecture={name!r} is not known; choose one of {', '.join(ARCHITECTURES)}")
    if resolution < 8 or resolution & (resolution - 1):
        raise UserError(
            f"config.model.resolution={resolution} is not supported; use a power of two from 8 "
            "(other shapes: config.model.base_shape, the output is base_shape * resolution / 4)"
        )
    if model["channels"] not in (1, 3, 4):
        raise UserError(f"config.model.channels={model['channels']} is not supported; use 1, 3 or 4")
    if model["dtype"] not in _DTYPES:
        raise UserError(f"config.model.dtype={model['dtype']!r} is not supported; use {' or '.join(_DTYPES)}")
    if model["d_architecture"] not in ("resnet", "orig"):
        raise UserError(f"config.model.d_architecture={model['d_architecture']!r} is not supported; use resnet or orig")
    if model["channel_base"] < resolution:
        raise UserError(
            f"config.model.channel_base={model['channel_base']} leaves no feature maps at {resolution} px; "
            f"use at least {resolution}"
        )


def build(model: Mapping[str, Any], level: int | None = None) -> Gan:
    """The networks of a model config (the `model` part of an experiment's config).

    `level` picks the resolution of a growing architecture; StyleGAN2 does not grow and ignores it.

    Raises:
        UserError: an unknown architecture or a value that it does not support.
    """
    check(model)
    return ARCHITECTURES[model["architecture"]](model)


def init(gan: Gan, key: jax.Array) -> tuple[dict[str, Any], dict[str, Any]]:
    """Fresh variables {"params", "buffers"} of the generator and of the discriminator."""
    g_key, d_key = jax.random.split(key)
    generator = gan.generator
    labels = jnp.zeros((1,), jnp.int32) if generator.num_classes else None
    g = generator.init(g_key, jnp.zeros((1, generator.z_dim)), labels)
    d = gan.discriminator.init(d_key, jnp.zeros((1, *generator.image_shape)), labels)
    return ({"buffers": {}} | dict(g)), ({"buffers": {}} | dict(d))
