"""StyleGAN2 (Karras et al. 2020, arXiv 1912.04958; ADA variant 2006.06676): generator and discriminator.

Names, raw weights and every constant follow the official networks, so that their weights load by renaming. Images are
NHWC in [-1, 1]. The base grid need not be 4x4: the output is base_shape * resolution / 4, so (4, 6) at resolution 64
makes 64x96 pictures.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.networks.gan import DOut, block_output, one_hot, recorder
from jaxgan.networks.layers import Conv, Dense, block_resolutions, convolution_3x3, num_channels
from jaxgan.networks.noise import Noise, noise_map
from jaxgan.ops.activation import bias_act, normalize_2nd_moment
from jaxgan.ops.conv import conv
from jaxgan.ops.enlarge import Enlargement
from jaxgan.ops.modulation import modulated_conv, spatially_modulated_conv
from jaxgan.ops.resample import downsample, downsample_conv, upsample, upsample_conv
from jaxgan.ops.statistics import minibatch_stddev


def low_precision_from(resolution: int, levels: int) -> float:
    """The lowest resolution that computes in the low-precision dtype when the `levels` highest ones do."""
    return max(2 ** (int(math.log2(resolution)) + 1 - levels), 8) if levels else math.inf


class MappingNetwork(nn.Module):
    """z [B, z_dim] and label codes [B, K] -> w [B, w_dim]; with z_dim 0 the labels alone are mapped (discriminator)."""

    z_dim: int
    w_dim: int
    num_classes: int
    num_layers: int

    @nn.compact
    def __call__(self, z: jax.Array | None, labels: jax.Array | None) -> jax.Array:
        parts = []
        if self.z_dim:
            parts.append(normalize_2nd_moment(z.astype(jnp.float32)))
        if self.num_classes:
            parts.append(normalize_2nd_moment(Dense(self.w_dim, name="embed")(labels)))
        x = jnp.concatenate(parts, axis=-1)
        for i in range(self.num_layers):
            x = Dense(self.w_dim, "lrelu", lr_multiplier=0.01, name=f"fc{i}")(x)
        return x


LATENT_FILTERS = ("torch_bilinear", "nearest")


class View(NamedTuple):
    """The part of a canvas that a feature map shows, in its own pixels: (height, width), (top, left, height, width)."""

    size: tuple[int, int]
    window: tuple[int, int, int, int]

    def enlarged(self) -> "View":
        """The same part at twice the resolution."""
        height, width = self.size
        return View((2 * height, 2 * width), tuple(2 * n for n in self.window))


def whole(shape: tuple[int, ...]) -> View:
    """The view of a feature map [N, H, W, C] that shows all there is."""
    return View(tuple(shape[1:3]), (0, 0, *shape[1:3]))


class Spatial(NamedTuple):
    """What becomes of rows of ws that are maps: how they are brought to a layer's size, and how layers demodulate.

    Attributes:
        filter: "torch_bilinear" (half-pixel centres, edges repeated) or "nearest"; a map's cell j of r covers the band
            from j / r to (j + 1) / r of the canvas whatever its size.
        demodulation: of `jaxgan.ops.modulation.demodulation_maps`; layers that enlarge keep "centre".
    """

    filter: str = "torch_bilinear"
    demodulation: str = "centre"

    def to(self, view: View) -> Enlargement:
        """Of maps to the pixels of a view."""
        return Enlargement(view.size, view.window, self.filter)


class StyledConv(nn.Module):
    """Modulated 3x3 convolution, noise, bias, leaky ReLU; `up` doubles the resolution.

    w is [N, w_dim] or a map [N, h, w, w_dim] of any size over the canvas, of which x shows `view`; with `styled` it is
    what the affine layer would make of that, [..., x's channels].
    """

    features: int
    up: bool
    conv_clamp: float | None
    spatial: Spatial = Spatial()

    @nn.compact
    def __call__(
        self, x: jax.Array, w: jax.Array, noise: Noise, layer: int, view: View | None = None, styled: bool = False
    ) -> jax.Array:
        channels = x.shape[-1]
        styles = w if styled else Dense(channels, bias_init=1.0, name="affine")(w)
        weight = self.param("weight", nn.initializers.normal(1.0), (3, 3, channels, self.features), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
        strength = self.param("noise_strength", nn.initializers.zeros, (), jnp.float32)
        convolution = upsample_conv if self.up else convolution_3x3
        if styles.ndim == 2:
            x = modulated_conv(x, weight, styles, convolution)
        else:
            view = view or whole(x.shape)
            x = spatially_modulated_conv(
                x,
                weight,
                styles,
                convolution,
                before=self.spatial.to(view),
                after=self.spatial.to(view.enlarged() if self.up else view),
                rule="centre" if self.up else self.spatial.demodulation,
            )
        drawn = noise_map(self, noise, layer, x.shape)
        if drawn is not None:
            x = x + (drawn * strength).astype(x.dtype)
        return bias_act(x, bias, "lrelu", clamp=self.conv_clamp)


class ToRGB(nn.Module):
    """Modulated 1x1 convolution to the image's channels, without demodulation; w as in `StyledConv`."""

    channels: int
    conv_clamp: float | None
    spatial: Spatial = Spatial()

    @nn.compact
    def __call__(self, x: jax.Array, w: jax.Array, view: View | None = None, styled: bool = False) -> jax.Array:
        channels = x.shape[-1]
        styles = (w if styled else Dense(channels, bias_init=1.0, name="affine")(w)) / channels**0.5
        weight = self.param("weight", nn.initializers.normal(1.0), (1, 1, channels, self.channels), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (self.channels,), jnp.float32)
        if styles.ndim == 2:
            x = modulated_conv(x, weight, styles, conv, demodulate=False)
        else:
            before = self.spatial.to(view or whole(x.shape))
            x = spatially_modulated_conv(x, weight, styles, conv, before=before, after=None)
        return bias_act(x, bias, "linear", clamp=self.conv_clamp).astype(jnp.float32)


class SynthesisBlock(nn.Module):
    """A resolution of the skip generator: (features, image) -> (features, image), from three rows of ws (two at 4).

    `view` is what comes in shows of its canvas; None: all of it.
    """

    features: int
    channels: int
    base_shape: tuple[int, int]
    conv_clamp: float | None
    dtype: Any
    spatial: Spatial = Spatial()

    @nn.compact
    def __call__(
        self,
        x,
        image,
        ws: tuple[jax.Array, ...],
        noise: Noise,
        layer: int,
        guide: Any = None,
        view: View | None = None,
        styled: bool = False,
    ) -> tuple[jax.Array, jax.Array]:
        row = 0
        if x is None:
            x = self.base(ws[0].shape[0]).astype(self.dtype)
        else:
            conv0 = StyledConv(self.features, up=True, conv_clamp=self.conv_clamp, spatial=self.spatial, name="conv0")
            x = conv0(self.guided("conv0", x.astype(self.dtype), guide), ws[0], noise, layer, view, styled)
            row, view = 1, view and view.enlarged()
        conv1 = StyledConv(self.features, up=False, conv_clamp=self.conv_clamp, spatial=self.spatial, name="conv1")
        x = conv1(self.guided("conv1", x, guide), ws[row], noise, layer + row, view, styled)
        to_rgb = ToRGB(self.channels, self.conv_clamp, self.spatial, name="torgb")
        rgb = to_rgb(self.guided("torgb", x, guide), ws[row + 1], view, styled)
        return x, rgb if image is None else upsample(image) + rgb

    def base(self, count: int) -> jax.Array:
        """What the first block begins from: the learned constant, for each image."""
        const = self.param("const", nn.initializers.normal(1.0), (*self.base_shape, self.features), jnp.float32)
        return jnp.broadcast_to(const, (count, *const.shape))

    def guided(self, name: str, x: jax.Array, guide: Any) -> jax.Array:
        """What the layer of a name takes in place of x; a network that is led by more than ws says so here."""
        return x


class Synthesis(nn.Module):
    """ws [B, num_ws, w_dim] -> images; see `Generator.synthesize`. `guides` is what each block is given beside ws.

    With `blocks`, numbers of the first and past the last one, only those are run: from what the earlier ones gave,
    `carried` (features, image), and to the same again.
    """

    resolution: int
    channels: int
    channel_base: int
    channel_max: int
    conv_clamp: float | None
    base_shape: tuple[int, int]
    low_precision_levels: int
    dtype: Any
    spatial: Spatial = Spatial()

    @nn.compact
    def __call__(
        self,
        ws: jax.Array | tuple[jax.Array, ...],
        noise: Noise,
        guides: Mapping[int, Any] | None = None,
        *,
        styled: bool = False,
        carried: tuple[jax.Array | None, jax.Array | None] = (None, None),
        blocks: tuple[int, int | None] = (0, None),
    ) -> Any:
        x, image = carried
        first, end = blocks
        rows = ws if isinstance(ws, tuple) else tuple(ws[:, row] for row in range(ws.shape[1]))
        for number, resolution in list(enumerate(block_resolutions(self.resolution)))[first:end]:
            layer, convs = max(2 * number - 1, 0), 1 if number == 0 else 2
            low = resolution >= low_precision_from(self.resolution, self.low_precision_levels)
            block = self.block(
                num_channels(resolution, self.channel_base, self.channel_max),
                self.channels,
                self.base_shape,
                self.conv_clamp,
                self.dtype if low else jnp.float32,
                self.spatial,
                name=f"b{resolution}",
            )
            guide = None if guides is None else guides[resolution]
            # A ToRGB and the layer that enlarges after it share a row of ws, but each has a style of its own.
            layers = slice(layer, layer + convs + 1) if not styled else slice(max(3 * number - 1, 0), 3 * number + 2)
            given = rows[layers]
            x, image = self.shown(number, *block(x, image, given, noise, layer, guide, self.view(number), styled))
            x, image = block_output(x), block_output(image)
        return image if end is None else (x, image)

    def view(self, number: int) -> View | None:
        """What a block is given shows of its canvas; None: all of it."""
        return None

    def shown(self, number: int, x: jax.Array, image: jax.Array) -> tuple[jax.Array, jax.Array]:
        """What of a block's output goes on."""
        return x, image

    def block(self, *args: Any, **kwargs: Any) -> SynthesisBlock:
        """The module of one resolution."""
        return SynthesisBlock(*args, **kwargs)


class Generator(nn.Module):
    """StyleGAN2's generator, "skip" architecture.

    Attributes:
        resolution: height of the output where the base grid is 4 high; a power of two, 8 or more.
        channels: of the image: 1, 3 or 4.
        channel_base, channel_max: feature maps at resolution r are min(channel_base / r, channel_max).
        num_classes: 0 for an unconditional generator.
        base_shape: height and width of the learned constant.
        low_precision_levels: how many of the highest resolutions compute in `dtype`; the rest is float32.
        latent_filter, demodulation: of rows of ws that are maps; see `Spatial`.
    """

    resolution: int
    channels: int = 3
    z_dim: int = 512
    w_dim: int = 512
    num_classes: int = 0
    mapping_layers: int = 8
    channel_base: int = 32768
    channel_max: int = 512
    conv_clamp: float | None = 256.0
    base_shape: tuple[int, int] = (4, 4)
    low_precision_levels: int = 0
    dtype: Any = jnp.float32
    latent_filter: str = "torch_bilinear"
    demodulation: str = "centre"

    @property
    def num_ws(self) -> int:
        """Rows of ws: one per style layer, 2 * log2(resolution) - 2."""
        return 2 * int(math.log2(self.resolution)) - 2

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of the output."""
        scale = self.resolution // 4
        return (self.base_shape[0] * scale, self.base_shape[1] * scale, self.channels)

    @property
    def noise_shapes(self) -> tuple[tuple[int, int], ...]:
        """(height, width) of the noise map of each styled convolution, in order."""
        shapes = []
        for r in block_resolutions(self.resolution):
            size = (self.base_shape[0] * r // 4, self.base_shape[1] * r // 4)
            shapes += [size] * (1 if r == 4 else 2)
        return tuple(shapes)

    def setup(self) -> None:
        self.mapping = MappingNetwork(self.z_dim, self.w_dim, self.num_classes, self.mapping_layers)
        self.synthesis = self.make_synthesis(
            self.resolution,
            self.channels,
            self.channel_base,
            self.channel_max,
            self.conv_clamp,
            self.base_shape,
            self.low_precision_levels,
            self.dtype,
            Spatial(self.latent_filter, self.demodulation),
        )

    def make_synthesis(self, *args: Any) -> Synthesis:
        """The module that makes images of ws."""
        return Synthesis(*args)

    @property
    def row_shapes(self) -> tuple[tuple[int, int], ...]:
        """(height, width) at which the layers of each row of ws work: a map that is finer says no more there."""
        return tuple(tuple(n * 2 ** (row // 2) for n in self.base_shape) for row in range(self.num_ws))

    @property
    def style_shapes(self) -> tuple[tuple[int, int, int], ...]:
        """(height, width, channels) of what each layer modulates: convolutions and the ToRGB of each block."""
        shapes = []
        for r in block_resolutions(self.resolution):
            sizes = (r,) * 2 if r == 4 else (r // 2, r, r)
            shapes += [
                (*(n * s // 4 for n in self.base_shape), num_channels(s, self.channel_base, self.channel_max))
                for s in sizes
            ]
        return tuple(shapes)

    def map(self, z: jax.Array, labels: jax.Array | None = None, *, train: bool = False) -> jax.Array:
        """z [B, z_dim], labels [B] or [B, num_classes] -> ws [B, num_ws, w_dim], not truncated.

        A map of z [B, h, w, z_dim] is mapped position by position, to ws [B, num_ws, h, w, w_dim].
        """
        codes = one_hot(labels, self.num_classes, z.shape[0])
        if codes is not None and z.ndim > 2:
            codes = jnp.broadcast_to(codes[:, None, None], (*z.shape[:3], codes.shape[-1]))
        w = self.mapping(z, codes)
        return jnp.broadcast_to(w[:, None], (w.shape[0], self.num_ws, *w.shape[1:]))

    def synthesize(
        self,
        ws: jax.Array | tuple[jax.Array, ...],
        noise: Noise = "const",
        *,
        styled: bool = False,
        train: bool = False,
    ) -> jax.Array:
        """ws -> images [B, H, W, channels] in about [-1, 1] (unclipped), float32.

        Args:
            ws: [B, num_ws, w_dim]; or maps over the image, [B, num_ws, h, w, w_dim]; or a row for each layer, of either
                kind and each map of its own size.
            noise: "const" (the stored maps), "none", a key (fresh maps, as in training) or a tuple of maps
                [B, H, W, 1] with the sizes of `noise_shapes`.
            styled: whether `ws` is what the affine layers would make of it, one for each of `style_shapes`; see
                `styles`.
        """
        return self.synthesis(ws, noise, styled=styled)

    def __call__(
        self, z: jax.Array, labels: jax.Array | None = None, noise: Noise = "const", *, train: bool = False
    ) -> jax.Array:
        """z -> images: `map`, then `synthesize`."""
        return self.synthesize(self.map(z, labels, train=train), noise, train=train)


def styles(generator: Generator, variables: Any, ws: jax.Array | tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
    """What the affine layers make of ws (as in `Generator.synthesize`): one for each of `style_shapes`."""
    rows = ws if isinstance(ws, tuple) else tuple(ws[:, row] for row in range(ws.shape[1]))
    made, shapes = [], iter(generator.style_shapes)
    for number, resolution in enumerate(block_resolutions(generator.resolution)):
        layer, names = max(2 * number - 1, 0), ("conv1", "torgb") if number == 0 else ("conv0", "conv1", "torgb")
        for offset, name in enumerate(names):
            affine = variables["params"]["synthesis"][f"b{resolution}"][name]["affine"]
            dense = Dense(next(shapes)[2], bias_init=1.0)
            made.append(dense.apply({"params": affine}, rows[layer + offset]))
    return tuple(made)


class DiscriminatorBlock(nn.Module):
    """Two convolutions that halve the resolution, with a skip path in the residual form; the first reads images."""

    features: int
    features_out: int
    from_rgb: bool
    residual: bool
    conv_clamp: float | None
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        gain = math.sqrt(0.5) if self.residual else 1.0
        x = x.astype(self.dtype)
        if self.from_rgb:
            x = Conv(self.features, 1, "lrelu", conv_clamp=self.conv_clamp, convolution=conv, name="fromrgb")(x)
        y = Conv(self.features, 3, "lrelu", conv_clamp=self.conv_clamp, name="conv0")(x)
        y = Conv(
            self.features_out,
            3,
            "lrelu",
            gain=gain,
            conv_clamp=self.conv_clamp,
            convolution=downsample_conv,
            name="conv1",
        )(y)
        if self.residual:
            skip = Conv(self.features_out, 1, use_bias=False, gain=gain, convolution=conv, name="skip")
            y = skip(downsample(x)) + y
        return y


class Epilogue(nn.Module):
    """Minibatch deviation, 3x3 convolution and two dense layers at the base grid, in float32."""

    features: int
    out_features: int
    group_size: int
    conv_clamp: float | None

    @nn.compact
    def __call__(self, x: jax.Array, tap: Callable[[str, jax.Array], jax.Array]) -> jax.Array:
        x = minibatch_stddev(x.astype(jnp.float32), self.group_size)
        x = Conv(self.features, 3, "lrelu", conv_clamp=self.conv_clamp, name="conv")(x)
        x = tap("fc", Dense(self.features, "lrelu", name="fc")(x.reshape(x.shape[0], -1)))
        return Dense(self.out_features, name="out")(x)


class Discriminator(nn.Module):
    """StyleGAN2's discriminator, residual ("resnet") or plain ("orig"); conditional by projection.

    Attributes are the generator's; `mbstd_group` is the size of the minibatch-deviation groups, contiguous rows.
    """

    resolution: int
    channels: int = 3
    num_classes: int = 0
    architecture: str = "resnet"
    channel_base: int = 32768
    channel_max: int = 512
    conv_clamp: float | None = 256.0
    mbstd_group: int = 4
    low_precision_levels: int = 0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        images: jax.Array,
        labels: jax.Array | None = None,
        *,
        taps: dict[str, jax.Array] | None = None,
        group_size: int | None = None,
        train: bool = False,
    ) -> DOut:
        """images [B, H, W, channels] in [-1, 1] -> DOut with features b{resolution} (block outputs) and fc.

        `taps` are added to the features of the same name (zeros, to take derivatives by); `group_size=1` makes every
        image independent of the others.
        """
        codes = one_hot(labels, self.num_classes, images.shape[0])
        features, tap = recorder(taps)
        x = images
        for resolution in reversed(block_resolutions(self.resolution)[1:]):
            low = resolution >= low_precision_from(self.resolution, self.low_precision_levels)
            block = DiscriminatorBlock(
                num_channels(resolution, self.channel_base, self.channel_max),
                num_channels(resolution // 2, self.channel_base, self.channel_max),
                from_rgb=resolution == self.resolution,
                residual=self.architecture == "resnet",
                conv_clamp=self.conv_clamp,
                dtype=self.dtype if low else jnp.float32,
                name=f"b{resolution}",
            )
            x = tap(f"b{resolution}", block(x))
        width = num_channels(4, self.channel_base, self.channel_max)
        group = self.mbstd_group if group_size is None else group_size
        out = Epilogue(width, width if self.num_classes else 1, group, self.conv_clamp, name="b4")(x, tap)
        if self.num_classes:
            code = MappingNetwork(0, width, self.num_classes, 8, name="mapping")(None, codes)
            out = jnp.sum(out * code, axis=-1, keepdims=True) / width**0.5
        return DOut(out[:, 0], features)
