"""Opening sets: what is there, what is not, and the cache."""

import concurrent.futures
import logging
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from jaxgan.data import cache, records
from jaxgan.data.prepare import prepare
from jaxgan.data.progress import progress_bar
from jaxgan.data.sources import open_images
from jaxgan.errors import UserError


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """The held-out images of Fashion-MNIST as a prepared set, where TFDS looks for `clothes` in its data folder."""
    dest = tmp_path_factory.mktemp("data") / "clothes/1.0.0"
    prepare("fashion", dest, resolution=32, channels=1, workers=1, splits=["test"])
    return dest


@pytest.fixture(scope="module")
def held_out():
    return open_images("fashion", split="test")


def test_embedded():
    train, test = open_images("emoji"), open_images("emoji", split="test", resolution=64, channels=3)
    assert (len(train), len(test)) == (1720, 191)
    assert train.resolution == (64, 64)
    assert train.channels == 3
    assert train.num_classes == len(train.class_names) == 10
    assert train.fingerprint != test.fingerprint
    with pytest.raises(UserError, match="no split 'validation'"):
        open_images("emoji", split="validation")


def test_gather_keeps_the_order_asked_for(held_out):
    indices = np.array([400, 3, 3, 77])
    gathered = held_out.gather(indices)
    np.testing.assert_array_equal(gathered, held_out.images[indices])
    gathered[:] = 0  # a copy
    assert held_out.images[400].any()


@pytest.mark.parametrize("memory_map_gb", [4.0, 0.0])
def test_a_prepared_set_mapped_and_on_demand(prepared, held_out, tmp_path, memory_map_gb):
    calls = []
    opened = open_images(
        str(prepared),
        split="test",
        memory_map_gb=memory_map_gb,
        cache_dir=tmp_path,
        progress=lambda done, total: calls.append((done, total)),
    )
    assert isinstance(opened.images, np.ndarray) == (memory_map_gb > 0)
    assert len(opened) == 500
    assert opened.class_names == held_out.class_names
    np.testing.assert_array_equal(opened.labels, held_out.labels)
    indices = np.random.default_rng(0).integers(0, 500, 200)
    with concurrent.futures.ThreadPoolExecutor(4) as executor:
        for part, got in zip(np.split(indices, 10), executor.map(opened.gather, np.split(indices, 10))):
            np.testing.assert_array_equal(got, held_out.images[part])
    assert calls == ([(256, 500), (500, 500)] if memory_map_gb else [])


def test_the_cache_is_used_and_follows_the_files(prepared, held_out, tmp_path, monkeypatch):
    arguments = {"split": "test", "cache_dir": tmp_path}
    first = open_images(str(prepared), **arguments)
    assert sorted(p.split("-")[0] for p in os.listdir(tmp_path)) == ["images", "labels"]
    with monkeypatch.context() as patch:
        patch.setattr(records, "decode", None)
        again = open_images(str(prepared), **arguments)
        np.testing.assert_array_equal(again.gather([5]), held_out.images[[5]])
    (name,) = (p for p in os.listdir(tmp_path) if p.startswith("images"))
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:1000])  # as after a crash of the machine
    np.testing.assert_array_equal(open_images(str(prepared), **arguments).gather([5]), held_out.images[[5]])
    os.utime(prepared / "dataset_info.json", ns=(1, 1))
    changed = open_images(str(prepared), **arguments)
    assert changed.fingerprint != first.fingerprint
    assert open_images(str(prepared), **{**arguments, "split": "test[:7]"}).fingerprint != changed.fingerprint


def test_two_processes_may_fill_the_cache_at_once(prepared, tmp_path):
    code = f"""if True:
        from jaxgan.data.sources import open_images
        print(int(open_images({str(prepared)!r}, split="test", cache_dir={str(tmp_path)!r}).gather(range(500)).sum()))
    """
    running = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) for _ in range(2)]
    sums = {process.communicate()[0] for process in running}
    assert sums == {b"%d\n" % open_images("fashion", split="test").images.sum()}
    assert len(os.listdir(tmp_path)) == 2


def test_a_cache_that_cannot_be_written(prepared, held_out, tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    with caplog.at_level(logging.WARNING):
        opened = open_images(str(prepared), split="test", cache_dir=tmp_path / "file")
    assert "decoding them into memory instead" in caplog.text
    np.testing.assert_array_equal(opened.gather([5]), held_out.images[[5]])
    assert (tmp_path / "file").read_text() == "in the way"


def test_processes_that_make_an_array_together_use_it_only_where_all_have_it(tmp_path):
    path, made = tmp_path / "a.npy", []

    def chunks():
        made.append(1)
        return [np.full(3, len(made), np.float32)]

    for there in (True, False):  # what the others say
        found = [
            cache.cached_array(path, (3,), np.float32, chunks, lambda mine, there=there: mine and there) for _ in "ab"
        ]
    assert len(made) == 1 + 2
    np.testing.assert_array_equal(found[1], 3)


def test_a_cache_file_is_never_half_there(tmp_path):
    def chunks():
        yield np.zeros((2, 3), np.uint8)
        raise RuntimeError("broken record")

    with pytest.raises(RuntimeError):
        cache.cached_array(tmp_path / "a.npy", (4, 3), np.uint8, chunks)
    assert os.listdir(tmp_path) == []


def test_catalogue_name(prepared, held_out, tmp_path):
    source = f"tfds:clothes@{prepared.parent.parent}"
    opened = open_images(source, split="test[:10]", cache_dir=tmp_path)
    np.testing.assert_array_equal(opened.gather(np.arange(10)), held_out.images[:10])
    again = prepare(source, tmp_path / "again", resolution=4, workers=1)
    assert again.counts == {"test": 500}


def write_tfds(folder, features, examples, file_format="array_record"):
    """A set that the dataset tool did not make."""
    folder.mkdir()
    identity = tfds.core.DatasetIdentity("other", tfds.core.Version("1.0.0"), str(folder), "tests")
    info = tfds.core.DatasetInfo(builder=identity, features=tfds.features.FeaturesDict(features))
    writer = tfds.core.SequentialWriter(info, max_examples_per_shard=2, file_format=file_format)
    writer.initialize_splits(["train"])
    writer.add_examples({"train": examples})
    writer.close_all()


def test_a_set_of_another_origin(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), np.uint8)
    paths = [tmp_path / f"{i}.png" for i in range(5)]
    for path, image in zip(paths, pixels):
        Image.fromarray(image).save(path)
    classes = tfds.features.ClassLabel(names=["a", "b"])
    features = {"photo": tfds.features.Image(shape=(8, 8, 3)), "label": classes, "id": np.int64}
    examples = [{"photo": str(path), "label": i % 2, "id": i} for i, path in enumerate(paths)]
    write_tfds(tmp_path / "other", features, examples)
    opened = open_images(str(tmp_path / "other"), cache_dir=tmp_path / "cache")
    np.testing.assert_array_equal(opened.gather(np.arange(5)), pixels)
    assert opened.labels.tolist() == [0, 1, 0, 1, 0]
    assert opened.resize_filter is None

    unknown = [{**example, "label": -1} for example in examples]
    write_tfds(tmp_path / "unlabelled", features, unknown)
    assert open_images(str(tmp_path / "unlabelled"), cache_dir=tmp_path / "cache").labels is None

    features["photo"] = tfds.features.Image(shape=(None, None, 3))
    write_tfds(tmp_path / "sizes", features, examples)
    with pytest.raises(
        UserError, match=r"differ in size.*jaxgan dataset --source=.*sizes --dest=FOLDER --resolution=SIDE"
    ):
        open_images(str(tmp_path / "sizes"))
    prepare(tmp_path / "sizes", tmp_path / "one_size", resolution=8, workers=1)
    again = open_images(str(tmp_path / "one_size"), cache_dir=tmp_path / "cache")
    np.testing.assert_array_equal(again.gather(np.arange(5)), pixels)
    assert again.labels.tolist() == [0, 1, 0, 1, 0]

    write_tfds(tmp_path / "none", {"id": np.int64}, [{"id": 1}])
    with pytest.raises(UserError, match="0 image features"):
        open_images(str(tmp_path / "none"))


def test_asked_for_and_stored_differ(prepared):
    with pytest.raises(UserError) as caught:
        open_images("emoji", resolution=32, channels=1)
    assert str(caught.value) == (
        "emoji holds images of 64x64x3, asked for are 32x32x1; make them with "
        "jaxgan dataset --source=emoji --dest=FOLDER --resolution=32 --channels=1"
    )
    with pytest.raises(UserError, match=r"32x32x1, asked for are 16x8x1.*--resolution=16x8 --channels=1"):
        open_images(str(prepared), split="test", resolution=(16, 8))


def test_what_is_not_a_prepared_set(prepared, tmp_path):
    def message(source, **arguments):
        with pytest.raises(UserError) as caught:
            open_images(str(source), **arguments)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "no such folder" in message(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert "the folder is empty" in message(tmp_path / "empty")
    (tmp_path / "pictures").mkdir()
    Image.new("L", (8, 8)).save(tmp_path / "pictures/0.png")
    assert f"jaxgan dataset --source={tmp_path}/pictures" in message(tmp_path / "pictures")
    (tmp_path / "a.zip").write_bytes(b"PK")
    assert f"jaxgan dataset --source={tmp_path}/a.zip" in message(tmp_path / "a.zip")
    assert "'train'" in message(prepared, split="train")
    assert 'pip install "jaxgan[tfds-prepare]"' in message(f"tfds:mnist@{tmp_path}")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged/dataset_info.json").write_text("{")
    assert "prepare it again" in message(tmp_path / "damaged")
    info = (prepared / "dataset_info.json").read_text()
    (tmp_path / "tfrecord").mkdir()
    (tmp_path / "tfrecord/features.json").write_bytes((prepared / "features.json").read_bytes())
    (tmp_path / "tfrecord/dataset_info.json").write_text(info.replace("array_record", "tfrecord"))
    assert "file_format='array_record'" in message(tmp_path / "tfrecord", split="test")
    (tmp_path / "lost").mkdir()
    for name in ("features.json", "dataset_info.json", "label.labels.txt"):
        (tmp_path / "lost" / name).write_bytes((prepared / name).read_bytes())
    assert "array_record-00000: the file is gone" in message(tmp_path / "lost", split="test")


def test_a_damaged_shard_is_named(prepared, tmp_path):
    damaged = tmp_path / "damaged"
    shutil.copytree(prepared, damaged)
    (shard,) = damaged.glob("*array_record*")
    shard.write_bytes(shard.read_bytes()[:20000])
    with pytest.raises(UserError, match=r"fashion \(test\): .*prepare the set again"):
        open_images(str(damaged), split="test", cache_dir=tmp_path / "cache")
    assert os.listdir(tmp_path / "cache") == []


def test_progress_bar_is_silent_without_a_terminal(capfd):
    with progress_bar("decoding") as bar:
        bar(1, 2)
        bar(2, 2)
    assert capfd.readouterr() == ("", "")
