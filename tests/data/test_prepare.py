"""The dataset tool: every source, exact pixels, nothing half-written."""

import gzip
import io
import json
import os
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from jaxgan.cli import dataset
from jaxgan.data import archives, pictures
from jaxgan.data.prepare import prepare
from jaxgan.data.sources import open_images
from jaxgan.errors import UserError


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def save_pictures(folder, sizes, mode="RGB"):
    """Noise pictures `0.png`, `1.png`, ... of sizes `(W, H)`; returns them."""
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for i, (width, height) in enumerate(sizes):
        made.append(Image.fromarray(noise(height, width, 3, seed=i)).convert(mode))
        made[-1].save(folder / f"{i}.png")
    return made


def read_back(folder, split="train"):
    """Images and labels through TFDS alone."""
    source = tfds.builder_from_directory(folder).as_data_source(split=split)
    records = [source[i] for i in range(len(source))]
    return np.stack([r["image"] for r in records]), [int(r["label"]) for r in records if "label" in r]


def test_round_trip_is_lossless_and_keeps_the_order(tmp_path):
    made = save_pictures(tmp_path / "in", [(16, 16)] * 12)
    summary = prepare(tmp_path / "in", tmp_path / "out", resolution=16, workers=1, version="1.2.3")
    assert summary.counts == {"train": 12}
    assert summary.class_names is None
    images, labels = read_back(tmp_path / "out")
    order = sorted(range(12), key=lambda i: f"{i}.png")
    np.testing.assert_array_equal(images, np.stack([np.asarray(made[i]) for i in order]))
    assert labels == []
    metadata = dict(tfds.builder_from_directory(tmp_path / "out").info.metadata)
    assert metadata == {
        "source": "in",
        "resolution": [16, 16],
        "channels": 3,
        "filter": "lanczos",
        "fit": "crop",
        "jaxgan_version": "1.2.3",
        "counts": {"train": 12},
        "skipped": 0,
    }
    assert sorted(os.listdir(tmp_path)) == ["in", "out"]


@pytest.mark.parametrize("filter", ["lanczos", "box"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_resize_is_pillows(tmp_path, filter, mode):
    (picture,) = save_pictures(tmp_path / "in", [(40, 40)], mode)
    channels = len(mode)
    prepare(tmp_path / "in", tmp_path / "out", resolution=16, filter=filter, channels=channels, workers=1)
    expected = np.asarray(picture.resize((16, 16), pictures.FILTERS[filter])).reshape(16, 16, channels)
    np.testing.assert_array_equal(read_back(tmp_path / "out")[0][0], expected)
    assert open_images(str(tmp_path / "out"), cache_dir=tmp_path / "cache").resize_filter == filter


@pytest.mark.parametrize(("size", "box"), [((50, 20), (15, 0, 35, 20)), ((20, 51), (0, 15, 20, 35))])
def test_crop_takes_the_centre(tmp_path, size, box):
    (picture,) = save_pictures(tmp_path / "in", [size])
    prepare(tmp_path / "in", tmp_path / "out", resolution=16, workers=1)
    expected = picture.crop(box).resize((16, 16), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(read_back(tmp_path / "out")[0][0], np.asarray(expected))


@pytest.mark.parametrize("channels", [3, 4])
def test_pad_keeps_all_and_a_target_may_be_oblong(tmp_path, channels):
    (picture,) = save_pictures(tmp_path / "in", [(60, 20)])
    prepare(tmp_path / "in", tmp_path / "out", resolution=(16, 24), fit="pad", channels=channels, workers=1)
    image = read_back(tmp_path / "out")[0][0]
    assert image.shape == (16, 24, channels)
    inner = picture.convert(pictures.MODES[channels]).resize((24, 8), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(image[4:12], np.asarray(inner))
    background = 255 if channels == 3 else 0
    assert np.all(image[:4] == background)
    assert np.all(image[12:] == background)


def test_modes(tmp_path):
    """16-bit, palette, transparent, CMYK and turned pictures mean what they show."""
    folder = tmp_path / "in"
    folder.mkdir()
    grey16 = np.array([[0, 257, 128 * 257, 65535]] * 4, np.uint16)
    Image.fromarray(grey16).save(folder / "a16.png")
    dark, half = Image.new("L", (4, 4), 0), Image.new("L", (4, 4), 128)
    Image.merge("LA", [dark, half]).save(folder / "b_la.png")
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    palette.save(folder / "c_p.png")
    palette.save(folder / "d_p_clear.png", transparency=1)
    Image.new("CMYK", (4, 4), (0, 0, 0, 255)).save(folder / "e_cmyk.tif")
    Image.new("1", (4, 4), 1).save(folder / "f_1.png")
    turned = noise(4, 4, 3)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(turned).save(folder / "g_exif.png", exif=exif)
    Image.new("RGB", (4, 4), (9, 9, 9)).save(folder / "h_key.png", transparency=(9, 9, 9))
    summary = prepare(folder, tmp_path / "out", resolution=4, workers=1)
    assert summary.skipped == ()
    grey, half, colour, clear, black, white, exif, key = read_back(tmp_path / "out")[0]
    np.testing.assert_array_equal(grey[0, :, 0], [0, 1, 128, 255])
    assert np.all(half == 127)
    assert np.all(colour == [10, 20, 30])
    assert np.all(clear == 255)
    assert np.all(black == 0)
    assert np.all(white == 255)
    np.testing.assert_array_equal(exif, np.rot90(turned, -1))
    assert np.all(key == 255)


@pytest.mark.parametrize("packed", [False, True])
def test_dataset_json_labels(tmp_path, packed):
    save_pictures(tmp_path / "in/00000", [(8, 8)] * 4)
    labels = {"labels": [["00000/3.png", 5], ["00000/1.png", 0], ["00000/0.png", 2], ["00000/2.png", 1]]}
    (tmp_path / "in/dataset.json").write_text(json.dumps(labels))
    source = tmp_path / "in"
    if packed:
        source = tmp_path / "in.zip"
        with zipfile.ZipFile(source, "w") as archive:
            for path in (tmp_path / "in").rglob("*.*"):
                archive.write(path, path.relative_to(tmp_path / "in").as_posix())
    summary = prepare(source, tmp_path / "out", resolution=8, workers=1)
    assert summary.class_names == tuple("012345")
    images, got = read_back(tmp_path / "out")
    assert got == [2, 0, 1, 5]
    np.testing.assert_array_equal(images[3], noise(8, 8, 3, seed=3))
    assert prepare(source, tmp_path / "none", resolution=8, workers=1, labels="none").class_names is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"labels": [["0.png", [0.5, 1.0]], ["1.png", [0.0, 1.0]]]}, "continuous labels are not supported"),
        ({"labels": [["0.png", 1]]}, "no label for 1 pictures, the first is 1.png"),
        ({"labels": [1]}, "correct it"),
    ],
)
def test_labels_that_cannot_be_used(tmp_path, content, message):
    save_pictures(tmp_path / "in", [(8, 8)] * 2)
    (tmp_path / "in/dataset.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=message):
        prepare(tmp_path / "in", tmp_path / "out", resolution=8, workers=1)
    (tmp_path / "in/dataset.json").write_text('{"labels": null}')
    assert prepare(tmp_path / "in", tmp_path / "out", resolution=8, workers=1).class_names is None


def test_folders_are_labels_only_when_asked(tmp_path):
    save_pictures(tmp_path / "in/dog/deep", [(8, 8)])
    save_pictures(tmp_path / "in/cat", [(8, 8)])
    assert prepare(tmp_path / "in", tmp_path / "a", resolution=8, workers=1).class_names is None
    assert prepare(tmp_path / "in", tmp_path / "b", resolution=8, workers=1, labels="folders").class_names == (
        "cat",
        "dog",
    )
    assert read_back(tmp_path / "b")[1] == [0, 1]
    save_pictures(tmp_path / "in", [(8, 8)])
    with pytest.raises(UserError, match=r"0\.png lies in no folder"):
        prepare(tmp_path / "in", tmp_path / "c", resolution=8, workers=1, labels="folders")


def test_unreadable_pictures_are_listed_and_skipped(tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    save_pictures(tmp_path / "in", [(8, 8)] * 3)
    whole = (tmp_path / "in/1.png").read_bytes()
    (tmp_path / "in/1.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "in/text.jpg").write_text("no picture")
    (tmp_path / "in/notes.txt").write_text("not looked at")
    Image.new("L", (200, 200)).save(tmp_path / "in/bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 30_000)
    summary = prepare(tmp_path / "in", tmp_path / "out", resolution=8, workers=1)
    assert summary.counts == {"train": 2}
    assert [line.split("\t")[0] for line in summary.skipped] == ["1.png", "bomb.png", "text.jpg"]
    assert (tmp_path / "out/skipped.txt").read_text().splitlines() == list(summary.skipped)
    np.testing.assert_array_equal(read_back(tmp_path / "out")[0][1], noise(8, 8, 3, seed=2))
    for name in ("0.png", "2.png"):
        (tmp_path / "in" / name).unlink()
    with pytest.raises(UserError, match="none of 3 pictures can be read"):
        prepare(tmp_path / "in", tmp_path / "none", resolution=8, workers=1)
    assert not (tmp_path / "none").exists()


def write_idx(path, array):
    header = bytes([0, 0, 8, array.ndim]) + b"".join(side.to_bytes(4, "big") for side in array.shape)
    data = header + array.tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def test_idx(tmp_path):
    source = tmp_path / "mnist"
    source.mkdir()
    train, test = noise(5, 28, 28), noise(3, 28, 28, seed=1)
    write_idx(source / "train-images-idx3-ubyte.gz", train)
    write_idx(source / "train-labels-idx1-ubyte.gz", np.array([3, 1, 4, 1, 5], np.uint8))
    write_idx(source / "t10k-images.idx3-ubyte", test)
    write_idx(source / "t10k-labels.idx1-ubyte", np.array([9, 2, 6], np.uint8))
    summary = prepare(source, tmp_path / "out", resolution=32, channels=1, workers=1)
    assert summary.counts == {"train": 5, "test": 3}
    assert len(summary.class_names) == 10
    images, labels = read_back(tmp_path / "out")
    np.testing.assert_array_equal(images[..., 0], np.pad(train, ((0, 0), (2, 2), (2, 2))))
    assert labels == [3, 1, 4, 1, 5]
    assert read_back(tmp_path / "out", "test")[1] == [9, 2, 6]
    summary = prepare(source, tmp_path / "small", resolution=16, channels=1, workers=1, splits=["test"])
    assert summary.counts == {"test": 3}
    expected = Image.fromarray(test[0]).resize((16, 16), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(read_back(tmp_path / "small", "test")[0][0, ..., 0], np.asarray(expected))
    (source / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(b"\0\0\x08\x03" + bytes(20)))
    with pytest.raises(UserError, match="train-images-idx3-ubyte"):
        prepare(source, tmp_path / "broken", resolution=32, workers=1)


def cifar_folder(folder, protocol=2, keys=str.encode):
    """A CIFAR-10 in miniature, two images a batch; returns pixels `[12, 32, 32, 3]` and labels."""
    folder.mkdir()
    pixels, labels = noise(12, 3072), [*range(10), 7, 7]
    for i, name in enumerate([*archives.CIFAR_SPLITS["train"], "test_batch"]):
        rows = slice(2 * i, 2 * i + 2)
        batch = {keys("data"): pixels[rows], keys("labels"): labels[rows], keys("filenames"): [b"a.png", b"b.png"]}
        (folder / name).write_bytes(pickle.dumps(batch, protocol))
    meta = {keys("label_names"): [keys(f"class {i}") for i in range(10)]}
    (folder / "batches.meta").write_bytes(pickle.dumps(meta, protocol))
    return pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), labels


@pytest.mark.parametrize(("protocol", "keys"), [(2, str.encode), (4, str)])
def test_cifar_archive_and_folder(tmp_path, protocol, keys):
    pixels, labels = cifar_folder(tmp_path / "cifar-10-batches-py", protocol, keys)
    with tarfile.open(tmp_path / "cifar-10-python.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "cifar-10-batches-py", "cifar-10-batches-py")
    for i, source in enumerate(("cifar-10-batches-py", "cifar-10-python.tar.gz")):
        summary = prepare(tmp_path / source, tmp_path / f"out{i}", resolution=32, workers=1)
        assert summary.counts == {"train": 10, "test": 2}
        assert summary.class_names[3] == "class 3"
        images, got = read_back(tmp_path / f"out{i}")
        np.testing.assert_array_equal(images, pixels[:10])
        assert got == labels[:10]


class Hostile:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_hostile_cifar_pickle_is_refused(tmp_path):
    cifar_folder(tmp_path / "in")
    victim = tmp_path / "executed"
    (tmp_path / "in/data_batch_3").write_bytes(pickle.dumps({b"data": Hostile(victim)}, 2))
    with pytest.raises(UserError, match=r"data_batch_3: asks for .*mkdir, which is neither data nor an array; refused"):
        prepare(tmp_path / "in", tmp_path / "out", resolution=32, workers=1)
    assert not victim.exists()
    for data in (b"", b"\x80\x02garbage", pickle.dumps(np.zeros(3)), pickle.dumps({b"labels": [1]})):
        with pytest.raises(UserError):
            archives.read_cifar({**archives.cifar_members(tmp_path / "in"), "data_batch_1": data}, "here")


def test_embedded_and_prepared_sets_can_be_prepared_again(tmp_path):
    prepare("fashion", tmp_path / "a", resolution=32, channels=1, workers=1, splits=["test"])
    held_out = open_images("fashion", split="test")
    images, labels = read_back(tmp_path / "a", "test")
    np.testing.assert_array_equal(images, held_out.images)
    assert labels == held_out.labels.tolist()
    summary = prepare(tmp_path / "a", tmp_path / "b", resolution=8, channels=1, filter="box", workers=1)
    assert summary.class_names == held_out.class_names
    expected = Image.fromarray(held_out.images[7, ..., 0]).resize((8, 8), Image.Resampling.BOX)
    np.testing.assert_array_equal(read_back(tmp_path / "b", "test")[0][7, ..., 0], np.asarray(expected))


def test_worker_processes_give_what_one_process_gives(tmp_path):
    made = save_pictures(tmp_path / "in", [(20, 16)] * 70)
    (tmp_path / "in/broken.png").write_bytes(b"")
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        for path in sorted((tmp_path / "in").iterdir()):
            archive.write(path, path.name)
    calls = []
    summary = prepare(
        tmp_path / "in.zip", tmp_path / "many", resolution=8, workers=2, progress=lambda *c: calls.append(c)
    )
    prepare(tmp_path / "in", tmp_path / "one", resolution=8, workers=1)
    np.testing.assert_array_equal(read_back(tmp_path / "many")[0], read_back(tmp_path / "one")[0])
    assert summary.counts == {"train": len(made)}
    assert len(summary.skipped) == 1
    assert calls[-1] == (71, 71)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interruption_leaves_everything_as_it_was(tmp_path, error):
    save_pictures(tmp_path / "in", [(8, 8)] * 40)

    def interrupt(done, total):
        raise error

    with pytest.raises(error):
        prepare(tmp_path / "in", tmp_path / "out", resolution=8, workers=1, progress=interrupt)
    assert os.listdir(tmp_path) == ["in"]
    prepare("fashion", tmp_path / "out", resolution=8, workers=1, splits=["test"])
    before = {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()}
    with pytest.raises(error):
        prepare(tmp_path / "in", tmp_path / "out", resolution=8, workers=1, overwrite=True, progress=interrupt)
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()} == before
    assert sorted(os.listdir(tmp_path)) == ["in", "out"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("x; No space left on device")])
def test_a_full_disk_is_the_users_to_mend(tmp_path, error):
    save_pictures(tmp_path / "in", [(8, 8)])

    def full(done, total):
        raise error

    with pytest.raises(UserError, match="the disk is full"):
        prepare(tmp_path / "in", tmp_path / "out", resolution=8, workers=1, progress=full)
    assert os.listdir(tmp_path) == ["in"]


def test_dest_in_use(tmp_path):
    save_pictures(tmp_path / "in", [(8, 8)])
    (tmp_path / "out").mkdir()
    prepare(tmp_path / "in", tmp_path / "out", resolution=8, workers=1)
    with pytest.raises(UserError, match="--overwrite"):
        prepare(tmp_path / "in", tmp_path / "out", resolution=4, workers=1)
    prepare(tmp_path / "in", tmp_path / "out", resolution=4, workers=1, overwrite=True)
    assert read_back(tmp_path / "out")[0].shape == (1, 4, 4, 3)
    with pytest.raises(UserError, match="something else than a prepared set"):
        prepare("fashion", tmp_path / "in", resolution=4, workers=1, overwrite=True)
    assert (tmp_path / "in/0.png").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"resolution": 24}, "power of two"),
        ({"resolution": 2}, "power of two"),
        ({"resolution": (3, 8)}, "at least 4"),
        ({"filter": "nearest"}, "lanczos, box"),
        ({"channels": 2}, "1, 3, 4"),
        ({"fit": "stretch"}, "crop, pad"),
        ({"labels": "all"}, "auto, folders, none"),
        ({"source": "nowhere"}, "no such file"),
        ({"source": "empty"}, "no pictures in it"),
        ({"source": "file.bin"}, "neither a folder"),
        ({"splits": ["test"]}, "no split 'test'"),
        ({"source": "tfds:mnist@none"}, r"pip install \"jaxgan\[tfds-prepare\]\""),
    ],
)
def test_mistakes(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    save_pictures(Path("in"), [(8, 8)])
    Path("empty").mkdir()
    Path("file.bin").write_bytes(b"nothing")
    with pytest.raises(UserError, match=message):
        prepare(**{"source": "in", "dest": "out", "resolution": 8, "workers": 1, **arguments})
    assert not Path("out").exists()


def test_the_verb(tmp_path, capsys):
    save_pictures(tmp_path / "in", [(8, 8)] * 3)
    (tmp_path / "in/broken.png").write_bytes(b"")
    flags = dataset.FLAGS
    arguments = [f"--source={tmp_path}/in", f"--dest={tmp_path}/out", "--resolution=8x4", "--channels=1"]
    flags(["jaxgan dataset", *arguments, "--workers=1"])
    dataset.run(flags)
    shown = capsys.readouterr().out
    assert "train 3 images, no labels" in shown
    assert "1 pictures could not be read" in shown
    assert f"jaxgan train --config=auto --config.data.source={tmp_path}/out --workdir=" in shown
    assert read_back(tmp_path / "out")[0].shape == (3, 8, 4, 1)
    flags(["jaxgan dataset", "--source=in", "--resolution=big", "--dest=out"])
    with pytest.raises(UserError, match="--resolution=big"):
        dataset.run(flags)
    flags.unparse_flags()


def test_png_has_no_metadata():
    picture = Image.new("L", (4, 4))
    picture.info = {"icc_profile": b"x" * 10, "transparency": 0}
    again = Image.open(io.BytesIO(pictures.encode_png(picture)))
    assert again.info == {}
