"""A StyleGAN2 put together from the networks of another project's file: its architecture, weights, and an account."""

import functools
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from jaxgan import config as configs
from jaxgan.configs import common
from jaxgan.errors import UserError
from jaxgan.interchange import bounds
from jaxgan.interchange.imported import Account, Imported
from jaxgan.interchange.official import W_AVG, Source, official_shape, to_ours
from jaxgan.networks.build import build, init
from jaxgan.networks.gan import Gan, call
from jaxgan.networks.layers import block_resolutions, num_channels

_LARGEST = bounds.LARGEST["resolution"]  # what a file does not hold is made up at sizes that its names say
_D_MAPPING_LAYERS = 8


class Facts(NamedTuple):
    """What a file says that shapes do not.

    Attributes:
        conv_clamp: 0 for none.
        low_precision_levels: how many of the highest resolutions computed in half precision.
        mbstd_group: of the discriminator.
        w_avg: mean of w where it is no tensor of the generator.
        architecture: "stylegan2" or "eqgan".
    """

    conv_clamp: float = 0.0
    low_precision_levels: int = 0
    mbstd_group: int = 4
    w_avg: np.ndarray | None = None
    architecture: str = "stylegan2"


def assemble(
    format: str,
    ema: Source,
    raw: Source | None,
    discriminator: Source | None,
    facts: Facts,
    *,
    left_out: str = "",
    beside: Iterable[str] = (),
) -> Imported:
    """The model that the networks of a file make.

    Args:
        format: its name.
        ema, raw, discriminator: its networks.
        facts: the rest.
        left_out: why the file's discriminator has no place here, where its shapes do not say it.
        beside: names of what is in the file beside its networks.

    Raises:
        UserError: a tensor is missing, left over, or of another shape than the rest of the network asks for.
    """
    sources = [source for source in (ema, raw, discriminator) if source is not None]
    architecture = ""
    if discriminator is not None:
        architecture, unknown = discriminator_architecture(discriminator, resolution(ema))
        left_out = left_out or unknown
        if left_out:
            discriminator.leave_all(left_out)
            discriminator = None
    config = _config(ema, facts, architecture or "resnet")
    gan = build(config.model.to_dict())
    g_shapes, d_shapes = _shapes(gan)
    made_up: dict[str, str] = {}
    w_avg = None
    if W_AVG in ema:
        w_avg = ema.take(W_AVG, (gan.generator.w_dim,), "w_avg")
    variables = _filled(ema, g_shapes, "ema", made_up)
    raw_variables = None
    if raw is None:
        made_up["raw"] = "none: the averaged weights stand in where training goes on"
    else:
        raw.tensors.leave("that of the averaged generator is used", raw.name(W_AVG))
        raw_variables = _filled(raw, g_shapes, "raw", made_up)
    d_variables = None
    if discriminator is None:
        made_up["discriminator"] = f"none: {left_out or 'the file holds a generator alone'}"
    else:
        d_variables = _filled(discriminator, d_shapes, "discriminator", made_up)
    if w_avg is None and facts.w_avg is not None:
        w_avg = facts.w_avg.astype(np.float32)
        if w_avg.shape != (gan.generator.w_dim,):
            raise UserError(
                f"{ema.path}: the mean of w has shape {w_avg.shape} where ({gan.generator.w_dim},) was expected"
            )
    if w_avg is None:
        w_avg = mean_w(gan, variables)
        made_up["w_avg"] = "the mean of w over 4096 latents"
    account = Account(
        {name: ours for source in sources for name, ours in source.tensors.read.items()},
        {name: why for source in sources for name, why in source.tensors.unused.items()}
        | {name: "no part of the networks" for name in beside},
        made_up,
    )
    return Imported(format, config, variables, raw_variables, d_variables, w_avg, None, 0, account)


def resolution(generator: Source) -> int:
    """Of the images: as many blocks as the file has, each with its torgb.

    Raises:
        UserError: it has none of 8 px, or more than any StyleGAN2.
    """
    size = 4
    while f"synthesis.b{2 * size}.conv1.weight" in generator:
        size *= 2
        if size > _LARGEST:
            raise UserError(
                f"{generator.path}: {generator.network} makes images above {_LARGEST} px; no StyleGAN2 does"
            )
    if size == 4:
        raise UserError(f"{generator.path} lacks {generator.name('synthesis.b8.conv1.weight')}; give a whole generator")
    return size


def discriminator_architecture(source: Source, resolution: int) -> tuple[str, str]:
    """("resnet" or "orig", ""), or ("", why the network does not exist here)."""
    if f"b{resolution // 2}.fromrgb.weight" in source or "b4.fromrgb.weight" in source:
        return "", "its discriminator reads the image at every resolution ('skip'), which is not known here"
    if "mapping.embed.weight" in source:
        layers = _count(source, "mapping.fc{}.weight")
        if layers != _D_MAPPING_LAYERS:
            return "", f"its discriminator maps labels with {layers} layers, here it is {_D_MAPPING_LAYERS}"
    return ("resnet" if f"b{resolution}.skip.weight" in source else "orig"), ""


def number(value: Any, default: float = 0.0) -> float:
    """A number that a file says beside its tensors; the default for None and for what is no number."""
    return float(value) if isinstance(value, int | float) and abs(value) < 2**53 else default


def mean_w(gan: Gan, variables: Mapping[str, Any], count: int = 4096) -> np.ndarray:
    """The mean of w over random latents, and classes in turn."""
    generator = gan.generator
    z = np.random.RandomState(0).randn(count, generator.z_dim).astype(np.float32)
    labels = np.arange(count) % generator.num_classes if generator.num_classes else None
    ws = jax.jit(lambda v, z, labels: call(generator, v, z, labels, method="map")[:, 0])(variables, z, labels)
    return np.asarray(ws, np.float64).mean(0).astype(np.float32)


def _config(ema: Source, facts: Facts, d_architecture: str) -> ConfigDict:
    """An experiment with the network that a generator's shapes belong to, and StyleGAN2-ADA's settings for going on."""
    heatmaps = facts.architecture == "eqgan"
    config = configs.complete(common.eqgan() if heatmaps else common.stylegan2())
    size = resolution(ema)
    width, w_dim = ema.shape("mapping.fc0.weight", 2)[0], ema.shape("synthesis.b4.conv1.affine.weight", 2)[1]
    classes, embedding = 0, 0
    if "mapping.embed.weight" in ema:
        embedding, classes = ema.shape("mapping.embed.weight", 2)
    widths = {r: ema.shape(f"synthesis.b{r}.conv1.weight", 4)[0] for r in block_resolutions(size)}
    base, most = channel_rule(ema, widths)
    if width != w_dim:
        raise UserError(
            f"{ema.path}: {ema.name('mapping.fc0.weight')} makes {width} numbers where w has {w_dim}; only mapping "
            "networks as wide as w are known"
        )
    config.data.source = ""
    config.data.use_labels = bool(classes)
    config.model.update(
        resolution=size,
        base_shape=(4, 4),
        channels=ema.shape(f"synthesis.b{size}.torgb.weight", 4)[0],
        num_classes=classes,
        z_dim=ema.shape("mapping.fc0.weight", 2)[1] - embedding,
        w_dim=w_dim,
        mapping_layers=_count(ema, "mapping.fc{}.weight"),
        channel_base=base,
        channel_max=most,
        mbstd_group=facts.mbstd_group,
        d_architecture=d_architecture,
        conv_clamp=float(facts.conv_clamp),
        low_precision_levels=facts.low_precision_levels,
        dtype="float32",
    )
    if heatmaps:
        config.model.sel_hidden = ema.shape("synthesis.b4.conv1_sel.shared.weight", 4)[0]
        config.model.heatmap_features = ema.shape("heatmaps.level0_conv1.weight", 4)[0]
    bounds.check(config.model.to_dict(), f"{ema.path}: {ema.network}")
    # As the official code when it resumes: the average begins where it was, augmentation adapts five times as fast.
    config.ema.rampup = 0.0
    if not heatmaps:  # which are not warped with an image
        config.augment.kind = "ada"
        config.augment.kimg = 100.0
    return config


def channel_rule(source: Source, widths: Mapping[int, int]) -> tuple[int, int]:
    """(channel_base, channel_max) with min(channel_base // r, channel_max) feature maps at each resolution r.

    Raises:
        UserError: no two such numbers; the first tensor that does not follow is named.
    """
    most = max(widths.values())
    base = max(r * c for r, c in widths.items())
    for r, c in sorted(widths.items()):
        if num_channels(r, base, most) != c:
            name = source.name(f"synthesis.b{r}.conv1.weight")
            raise UserError(
                f"{source.path}: {name} makes {c} feature maps where {num_channels(r, base, most)} were expected; only "
                "networks with min(base / resolution, max) of them are known"
            )
    return base, most


@functools.lru_cache(maxsize=4)
def _shapes(gan: Gan) -> Any:
    """Of the variables of both networks; tracing them takes most of the time that a file needs."""
    return jax.eval_shape(lambda: init(gan, jax.random.key(0)))


def _filled(source: Source, shapes: Any, network: str, made_up: dict[str, str]) -> dict[str, Any]:
    """A network's variables, each taken from the file; a noise map that is not there is drawn."""
    rng = np.random.default_rng(0)

    def leaf(keys: Any, shape: Any) -> np.ndarray:
        path = [str(key.key) for key in keys]
        name, ours = ".".join(path[1:]), "/".join([network, *path])
        layer = name.rpartition(".")[0]
        if (
            path[-1] in ("noise_const", "noise_strength")
            and f"{layer}.noise_const" not in source
            and name not in source
        ):
            made_up[ours] = "random numbers" if path[-1] == "noise_const" else "0: the layer has no noise"
            drawn = rng.standard_normal(shape.shape) if path[-1] == "noise_const" else np.zeros(shape.shape)
            return np.asarray(drawn, np.float32)
        wanted = official_shape(name, shape.shape)
        return np.array(to_ours(name, source.take(name, wanted, ours)), order="C")

    filled = jax.tree_util.tree_map_with_path(leaf, {k: shapes[k] for k in ("params", "buffers")})
    source.tensors.none_left()
    return filled


def _count(source: Source, pattern: str) -> int:
    count = 0
    while pattern.format(count) in source:
        count += 1
    return count
