"""What generators without a W space share."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.networks.gan import one_hot


class PlainGenerator(nn.Module):
    """A generator without a W space: `map` only appends the label code to z; subclasses bring `synthesize`.

    Attributes:
        resolution: height and width of the images; a power of two, 8 or more.
        channels: of the images.
        num_classes: 0 for an unconditional generator.
        channel_base, channel_max: feature maps at resolution r are min(channel_base / r, channel_max).
        dtype: the convolutions compute in it.
    """

    resolution: int
    channels: int = 3
    z_dim: int = 100
    num_classes: int = 0
    channel_base: int = 4096
    channel_max: int = 1024
    dtype: Any = jnp.float32

    @property
    def w_dim(self) -> int:
        """Length of z with the label code."""
        return self.z_dim + self.num_classes

    @property
    def label_dim(self) -> int:
        """Numbers at the end of a row that are the label's code."""
        return self.num_classes

    @property
    def num_ws(self) -> int:
        """One row of ws: the whole latent code."""
        return 1

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of the output."""
        return (self.resolution, self.resolution, self.channels)

    @property
    def noise_shapes(self) -> tuple[tuple[int, int], ...]:
        """There are no noise maps."""
        return ()

    def map(self, z: jax.Array, labels: jax.Array | None = None, *, train: bool = False) -> jax.Array:
        """z [B, z_dim] from N(0, I), labels [B] or [B, num_classes] -> ws [B, 1, z_dim + num_classes]."""
        w = z.astype(jnp.float32)
        code = one_hot(labels, self.num_classes, z.shape[0])
        return (w if code is None else jnp.concatenate((w, code), axis=-1))[:, None]

    def __call__(
        self, z: jax.Array, labels: jax.Array | None = None, noise: Any = "const", *, train: bool = False
    ) -> jax.Array:
        """z -> images: `map`, then `synthesize`."""
        return self.synthesize(self.map(z, labels, train=train), noise, train=train)
