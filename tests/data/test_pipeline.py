"""The order of images: of the seed alone, exact over epochs, restarts and numbers of processes."""

import dataclasses
import json
import subprocess
import sys
import time

import numpy as np
import pytest

from jaxgan.data.pipeline import DevicePrefetch, batches
from jaxgan.data.sources import ImageSet, open_images
from jaxgan.errors import UserError

N = 23


@pytest.fixture
def images():
    """Every image says its index in its left column and 200 in its right one; the label is the index."""
    pixels = np.zeros((N, 4, 6, 3), np.uint8)
    pixels[:, :, 0] = np.arange(N)[:, None, None]
    pixels[:, :, -1] = 200
    labels = np.arange(N, dtype=np.int32)
    return ImageSet("numbers", "train", pixels, labels, N, tuple(map(str, range(N))), "0", None)


def take(iterator, count):
    result = [next(iterator) for _ in range(count)]
    iterator.close()
    return result


def indices(batch):
    """Which image each one is, mirrored or not."""
    left, right = batch["images"][..., 0, 0, 0], batch["images"][..., 0, -1, 0]
    return np.where(left == 200, right, left)


def test_batch_contents(images):
    (batch,) = take(batches(images, batch_size=8, seed=0, use_labels=True), 1)
    assert batch["images"].shape == (8, 4, 6, 3)
    assert batch["images"].dtype == np.uint8
    assert batch["labels"].dtype == np.int32
    np.testing.assert_array_equal(batch["labels"], indices(batch))
    np.testing.assert_array_equal(batch["images"], images.images[batch["labels"]])


def test_labels_are_zero_when_not_used(images):
    unlabelled = dataclasses.replace(images, labels=None)
    for some in (images, unlabelled):
        (batch,) = take(batches(some, batch_size=8, seed=0), 1)
        assert batch["labels"].tolist() == [0] * 8
    with pytest.raises(UserError, match="has no labels"):
        batches(unlabelled, batch_size=8, seed=0, use_labels=True)


def test_every_epoch_visits_all_in_a_new_order(images):
    stream = np.concatenate([indices(b) for b in take(batches(images, batch_size=4, seed=3), N)])
    epochs = stream.reshape(4, N)
    for epoch in epochs:
        assert sorted(epoch) == list(range(N))
    assert len({epoch.tobytes() for epoch in epochs}) == 4


def test_order_is_of_the_seed_and_not_of_the_threads(images):
    runs = [take(batches(images, batch_size=4, seed=s, num_threads=t), 9) for s, t in ((1, 0), (1, 3), (2, 2))]
    orders = [np.stack([indices(b) for b in run]) for run in runs]
    np.testing.assert_array_equal(orders[0], orders[1])
    assert (orders[0] != orders[2]).any()


def test_x_flip_visits_both_sides(images):
    drawn = np.concatenate([b["images"] for b in take(batches(images, batch_size=2, seed=0, x_flip=True), N)])
    assert len({image.tobytes() for image in drawn}) == 2 * N
    expected = np.concatenate([images.images, images.images[:, :, ::-1]])
    assert sorted(image.tobytes() for image in drawn) == sorted(image.tobytes() for image in expected)


@pytest.mark.parametrize("world", [2, 4])
def test_any_number_of_processes_sees_the_same_global_batches(images, world):
    arguments = {"batch_size": 8, "seed": 5, "x_flip": True, "use_labels": True}
    whole = take(batches(images, **arguments), 7)
    parts = [take(batches(images, **arguments, rank=r, world=world), 7) for r in range(world)]
    for batch, *rows in zip(whole, *parts):
        for key, value in batch.items():
            np.testing.assert_array_equal(value, np.concatenate([r[key] for r in rows]))


@pytest.mark.parametrize(("old", "new"), [(1, 2), (4, 1)])
def test_resume_with_another_number_of_processes(images, old, new):
    arguments = {"batch_size": 8, "seed": 5}
    reference = take(batches(images, **arguments), 12)
    first = batches(images, **arguments, rank=old - 1, world=old)
    for _ in range(5):
        next(first)
    state = json.loads(json.dumps(first.get_state()))
    first.close()
    assert state == {"images": 40}
    for rank in range(new):
        resumed = batches(images, **arguments, rank=rank, world=new)
        next(resumed)
        resumed.set_state(state)
        assert resumed.get_state() == state
        rows = slice(rank * 8 // new, (rank + 1) * 8 // new)
        for got, expected in zip(take(resumed, 7), reference[5:]):
            np.testing.assert_array_equal(got["images"], expected["images"][rows])


def test_resume_with_another_batch_size_goes_on_where_it_stood(images):
    reference = np.concatenate([indices(b) for b in take(batches(images, batch_size=2, seed=1), 12)])
    resumed = batches(images, batch_size=4, seed=1)
    for images_seen in (12, 6):
        resumed.set_state({"images": images_seen})
        np.testing.assert_array_equal(indices(next(resumed)), reference[images_seen : images_seen + 4])
    resumed.close()


def test_bad_arguments(images):
    with pytest.raises(UserError, match="not a multiple of the 3 processes"):
        batches(images, batch_size=8, seed=0, world=3)
    with pytest.raises(UserError, match="rank=2"):
        batches(images, batch_size=8, seed=0, rank=2, world=2)


def test_prefetch_state_is_after_the_batch_yielded(images):
    put = []
    prefetch = DevicePrefetch(batches(images, batch_size=4, seed=1), lambda b: put.append(b) or indices(b), size=2)
    assert prefetch.state() == {"images": 0}
    assert not put
    expected = [indices(b) for b in take(batches(images, batch_size=4, seed=1), 4)]
    for i in range(3):
        np.testing.assert_array_equal(next(prefetch), expected[i])
        assert prefetch.state() == {"images": 4 * (i + 1)}
        assert len(put) == i + 3  # two are on their way
    state = prefetch.state()
    prefetch.close()
    with pytest.raises(StopIteration):
        next(prefetch)
    resumed = batches(images, batch_size=4, seed=1)
    resumed.set_state(state)
    np.testing.assert_array_equal(indices(take(resumed, 1)[0]), expected[3])


def test_prefetch_raises_after_the_batches_before_the_error():
    def source():
        yield from range(3)
        raise RuntimeError("broken record")

    prefetch = DevicePrefetch(source(), lambda b: b, size=2)
    assert [next(prefetch) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(RuntimeError, match="broken record"):
        next(prefetch)
    assert list(DevicePrefetch(iter(range(5)), lambda b: b)) == list(range(5))


def test_it_keeps_a_training_step_busy():
    """Far more than 5,000 images a second; the bound leaves room for a busy machine."""
    iterator = batches(open_images("emoji"), batch_size=64, seed=0, x_flip=True)
    next(iterator)
    start = time.perf_counter()
    take(iterator, 60)
    assert 60 * 64 / (time.perf_counter() - start) > 5000


def test_imports_do_not_import_jax():
    modules = ("sources", "pipeline", "prepare", "embedded", "readers", "records")
    code = "import sys; " + "; ".join(f"import jaxgan.data.{m}" for m in modules)
    code += "; assert not {'jax', 'grain', 'tensorflow', 'tensorflow_datasets'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
