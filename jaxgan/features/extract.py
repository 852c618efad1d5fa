"""Features of many images: batched at one fixed size, sharded over devices, the device always one batch ahead."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import numpy as np

from jaxgan.errors import UserError
from jaxgan.features.networks import Network, apply, measure
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
    outputs: tuple[str, ...] | None = None,
    batch_size: int = 64,
    put: Callable[[np.ndarray], Any] = jax.device_put,
) -> dict[str, np.ndarray]:
    """Outputs of a network for images [N, H, W, C] (uint8, or float in [0, 255]), float32 [N, D] each.

    `outputs` names them; by default the one that distances between sets are taken on (`network.pooled`).

    Raises:
        UserError: there are no images, float images hold numbers that are not finite or lie outside [0, 255], or the
            network has no such output.
    """
    images = check_images(images)
    outputs = (network.pooled,) if outputs is None else tuple(outputs)
    if not network.pooled:
        raise UserError(f"{network.name} is a distance of two images; use jaxgan.metrics.perceptual_distance")
    static, params = network.static(), jax.device_put(network.params)
    image = jax.ShapeDtypeStruct((1, *images.shape[1:]), images.dtype)
    known = jax.eval_shape(lambda p, x: apply(static, p, x), network.params, image)
    for name in outputs:
        if name not in known:
            raise UserError(f"{network.name} has no output {name!r}; it has {', '.join(known)}")

    def run(x: Any) -> dict[str, jax.Array]:
        return measure(static, params, x, outputs)

    parts = list(mapped(run, batched(images, batch_size), batch_size, put))
    return {name: np.concatenate([p[name] for p in parts]) for name in outputs}


def check_features(features: np.ndarray, least: int = 1) -> np.ndarray:
    """Features as a NumPy array [N, D].

    Raises:
        UserError: there are fewer than `least` rows, another number of axes, or numbers that are not finite.
    """
    features = np.asarray(features)
    if features.ndim != 2 or len(features) < least:
        raise UserError(
            f"features of shape {features.shape} cannot be measured; give [N, D] with at least {least} rows"
        )
    if not np.isfinite(features).all():
        raise UserError("some features are NaN or infinite; a metric of them would mean nothing")
    return features


def check_pair(a: np.ndarray, b: np.ndarray, least: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Two sets of features of one network, each as `check_features` has it.

    Raises:
        UserError: as there, or the sets have different numbers of features.
    """
    a, b = check_features(a, least), check_features(b, least)
    if a.shape[1] != b.shape[1]:
        raise UserError(f"{a.shape[1]} and {b.shape[1]} features do not compare; take both of one network")
    return a, b


def check_image_pairs(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Images two and two, each set as `check_images` has it.

    Raises:
        UserError: as there, or the shapes differ.
    """
    a, b = check_images(a), check_images(b)
    if a.shape != b.shape:
        raise UserError(f"images of {a.shape} and {b.shape} are no pairs; give as many of the same size")
    return a, b


def check_images(images: np.ndarray) -> np.ndarray:
    """Images as a NumPy array [N, H, W, C] of uint8 or of floats in [0, 255].

    Raises:
        UserError: there are none, floats are not finite or lie outside [0, 255], or it is another kind of array.
    """
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[-1] not in (1, 3, 4) or not images.size:
        raise UserError(f"images of shape {images.shape} cannot be measured; give [N, H, W, C], C of 1, 3 or 4")
    if images.dtype == np.uint8:
        return images
    if not np.isfinite(images).all():
        raise UserError("some images hold NaN or infinite numbers; a metric of them would mean nothing")
    low, high = float(images.min()), float(images.max())
    if low < -1e-3 or high > 255.001 or high <= 2.0:
        raise UserError(f"images lie in [{low:.3g}, {high:.3g}]; metrics take uint8 or floats in [0, 255]")
    return images
