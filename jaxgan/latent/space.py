"""What a latent space is, and what is known of random latents."""

import dataclasses
from typing import Any

import flax.linen as nn
import flax.struct
import jax

from jaxgan.networks.gan import call, draw_z


@flax.struct.dataclass
class Statistics:
    """What random latents look like; a pytree, an argument of every latent program.

    Attributes:
        w_mean: [num_ws, w_dim], the mean of ws.
        w_std: scalar, the root mean square distance of a row from its mean (not a deviation per number), as in NVIDIA's
            projector.
        z_central: [z_dim], the z at the mean: 0, or with a mapping network, which is singular there, the one of 10,000
            whose w is nearest to the mean.
        mean, factor, whitener: of Gaussianised rows x = mean + factor v, v = whitener (x - mean) ~ N(0, I); one
            Gaussian for all rows where they are alike, [1, w_dim] and [1, w_dim, w_dim], else one each. Numbers of v
            are principal components, those of the largest variance first.
    """

    w_mean: jax.Array
    w_std: jax.Array
    z_central: jax.Array
    mean: jax.Array
    factor: jax.Array
    whitener: jax.Array


def has_mapping(generator: nn.Module) -> bool:
    """Whether w comes out of a mapping network, the same for every layer; otherwise ws are parts of z."""
    return hasattr(generator, "mapping_layers")


@dataclasses.dataclass(frozen=True)
class Space:
    """A latent space of a generator; hashable, so that it can be a static argument."""

    generator: nn.Module

    styled = False  # whether `to_ws` gives styles, what comes after the affine layers

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one image's code."""
        raise NotImplementedError

    def to_ws(self, variables: Any, code: jax.Array, labels: jax.Array | None = None) -> Any:
        """Codes [B, *shape] (labels [B, num_classes], where z is mapped with them) -> what `synthesize` takes as ws.

        That is [B, num_ws, w_dim]; of a space of maps also [B, num_ws, h, w, w_dim], or a row for each layer.
        """
        raise NotImplementedError

    def from_ws(self, ws: jax.Array) -> jax.Array:
        """The codes that are nearest to given ws [B, num_ws, w_dim] or maps of them; for spaces of ws."""
        raise NotImplementedError

    def mean(self, statistics: Statistics) -> jax.Array:
        """The code at the mean, [*shape]."""
        raise NotImplementedError

    def sample(self, variables: Any, key: jax.Array, count: int, labels: jax.Array | None = None) -> jax.Array:
        """Codes [count, *shape] of random latents, z ~ N(0, I)."""
        z = draw_z(self.generator, key, count)
        return self.from_ws(call(self.generator, variables, z, labels, method="map"))
