"""BigGAN (Brock et al. 2019, arXiv 1809.11096, appendix B; not BigGAN-deep): generator and discriminator.

Channel tables, names and constants are those of the authors' PyTorch release (ajbrock/BigGAN-PyTorch); the
discriminator for 512 px, which it lacks, has the channels of google/compare_gan. Every weight is orthogonal at first
and, embeddings of the generator's classes apart, divided by its largest singular value; biases start at 0, where the
release leaves PyTorch's small random ones. Images are NHWC in [-1, 1].
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.nn import relu

from jaxgan.networks.gan import DOut, block_output, one_hot, recorder
from jaxgan.networks.layers import block_resolutions, convolution_3x3
from jaxgan.networks.normalization import BatchNorm, spectral_norm
from jaxgan.ops.activation import bias_act
from jaxgan.ops.box import box_downsample, box_downsample_conv, nearest_upsample, nearest_upsample_conv
from jaxgan.ops.conv import conv

# Feature maps in units of `width`, by resolution of the images: the generator's at 4, 8, ..., resolution ...
G_CHANNELS = {
    32: (4, 4, 4, 4),
    64: (16, 16, 8, 4, 2),
    128: (16, 16, 8, 4, 2, 1),
    256: (16, 16, 8, 8, 4, 2, 1),
    512: (16, 16, 8, 8, 4, 2, 1, 1),
}
# ... and the discriminator's after each of its blocks, named after the resolution that they read.
D_CHANNELS = {
    32: {"b32": 4, "b16": 4, "b8_0": 4, "b8_1": 4},
    64: {"b64": 1, "b32": 2, "b16": 4, "b8": 8, "b4": 16},
    128: {"b128": 1, "b64": 2, "b32": 4, "b16": 8, "b8": 16, "b4": 16},
    256: {"b256": 1, "b128": 2, "b64": 4, "b32": 8, "b16": 8, "b8": 16, "b4": 16},
    512: {"b512": 1, "b256": 1, "b128": 2, "b64": 4, "b32": 8, "b16": 8, "b8": 16, "b4": 16},
}
BATCH_NORM_MOMENTUM = 0.9


def max_pool(x: jax.Array) -> jax.Array:
    """[N, 2H, 2W, C] -> [N, H, W, C]: maxima of 2x2 pixels."""
    n, height, width, channels = x.shape
    return jnp.max(x.reshape(n, height // 2, 2, width // 2, 2, channels), axis=(2, 4))


class Dense(nn.Module):
    """[B, I] -> [B, features]; the weight is spectrally normalised unless `spectral` is off."""

    features: int
    use_bias: bool = True
    spectral: bool = True

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        weight = self.param("weight", nn.initializers.orthogonal(), (x.shape[-1], self.features), jnp.float32)
        if self.spectral:
            weight = spectral_norm(self, weight, train=train)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32) if self.use_bias else None
        return bias_act(x @ weight.astype(x.dtype), bias, "linear")


class Conv(nn.Module):
    """Spectrally normalised convolution in the dtype of its input.

    `convolution` does the work, resampling included: (x [N, H, W, I], w [k, k, I, O]) -> y.
    """

    features: int
    kernel: int = 3
    use_bias: bool = True
    convolution: Callable[[jax.Array, jax.Array], jax.Array] = convolution_3x3

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        shape = (self.kernel, self.kernel, x.shape[-1], self.features)
        weight = self.param("weight", nn.initializers.orthogonal(), shape, jnp.float32)
        weight = spectral_norm(self, weight, train=train)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32) if self.use_bias else None
        return bias_act(self.convolution(x, weight.astype(x.dtype)), bias, "linear")


class Attention(nn.Module):
    """Self-attention (SAGAN, Zhang et al. 2019, arXiv 1805.08318) to max-pooled keys and values, times `gamma`, 0 at
    first, added to the input."""

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """x [N, H, W, C] with even H and W -> the same shape."""
        n, h, w, c = x.shape

        def project(name: str, features: int, x: jax.Array) -> jax.Array:
            return Conv(features, 1, use_bias=False, convolution=conv, name=name)(x, train=train)

        # Fewer than 8 channels leave one number to compare by.
        query = project("theta", max(c // 8, 1), x).reshape(n, h * w, -1)
        key = max_pool(project("phi", max(c // 8, 1), x)).reshape(n, h * w // 4, -1)
        value = max_pool(project("g", c // 2, x)).reshape(n, h * w // 4, -1)
        scores = jnp.einsum("nqc,nkc->nqk", query, key).astype(jnp.float32)
        y = jnp.einsum("nqk,nkc->nqc", jax.nn.softmax(scores).astype(x.dtype), value).reshape(n, h, w, -1)
        gamma = self.param("gamma", nn.initializers.zeros, (), jnp.float32)
        return x + gamma.astype(x.dtype) * project("o", c, y)


class ConditionalBatchNorm(nn.Module):
    """Batch normalisation whose gain (about 1) and shift (about 0) are linear maps of a code [B, K].

    An empty code leaves a plain, learned gain and shift. `spectral` off is for one-hot codes, of which the maps are
    tables.
    """

    spectral: bool

    @nn.compact
    def __call__(self, x: jax.Array, code: jax.Array, *, train: bool) -> jax.Array:
        """x [B, H, W, C] -> the same shape and dtype."""
        conditional = code.shape[-1] > 0
        y = BatchNorm(BATCH_NORM_MOMENTUM, affine=not conditional, name="bn")(x, train=train)
        if not conditional:
            return y
        gain = Dense(x.shape[-1], use_bias=False, spectral=self.spectral, name="gain")(code, train=train)
        bias = Dense(x.shape[-1], use_bias=False, spectral=self.spectral, name="bias")(code, train=train)
        return y * (1 + gain[:, None, None]).astype(y.dtype) + bias[:, None, None].astype(y.dtype)


class GeneratorBlock(nn.Module):
    """Residual block that doubles the resolution; `spectral` is that of its conditional normalisations."""

    features: int
    spectral: bool

    @nn.compact
    def __call__(self, x: jax.Array, code: jax.Array, *, train: bool) -> jax.Array:
        y = relu(ConditionalBatchNorm(self.spectral, name="bn1")(x, code, train=train))
        y = Conv(self.features, convolution=nearest_upsample_conv, name="conv1")(y, train=train)
        y = relu(ConditionalBatchNorm(self.spectral, name="bn2")(y, code, train=train))
        y = Conv(self.features, name="conv2")(y, train=train)
        # The 1x1 convolution commutes with the doubling; before it, it costs a quarter.
        return y + nearest_upsample(Conv(self.features, 1, convolution=conv, name="conv_sc")(x, train=train))


class Synthesis(nn.Module):
    """z chunk [B, I] and one code [B, K] per block -> images; see `Generator.synthesize`."""

    resolution: int
    channels: int
    width: int
    attention: tuple[int, ...]
    spectral: bool
    dtype: Any

    @nn.compact
    def __call__(self, z: jax.Array, codes: list[jax.Array], *, train: bool) -> jax.Array:
        base, *channels = (self.width * multiplier for multiplier in G_CHANNELS[self.resolution])
        x = Dense(4 * 4 * base, name="linear")(z, train=train).reshape(-1, 4, 4, base).astype(self.dtype)
        for resolution, features, code in zip(block_resolutions(self.resolution)[1:], channels, codes):
            x = GeneratorBlock(features, self.spectral, name=f"b{resolution}")(x, code, train=train)
            if resolution in self.attention:
                x = Attention(name=f"b{resolution}_attention")(x, train=train)
            x = block_output(x)
        x = relu(BatchNorm(BATCH_NORM_MOMENTUM, name="bn")(x, train=train))
        return jnp.tanh(Conv(self.channels, name="conv")(x, train=train).astype(jnp.float32))


class Generator(nn.Module):
    """BigGAN's generator. z is N(0, I), as in the paper.

    A row of ws is [chunk of z, class code]: the first one's chunk makes the 4x4 grid, the others' rows give gain and
    shift of their block's batch normalisations. The class part of the first row has no effect. Without `hierarchical`
    there is one row: all of z makes the grid, and the class code alone goes to every block. The release, whose weights
    fit after a permutation, puts the class in front of the chunk and orders the grid by channel first.

    Attributes:
        resolution: 32, 64, 128, 256 or 512.
        z_dim: numbers in z; with `hierarchical` a multiple of `num_ws`, log2(resolution) - 1.
        num_classes: 0 for an unconditional generator, whose rows are the chunks of z alone.
        shared_dim: size of the class embedding that all blocks share; 0 for the one-hot code itself.
        width: feature maps of the narrowest layer, of which `G_CHANNELS` gives multiples (the release's `ch`).
        attention: resolutions after whose block there is self-attention.
        dtype: what the convolutions compute in.
    """

    resolution: int
    channels: int = 3
    z_dim: int = 120
    num_classes: int = 0
    shared_dim: int = 128
    hierarchical: bool = True
    width: int = 96
    attention: tuple[int, ...] = (64,)
    dtype: Any = jnp.float32

    @property
    def num_ws(self) -> int:
        """Rows of ws: one for the 4x4 grid and one per block, or a single one."""
        return len(G_CHANNELS[self.resolution]) if self.hierarchical else 1

    @property
    def w_dim(self) -> int:
        """Numbers in a row: a chunk of z and the class code."""
        return self.chunk + self.label_dim

    @property
    def label_dim(self) -> int:
        """Numbers at the end of a row that are the class code."""
        return (self.shared_dim or self.num_classes) if self.num_classes else 0

    @property
    def chunk(self) -> int:
        """Numbers of z in a row of ws."""
        return self.z_dim // self.num_ws

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of the output."""
        return (self.resolution, self.resolution, self.channels)

    @property
    def noise_shapes(self) -> tuple[tuple[int, int], ...]:
        """Empty: there are no noise maps."""
        return ()

    def setup(self) -> None:
        if self.num_classes and self.shared_dim:
            self.embed = Dense(self.shared_dim, use_bias=False, spectral=False)
        # The release looks gain and shift up in tables, without spectral norm, where a block sees the bare class.
        tables = self.num_classes > 0 and not self.shared_dim and not self.hierarchical
        self.synthesis = Synthesis(
            self.resolution, self.channels, self.width, self.attention, spectral=not tables, dtype=self.dtype
        )

    def map(self, z: jax.Array, labels: jax.Array | None = None, *, train: bool = False) -> jax.Array:
        """z [B, z_dim], labels [B] or [B, num_classes] -> ws [B, num_ws, w_dim]."""
        ws = z.astype(jnp.float32).reshape(z.shape[0], self.num_ws, self.chunk)
        code = one_hot(labels, self.num_classes, z.shape[0])
        if code is None:
            return ws
        if self.shared_dim:
            code = self.embed(code)
        return jnp.concatenate((ws, jnp.repeat(code[:, None], self.num_ws, axis=1)), axis=-1)

    def synthesize(
        self, ws: jax.Array, noise: str | jax.Array | tuple[jax.Array, ...] = "const", *, train: bool = False
    ) -> jax.Array:
        """ws [B, num_ws, w_dim] -> images [B, H, W, channels] in [-1, 1], float32. There is no noise to set: `noise`
        is ignored.

        With `train` the images of a batch are normalised together, otherwise each is independent of the others.
        """
        blocks = len(G_CHANNELS[self.resolution]) - 1
        codes = [ws[:, i + 1] if self.hierarchical else ws[:, 0, self.chunk :] for i in range(blocks)]
        return self.synthesis(ws[:, 0, : self.chunk], codes, train=train)

    def __call__(
        self,
        z: jax.Array,
        labels: jax.Array | None = None,
        noise: str | jax.Array | tuple[jax.Array, ...] = "const",
        *,
        train: bool = False,
    ) -> jax.Array:
        """z -> images: `map`, then `synthesize`."""
        return self.synthesize(self.map(z, labels, train=train), noise, train=train)


class DiscriminatorBlock(nn.Module):
    """Residual block of two convolutions with `hidden` feature maps between them; `down` halves the resolution.

    The block that reads images has no ReLU in front, which would cut off their negative half.
    """

    features: int
    hidden: int
    reads_images: bool
    down: bool

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        y = Conv(self.hidden, name="conv1")(x if self.reads_images else relu(x), train=train)
        second = box_downsample_conv if self.down else convolution_3x3
        y = Conv(self.features, convolution=second, name="conv2")(relu(y), train=train)
        if self.down or x.shape[-1] != self.features:
            # The 1x1 convolution commutes with the halving; after it, it costs a quarter.
            x = box_downsample(x) if self.down else x
            x = Conv(self.features, 1, convolution=conv, name="conv_sc")(x, train=train)
        return x + y


class Discriminator(nn.Module):
    """BigGAN's discriminator; conditional by projection (Miyato and Koyama 2018, arXiv 1802.05637).

    Attributes are the generator's; `wide` off gives the first convolution of a block as many feature maps as it reads
    (SN-GAN) instead of as many as the block returns. Attention follows the block that reaches its resolution.
    """

    resolution: int
    channels: int = 3
    num_classes: int = 0
    width: int = 96
    attention: tuple[int, ...] = (64,)
    wide: bool = True
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
        """images [B, H, W, channels] in [-1, 1] -> DOut with features named as in `D_CHANNELS`: the blocks'
        outputs, after their attention.

        `taps` are added to the features of the same name (zeros, to take derivatives by). Images are independent of
        one another whatever `group_size` says.
        """
        codes = one_hot(labels, self.num_classes, images.shape[0])
        features, tap = recorder(taps)
        x = images.astype(self.dtype)
        final = 8 if self.resolution == 32 else 4
        for name, multiplier in D_CHANNELS[self.resolution].items():
            size, out = x.shape[1], self.width * multiplier
            down = size > final
            hidden = out if self.wide else x.shape[-1]
            x = DiscriminatorBlock(out, hidden, not features, down, name=name)(x, train=train)
            if down and size // 2 in self.attention:
                x = Attention(name=f"{name}_attention")(x, train=train)
            x = tap(name, x)
        x = jnp.sum(relu(x.astype(jnp.float32)), axis=(1, 2))
        logits = Dense(1, name="linear")(x, train=train)[:, 0]
        if codes is not None:
            classes = Dense(self.num_classes, use_bias=False, name="embed")(x, train=train)
            logits += jnp.sum(codes * classes, axis=-1)
        return DOut(logits, features)
