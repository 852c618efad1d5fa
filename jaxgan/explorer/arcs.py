"""The realism direction of a photograph: its code, and what an arc of codes moves its ws by.

A sample's arc is one of z, which a photograph has not. Where a mapping network makes w, its code is the whitened mean
of its rows, and every row moves as that mean does; where there is one row alone, that is its z.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxgan.latent.space import Statistics, has_mapping
from jaxgan.latent.spaces import from_prior, to_prior
from jaxgan.ops.sphere import arc


def code_dim(generator: nn.Module) -> int:
    """Numbers of a photograph's code; 0 where it has none, as ws are parts of z."""
    if has_mapping(generator):
        return generator.w_dim
    return generator.z_dim if generator.num_ws == 1 else 0


def code_of(generator: nn.Module, statistics: Statistics, ws: jax.Array) -> jax.Array:
    """The code [D] of ws [num_ws, w_dim], not on the sphere yet."""
    if has_mapping(generator):
        return to_prior(generator, statistics, ws.mean(0)[None, None])[0, 0]
    return ws[0, : generator.z_dim]


def moved_by(
    generator: nn.Module, statistics: Statistics, x: jax.Array, p: jax.Array, share: jax.Array | float
) -> jax.Array:
    """What a row of ws [w_dim] moves by, a share of the arc from x to p along."""
    codes = jnp.stack([arc(x, p, share), arc(x, p, 0.0)])
    if has_mapping(generator):
        codes = from_prior(generator, statistics, codes[:, None])[:, 0]
    step = codes[0] - codes[1]
    return jnp.pad(step, (0, generator.w_dim - len(step)))  # a class's code stays as it is
