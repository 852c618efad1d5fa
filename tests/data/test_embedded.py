"""The embedded sets: what is in them, and that their scripts give the same bytes twice."""

import gzip
import hashlib
import json

import numpy as np
import pytest
from PIL import Image

from jaxgan.data import embedded
from jaxgan.data.embedded import make_emoji, make_fashion

SETS = {"fashion": (5500, 500, (32, 32, 1)), "emoji": (1911, 191, (64, 64, 3))}
# Of the decoded pixels, so that another PNG or WebP decoder that gives other pixels is noticed.
PIXELS = {
    "fashion": "753c1ff8c926f1603302e10ed20ae78137b3ca87771ee3751b058a43c3ce16de",
    "emoji": "e116f11614bb2b30a419983e8ef68fa390d0ffbccf5a614ab123e64e7cb49f37",
}


@pytest.mark.parametrize("name", SETS)
def test_counts_classes_and_pixels(name):
    count, held_out, shape = SETS[name]
    loaded = embedded.load(name)
    assert loaded.images.shape == (count, *shape)
    assert loaded.images.dtype == np.uint8
    assert loaded.labels.dtype == np.int32
    assert loaded.held_out.sum() == held_out
    assert len(loaded.class_names) == 10
    assert set(loaded.labels) == set(range(10)) == set(loaded.labels[loaded.held_out])
    assert hashlib.sha256(loaded.images.tobytes()).hexdigest() == PIXELS[name]


@pytest.mark.parametrize("name", SETS)
def test_splits_share_no_image(name):
    loaded = embedded.load(name)
    train = {image.tobytes() for image in loaded.images[~loaded.held_out]}
    test = {image.tobytes() for image in loaded.images[loaded.held_out]}
    assert not train & test


def test_fashion_is_balanced_and_padded():
    loaded = embedded.load("fashion")
    assert np.bincount(loaded.labels[~loaded.held_out]).tolist() == [500] * 10
    assert np.bincount(loaded.labels[loaded.held_out]).tolist() == [50] * 10
    border = loaded.images.copy()
    border[:, 2:-2, 2:-2] = 0
    assert not border.any()
    assert loaded.images[:, 2, 2:-2].any()


def test_emoji_holds_out_a_tenth_of_every_category():
    loaded = embedded.load("emoji")
    whole = np.bincount(loaded.labels)
    held_out = np.bincount(loaded.labels[loaded.held_out])
    assert np.all(held_out == np.maximum(1, np.round(whole / 10)))


def test_files_are_small():
    sizes = {name: (embedded.resources.files(embedded) / f"{name}.npz").stat().st_size for name in SETS}
    assert sizes["fashion"] < 2.3e6
    assert sizes["emoji"] < 2.8e6
    for licence in ("LICENSE.fashion-mnist", "LICENSE.emoji"):
        assert (embedded.resources.files(embedded) / licence).is_file()


def test_rounding_moves_no_colour_by_more_than_two():
    values = np.arange(256, dtype=np.uint8)
    rounded = make_emoji.round_colours(values)
    assert np.abs(rounded.astype(int) - values).max() == 2
    assert rounded[0] == 0
    assert rounded[255] == 255


def write_idx(path, array):
    header = bytes([0, 0, 8, array.ndim]) + b"".join(side.to_bytes(4, "big") for side in array.shape)
    path.write_bytes(gzip.compress(header + array.tobytes()))


def test_make_fashion_is_reproducible(tmp_path):
    rng = np.random.default_rng(0)
    for prefix, count in (("train", 60), ("t10k", 30)):
        write_idx(tmp_path / f"{prefix}-images-idx3-ubyte.gz", rng.integers(0, 256, (count, 28, 28), np.uint8))
        write_idx(tmp_path / f"{prefix}-labels-idx1-ubyte.gz", (np.arange(count) % 3).astype(np.uint8))
    for name in ("a.npz", "b.npz"):
        make_fashion.make(tmp_path, tmp_path / name, train=4, test=2)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with np.load(tmp_path / "a.npz") as file:
        assert np.bincount(file["labels"]).tolist() == [6, 6, 6]
        assert file["held_out"].sum() == 6
    with pytest.raises(ValueError, match="fewer than 21"):
        make_fashion.make(tmp_path, tmp_path / "c.npz", train=21, test=2)


def test_make_emoji_is_reproducible_and_never_holds_out_twins(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "img/google/64").mkdir(parents=True)
    records = []
    for i in range(12):
        pixels = np.zeros((64, 64, 4), np.uint8) if i < 10 else rng.integers(0, 256, (64, 64, 4), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"img/google/64/{i}.png")
        record = {"image": f"{i}.png", "unified": str(i), "sort_order": -i, "category": "Flags"}
        records.append({**record, "has_img_google": True})
    (tmp_path / "emoji.json").write_text(json.dumps(records))
    for name in ("a.npz", "b.npz"):
        make_emoji.make(tmp_path, tmp_path / name)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with np.load(tmp_path / "a.npz") as file:
        held_out = np.flatnonzero(file["held_out"])
    assert len(held_out) == 1
    assert held_out[0] < 2  # in sort order the two that have no twin come first
