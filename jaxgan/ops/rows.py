"""One number for each row of a batch, against arrays of any number of axes."""

import jax


def per_row(numbers: jax.Array, like: jax.Array) -> jax.Array:
    """[B] shaped to broadcast against [B, ...]."""
    return numbers.reshape(-1, *(1,) * (like.ndim - 1))
