"""Statistics over groups of a batch."""

import jax
import jax.numpy as jnp


def minibatch_stddev(x: jax.Array, group_size: int) -> jax.Array:
    """Appends one feature map: the mean standard deviation within each group of contiguous rows.

    x [N, H, W, C] -> [N, H, W, C + 1]. The official code groups rows N / group_size apart; contiguous groups equal it
    after a fixed permutation of the batch and keep a group on one device when the batch is sharded.

    Raises:
        ValueError: N is no multiple of the group (a batch smaller than a group is one group).
    """
    n, height, width, channels = x.shape
    group = min(group_size, n)
    if n % group:
        raise ValueError(f"minibatch_stddev: a batch of {n} is no multiple of the group of {group}")
    y = x.astype(jnp.float32).reshape(n // group, group, height, width, channels)
    variance = jnp.mean(jnp.square(y - jnp.mean(y, axis=1, keepdims=True)), axis=1)
    deviation = jnp.mean(jnp.sqrt(variance + 1e-8), axis=(1, 2, 3))
    deviation = jnp.broadcast_to(deviation[:, None, None, None, None], (n // group, group, height, width, 1))
    return jnp.concatenate((x, deviation.reshape(n, height, width, 1).astype(x.dtype)), axis=-1)
