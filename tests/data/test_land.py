"""Crops of land: sizes, splits that share no pixel, the same ones every time."""

import numpy as np
import pytest

from jaxgan.data import land
from jaxgan.data.prepare import prepare
from jaxgan.data.sources import open_images
from jaxgan.errors import UserError


@pytest.mark.parametrize("split", ["train", "test"])
def test_crops_are_land_and_the_same_every_time(split):
    made = np.stack(list(land.crops((32, 48), split, 40)))
    assert made.shape == (40, 32, 48, 3)
    assert all(land.is_land(crop).mean() >= 0.98 for crop in made)
    assert len(np.unique(made.reshape(40, -1), axis=0)) == 40
    np.testing.assert_array_equal(made, np.stack(list(land.crops((32, 48), split, 40))))


def test_splits_share_no_pixel():
    """Where every column holds its own number, no number is in both splits."""
    columns = np.arange(5400, dtype=np.uint16)
    picture = np.zeros((2700, 5400, 3), np.uint8)
    picture[..., 0], picture[..., 1] = columns >> 8, columns & 255
    numbers = {}
    for split in ("train", "test"):
        crops = np.stack(list(land._crops(picture, (4, 32), split, 600))).astype(np.int32)
        numbers[split] = set(np.unique(crops[..., 0] * 256 + crops[..., 1]))
    assert not numbers["train"] & numbers["test"]
    assert len(numbers["train"]) > 4000
    assert len(numbers["test"]) > 1000


def test_prepared(tmp_path):
    summary = prepare("land:30", tmp_path / "land", resolution=32, workers=1)
    assert summary.counts == {"train": 30, "test": 3}
    first = next(land.crops((32, 32), "test", 1))
    np.testing.assert_array_equal(open_images(str(tmp_path / "land"), split="test").gather(np.array([0]))[0], first)


@pytest.mark.parametrize(("source", "resolution", "said"), [("land:x", 32, "whole number"), ("land:3", 512, "270x270")])
def test_what_cannot_be(source, resolution, said, tmp_path):
    with pytest.raises(UserError, match=said):
        prepare(source, tmp_path / "out", resolution=resolution, workers=1)
    assert not (tmp_path / "out").exists()
