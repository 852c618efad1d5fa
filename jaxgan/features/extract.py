"""Features of many images: batched at one fixed size, sharded over devices, the device always one batch ahead."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import numpy as np

from jaxgan.errors import UserError
from jaxgan.features.networks import Network, measure
from jaxgan.parallel import to_host


def batched(images: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Slices of at most `size` along the first axis."""
    for start in range(0, len(images), size):
        yield np.asarray(images[start : start + size])


def padded(batch: np.ndarray, size: int) -> np.ndarray:
    """A short last batch filled up with its last row, so that no other shape is compiled."""
    missing = size - len(batch)
    return batch if missing == 0 else np.concatenate([batch, np.repeat(batch[-1:], missing, 0)])


def mapped(
    function: Callable[[Any], Any],
    batches: Iterable[np.ndarray],
    size: int,
    put: Callable[[np.ndarray], Any] = jax.device_put,
) -> Iterator[Any]:
    """`function` of each batch as NumPy rows, in order; the next batch is sent off before a result is waited for.

    Args:
        function: a jitted function of [size, ...] to a tree of arrays [size, ...].
        batches: arrays of at most `size` rows.
        size: rows that `function` is always called with.
        put: places a batch on the devices (`jaxgan.parallel.put_batch` shards it).
    """
    waiting: tuple[Any, int] | None = None
    for batch in batches:
        result = function(put(padded(batch, size)))
        if waiting is not None:
            yield _rows(*waiting)
        waiting = result, len(batch)
    if waiting is not None:
        yield _rows(*waiting)


def _rows(result: Any, count: int) -> Any:
    return jax.tree.map(lambda x: to_host(x)[:count], result)


def features(
    network: Network,
    images: np.ndarray,
    *,
    outputs: tuple[str, ...] = ("pool",),
    batch_size: int = 64,
    put: Callable[[np.ndarray], Any] = jax.device_put,
) -> dict[str, np.ndarray]:
    """Outputs of a network for images [N, H, W, C] (uint8, or float in [0, 255]), float32 [N, D] each.

    Raises:
        UserError: float images hold numbers that are not finite or lie outside [0, 255].
    """
    check_images(images)
    static, params = network.static(), jax.device_put(network.params)

    def run(x: Any) -> dict[str, jax.Array]:
        found = measure(static, params, x)
        return {name: found[name] for name in outputs}

    parts = list(mapped(run, batched(images, batch_size), batch_size, put))
    return {name: np.concatenate([p[name] for p in parts]) for name in outputs}


def check_images(images: np.ndarray) -> None:
    """Raises UserError for float images that are not finite or lie outside [0, 255]; uint8 is always right."""
    if images.ndim != 4 or images.shape[-1] not in (1, 3, 4):
        raise UserError(f"images of shape {images.shape} cannot be measured; give [N, H, W, C], C of 1, 3 or 4")
    if images.dtype == np.uint8:
        return
    if not np.isfinite(images).all():
        raise UserError("some images hold NaN or infinite numbers; a metric of them would mean nothing")
    low, high = float(images.min()), float(images.max())
    if low < -1e-3 or high > 255.001 or high <= 2.0:
        raise UserError(f"images lie in [{low:.3g}, {high:.3g}]; metrics take uint8 or floats in [0, 255]")
