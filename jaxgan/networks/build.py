"""From a config to a pair of networks."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxgan.errors import UserError
from jaxgan.networks import biggan, dcgan, eqgan, pggan, spatial, stylegan, stylegan2, wgan_gp
from jaxgan.networks.gan import Gan

_DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


_WIDTHS = ("channel_base", "channel_max")


def stable_level(resolution: int) -> int:
    """The level of a growing network that is stable at a resolution: 0 at 4 px, 2 at 8 px; one less is its fade."""
    return 2 * (resolution.bit_length() - 3)


def level_resolution(level: int) -> int:
    """The resolution of a level, also while it fades in: the inverse of `stable_level`."""
    return 4 << ((level + 1) // 2)


def _shared(model: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Attributes that both networks take under the names that the config has."""
    return {k: model[k] for k in ("resolution", "channels", "num_classes", *names)} | {"dtype": _DTYPES[model["dtype"]]}


def _at_level(model: Mapping[str, Any], level: int | None) -> dict[str, Any]:
    """The resolution and state of growth of a level; the whole network for None."""
    if level is None:
        return {"resolution": model["resolution"], "fading": False}
    return {"resolution": level_resolution(level), "fading": level % 2 == 1}


def _stylegan2(model: Mapping[str, Any], level: int | None) -> Gan:
    return _styled(model, stylegan2.Generator)


def _eqgan(model: Mapping[str, Any], level: int | None) -> Gan:
    added = {name: model[name] for name in ("sel", "sel_hidden", "heatmap_features", "shared_width")}
    return _styled(model, functools.partial(eqgan.Generator, **added))


def _spatial(model: Mapping[str, Any], level: int | None) -> Gan:
    added = {"base": model["base"], "global_share": model["global_share"]}
    return _styled(model, functools.partial(spatial.Generator, scales=tuple(map(tuple, model["scales"])), **added))


def _styled(model: Mapping[str, Any], generator: Callable[..., stylegan2.Generator]) -> Gan:
    shared = _shared(model, *_WIDTHS, "low_precision_levels") | {"conv_clamp": model["conv_clamp"] or None}
    generator = generator(
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


def _dcgan(model: Mapping[str, Any], level: int | None) -> Gan:
    shared = _shared(model, *_WIDTHS, "kernel", "bn_epsilon")
    generator = dcgan.Generator(z_dim=model["z_dim"], unit_norm=model["unit_norm"], **shared)
    return Gan(generator, dcgan.Discriminator(**shared))


def _wgan_gp(model: Mapping[str, Any], level: int | None) -> Gan:
    shared = _shared(model, *_WIDTHS, "kernel")
    critic = wgan_gp.Critic(norm=model["critic_norm"], **shared)
    return Gan(dcgan.Generator(z_dim=model["z_dim"], bn_epsilon=1e-5, **shared), critic)


def _wgan_gp_resnet(model: Mapping[str, Any], level: int | None) -> Gan:
    shared = _shared(model, *_WIDTHS)
    return Gan(wgan_gp.ResnetGenerator(z_dim=model["z_dim"], **shared), wgan_gp.ResnetCritic(**shared))


def _pggan(model: Mapping[str, Any], level: int | None) -> Gan:
    shared = _shared(model, *_WIDTHS, "leaky_slope") | _at_level(model, level)
    return Gan(
        pggan.Generator(z_dim=model["z_dim"], unit_bias=model["unit_bias"], output=model["output"], **shared),
        pggan.Discriminator(mbstd_group=model["mbstd_group"], fused_scale=model["fused_scale"], **shared),
    )


def _stylegan(model: Mapping[str, Any], level: int | None) -> Gan:
    shared = _shared(model, *_WIDTHS) | _at_level(model, level)
    generator = stylegan.Generator(
        z_dim=model["z_dim"], w_dim=model["w_dim"], mapping_layers=model["mapping_layers"], **shared
    )
    return Gan(generator, stylegan.Discriminator(mbstd_group=model["mbstd_group"], **shared))


def _biggan(model: Mapping[str, Any], level: int | None) -> Gan:
    shared = _shared(model, "width") | {"attention": tuple(model["attention"])}
    generator = biggan.Generator(z_dim=model["z_dim"], shared_dim=model["shared_dim"], **shared)
    return Gan(generator, biggan.Discriminator(**shared))


ARCHITECTURES: dict[str, Callable[[Mapping[str, Any], int | None], Gan]] = {
    "stylegan2": _stylegan2,
    "eqgan": _eqgan,
    "spatial": _spatial,
    "dcgan": _dcgan,
    "wgan_gp": _wgan_gp,
    "wgan_gp_resnet": _wgan_gp_resnet,
    "pggan": _pggan,
    "stylegan": _stylegan,
    "biggan": _biggan,
}
GROWING = ("pggan", "stylegan")
STYLED = ("stylegan2", "eqgan", "spatial")  # StyleGAN2's networks, of any shape


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
    if name not in STYLED and tuple(model["base_shape"]) != (4, 4):
        raise UserError(
            f"config.model.architecture={name!r} makes squares whose side is a power of two; prepare the images with "
            "`jaxgan dataset --resolution=64` or use stylegan2"
        )
    if name == "eqgan" and resolution < 32:
        raise UserError(
            f"config.model.resolution={resolution}: an eqgan's heatmaps have levels up to 32 px; use 32 or more"
        )
    if name == "biggan":
        _check_biggan(model)
    if name == "spatial":
        _check_spatial(model)
    if model["channels"] not in (1, 3, 4):
        raise UserError(f"config.model.channels={model['channels']} is not supported; use 1, 3 or 4")
    _choice(model, "dtype", tuple(_DTYPES))
    _choice(model, "d_architecture", ("resnet", "orig"))
    _choice(model, "critic_norm", ("layer", "none"))
    _choice(model, "sel", eqgan.SELS)
    _choice(model, "output", ("linear", "tanh"))
    if model.get("kernel", 2) < 2:
        raise UserError(f"config.model.kernel={model['kernel']} cannot double a resolution; use 2 or more")
    if model.get("channel_base", resolution) < resolution:
        raise UserError(
            f"config.model.channel_base={model['channel_base']} leaves no feature maps at {resolution} px; "
            f"use at least {resolution}"
        )


def _check_biggan(model: Mapping[str, Any]) -> None:
    _choice(model, "resolution", tuple(biggan.G_CHANNELS))
    chunks = len(biggan.G_CHANNELS[model["resolution"]])
    if model["z_dim"] % chunks:
        raise UserError(
            f"config.model.z_dim={model['z_dim']} cannot be cut into the {chunks} chunks of a BigGAN at "
            f"{model['resolution']} px; use {chunks * -(-model['z_dim'] // chunks)} (the release: {20 * chunks})"
        )
    sizes = [r for r in (8, 16, 32, 64, 128, 256, 512) if r <= model["resolution"]]
    strange = [r for r in model["attention"] if r not in sizes]
    if strange:
        raise UserError(
            f"config.model.attention={model['attention']}: the network has no {strange[0]} px; use some of "
            f"{', '.join(map(str, sizes))} (the papers: 64 from 128 px up), or ()"
        )


def _check_spatial(model: Mapping[str, Any]) -> None:
    _choice(model, "base", spatial.BASES)
    if model["num_classes"]:
        raise UserError("config.data.use_labels: maps of z have no class; set it to False, or use stylegan2")
    scales, total = model["scales"], model["global_share"]
    pairs = all(isinstance(s, tuple | list) and len(s) == 2 and s[0] >= 0.5 and s[1] >= 0 for s in scales)
    if not pairs or not 0 <= total <= 1 or abs(total + sum(share for _, share in scales) - 1) > 1e-6:
        raise UserError(
            f"config.model.scales={scales} and global_share={total:g}: give (sigma of 0.5 cells or more, share) each, "
            "and shares that come to 1 with the global one"
        )


def _choice(model: Mapping[str, Any], field: str, choices: tuple) -> None:
    """Raises UserError if the model has the field and its value is none of the choices."""
    if model.get(field, choices[0]) not in choices:
        raise UserError(f"config.model.{field}={model[field]!r} is not supported; use {' or '.join(map(str, choices))}")


def build(model: Mapping[str, Any], level: int | None = None) -> Gan:
    """The networks of a model config (the `model` part of an experiment's config).

    `level` picks the network of a growing architecture (`stable_level`); None is the whole one. The others ignore it.

    Raises:
        UserError: an unknown architecture or a value that it does not support.
    """
    check(model)
    return ARCHITECTURES[model["architecture"]](model, level)


def init(gan: Gan, key: jax.Array) -> tuple[dict[str, Any], dict[str, Any]]:
    """Fresh variables {"params", "buffers"} of the generator and of the discriminator."""
    g_key, d_key = jax.random.split(key)
    generator = gan.generator
    labels = jnp.zeros((1,), jnp.int32) if generator.num_classes else None
    g = generator.init(g_key, jnp.zeros((1, generator.z_dim)), labels)
    d = gan.discriminator.init(d_key, jnp.zeros((1, *generator.image_shape)), labels)
    return ({"buffers": {}} | dict(g)), ({"buffers": {}} | dict(d))
