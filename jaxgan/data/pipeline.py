"""From a set of images to batches on the device, in an order that does not depend on the machine.

The order is a property of the seed alone: one endless stream of indices, reshuffled every epoch, is cut into global
batches, and each process takes its rows of every global batch. So a run continues with exactly the same images on
another number of processes, and the cursor is a single count.
"""

import collections
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxgan.data.sources import ImageSet
from jaxgan.errors import UserError

if TYPE_CHECKING:
    import grain

Batch = dict[str, np.ndarray]


def batches(
    images: ImageSet,
    *,
    batch_size: int,
    seed: int,
    x_flip: bool = False,
    use_labels: bool = False,
    rank: int = 0,
    world: int = 1,
    num_threads: int = 2,
) -> "Batches":
    """An endless iterator over this process's share of the global batches.

    Each epoch visits every image once, in a new order; a batch may span two epochs, so none is lost between them.

    Args:
      images: the set.
      batch_size: images in a global batch, over all processes.
      seed: of the order.
      x_flip: doubles the set with its mirror images, as in StyleGAN2-ADA (an epoch is then `2 N` images).
      use_labels: whether "labels" holds the labels of the set; they are zeros otherwise.
      rank: of this process, in `[0, world)`.
      world: how many processes share a global batch.
      num_threads: threads that gather ahead; 0 gathers when asked.

    Returns:
      An iterator over `{"images": uint8 [B, H, W, C], "labels": int32 [B]}` with `B = batch_size // world`, the rows
      `rank * B : (rank + 1) * B` of the global batch.

    Raises:
      UserError: the processes do not divide the batch, or `use_labels` with a set that has none.
    """
    if batch_size < 1 or batch_size % world:
        raise UserError(f"batch_size={batch_size} is not a multiple of the {world} processes; choose one that is")
    if not 0 <= rank < world:
        raise UserError(f"rank={rank} is outside [0, {world}); number the processes from 0")
    if use_labels and images.labels is None:
        raise UserError(f"{images.name} ({images.split}) has no labels; train without them (use_labels=False)")
    import grain

    local = batch_size // world

    def read(indices: np.ndarray) -> Batch:
        """Global indices `[batch_size]` to this process's rows."""
        return gather_flipped(images, indices[rank * local : (rank + 1) * local], use_labels)

    order = grain.MapDataset.range(len(images) * (2 if x_flip else 1)).seed(seed).shuffle().repeat()
    options = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=2 * num_threads)
    return Batches(order, batch_size, read, options)


def gather_flipped(images: ImageSet, indices: np.ndarray, use_labels: bool) -> Batch:
    """The images and labels at `indices`, integers `[n]` in `[0, 2 N)`: index `N + i` is image `i` mirrored."""
    flipped, indices = indices >= len(images), indices % len(images)
    batch = images.gather(indices)
    for i in np.flatnonzero(flipped):
        mirror(batch[i])
    labels = images.labels[indices] if use_labels else np.zeros(len(indices))
    return {"images": batch, "labels": labels.astype(np.int32)}


def mirror(image: np.ndarray) -> None:
    """Mirrors an image `[H, W, C]` left to right, in place."""
    original = image.copy()
    for c in range(
        image.shape[-1]
    ):  # by channel: NumPy copies long runs of single bytes 3 times faster than short ones
        image[:, :, c] = original[:, ::-1, c]


class Batches(Iterator[Batch]):
    """What `batches` returns: an iterator that can be saved, resumed and closed.

    The state is `{"images": n}`: the first `n` images of the order have been yielded, over all processes. It is plain
    JSON, the same on every process, and can be resumed on any number of processes and with any batch size.
    """

    def __init__(
        self,
        order: "grain.MapDataset",
        batch_size: int,
        read: Callable[[np.ndarray], Batch],
        options: "grain.ReadOptions",
    ):
        self._order, self._batch_size, self._read, self._options = order, batch_size, read, options
        self._start(0)

    def __next__(self) -> Batch:
        item = next(self._iterator)
        self._images += self._batch_size
        return item

    def get_state(self) -> dict[str, int]:
        """The cursor after the last item yielded."""
        return {"images": self._images}

    def set_state(self, state: dict[str, int]) -> None:
        """Moves to a cursor that `get_state` gave, of this iterator or of another over the same set and seed."""
        self.close()
        self._start(state["images"])

    def close(self) -> None:
        """Ends the reading threads. The iterator cannot be used afterwards, unless `set_state` starts it again."""
        self._iterator.close()

    def _start(self, images: int) -> None:
        self._images = images
        items = self._order[images:].batch(self._batch_size, drop_remainder=True).map(self._read)
        self._iterator = iter(items.to_iter_dataset(self._options))


class DevicePrefetch(Iterator[Any]):
    """Keeps `size` batches on their way to the device.

    There is no thread here: Grain's threads gather, `put` (`jax.device_put` and its kin) returns before the copy is
    done, and steps are dispatched without waiting, so looking ahead is enough to overlap all three.

    Args:
      iterator: host batches; `get_state()` is called after each, and `close()` at the end, where it has them.
      put: host batch to device batch.
      size: batches ahead of the one being used, at least 1.
    """

    def __init__(self, iterator: Iterator[Batch], put: Callable[[Batch], Any], size: int = 2):
        if size < 1:
            raise ValueError(f"size={size}: at least one batch must be on its way")
        self._source, self._put, self._size = iterator, put, size
        self._ahead: collections.deque[tuple[Any, Any]] = collections.deque()  # device batch, cursor after it
        self._end: Exception | None = None
        self._state = self._cursor()

    def __next__(self) -> Any:
        """The next batch. An error of the source or of `put` is raised after the batches that came before it."""
        while self._end is None and len(self._ahead) <= self._size:
            try:
                batch = self._put(next(self._source))
                self._ahead.append((batch, self._cursor()))
            except Exception as error:
                self._end = error
        if not self._ahead:
            raise self._end
        batch, self._state = self._ahead.popleft()
        return batch

    def state(self) -> Any:
        """The cursor of the source after the last batch yielded here, not after those on their way."""
        return self._state

    def close(self) -> None:
        """Drops what is on its way and closes the source; the iterator is then at its end."""
        self._ahead.clear()
        self._end = StopIteration()
        if hasattr(self._source, "close"):
            self._source.close()

    def _cursor(self) -> Any:
        return self._source.get_state() if hasattr(self._source, "get_state") else None
