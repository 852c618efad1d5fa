"""A user's pictures: each brought to its size as it is read, what it lost said, what cannot be read named."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from jaxgan.data import pictures
from jaxgan.data.photos import read_photos
from jaxgan.errors import UserError

GREY, RGB, RGBA = (8, 8, 1), (8, 8, 3), (8, 8, 4)


def noise(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (np.zeros((8, 8), np.float32), "floating-point pixels, whose range is unknown: save it with 8 or 16 bits"),
        (np.full((8, 8), 70_000, np.int32), "pixels of more than 16 bits: save it with 8 or 16"),
    ],
)
def test_pixels_of_unknown_range_are_the_users_to_mend(tmp_path, values, why):
    Image.fromarray(noise(8, 8)).save(tmp_path / "a.png")
    Image.fromarray(values).save(tmp_path / "scan.tif")
    for source in (tmp_path, tmp_path / "scan.tif"):
        with pytest.raises(UserError) as raised:
            read_photos(str(source), GREY)
        assert str(raised.value) == f"scan.tif is no picture that can be read ({why}); mend or remove it"


def test_no_address_in_what_is_said(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(UserError) as raised:
        read_photos(str(tmp_path), RGB)
    words = "broken.png is no picture that can be read (cannot identify image file); mend or remove it"
    assert str(raised.value) == words


def test_no_picture_is_held_at_its_full_size(tmp_path, monkeypatch):
    """The one before is at its size when the next is opened."""
    for name in "abc":
        Image.fromarray(noise(40, 40, 3)).save(tmp_path / f"{name}.png")
    order = []
    for name in ("open_picture", "fit"):
        done = getattr(pictures, name)
        monkeypatch.setattr(pictures, name, lambda *a, n=name, f=done: order.append(n) or f(*a))
    read_photos(str(tmp_path), RGB)
    assert order == ["open_picture", "fit"] * 3


@pytest.mark.parametrize(("background", "value"), [("white", 255), ("black", 0)])
@pytest.mark.parametrize("shape", [GREY, RGB])
def test_what_is_under_transparent_pixels(tmp_path, background, value, shape):
    garment = noise(8, 8, 4)
    garment[..., 3] = 255
    garment[:4, :, 3] = 0
    Image.fromarray(garment).save(tmp_path / "a.png")
    found = read_photos(str(tmp_path), shape, background=background)
    assert (found.images[0, :4] == value).all()
    if shape == RGB:
        np.testing.assert_array_equal(found.images[0, 4:], garment[4:, :, :3])
    assert f"; 1 with transparent pixels, put on {background}" in found.note
    whole = read_photos(str(tmp_path), RGBA)
    assert whole.note == "pictures are 8x8 already"
    np.testing.assert_array_equal(whole.images[0], garment)


@pytest.mark.parametrize(("background", "value"), [("white", 255), ("black", 0)])
def test_what_is_round_padded_pictures(tmp_path, background, value):
    Image.fromarray(noise(8, 4, 3)).save(tmp_path / "a.png")
    found = read_photos(str(tmp_path), RGB, fit="pad", background=background)
    assert (found.images[0][:, [0, 1, 6, 7]] == value).all()
    assert found.note.startswith(f"pictures of 8x4 padded with {background} to the shape")


def deep_png(path):
    """A PNG in colour with 16 bits a channel, which Pillow does not write."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + noise(8, 6).tobytes() for _ in range(8))
    head = struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0)
    parts = chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def test_what_is_lost_is_said(tmp_path):
    Image.fromarray(noise(8, 8, 3)).save(tmp_path / "colour.png")
    Image.fromarray(noise(8, 8, 3)).quantize(16).save(tmp_path / "palette.png")
    Image.fromarray(noise(8, 8)).convert("RGB").save(tmp_path / "grey.jpg")
    Image.fromarray(noise(8, 8)).convert("RGBA").save(tmp_path / "opaque.png")
    Image.fromarray(noise(8, 8)).convert("1").save(tmp_path / "ink.png")
    Image.fromarray(noise(8, 8).astype(np.uint16) * 257).save(tmp_path / "sixteen.png", transparency=0)
    deep_png(tmp_path / "deep.png")
    note = read_photos(str(tmp_path), GREY).note
    assert note.split("; ")[0] == "pictures are 8x8 already"
    assert sorted(note.split("; ")[1:]) == ["2 of 16 bits a channel, reduced to 8", "3 in colour, turned to grey"]
    note = read_photos(str(tmp_path), RGB).note
    assert note == "pictures are 8x8 already; 2 of 16 bits a channel, reduced to 8"


def test_the_sheet_beside_samples_is_left_out(tmp_path):
    for name in ("seed0001", "seed0000", "grid"):
        Image.fromarray(noise(8, 8, 3)).save(tmp_path / f"{name}.png")
    found = read_photos(str(tmp_path), RGB)
    assert found.names == ("seed0000", "seed0001")
    assert found.note.endswith("; grid.png, the sheet of the samples beside it, left out")
    with pytest.raises(UserError, match="has 2 pictures"):
        read_photos(str(tmp_path), RGB, first=2)
    for path in tmp_path.glob("seed*"):
        path.rename(path.with_stem(f"mine{path.stem}"))
    assert len(read_photos(str(tmp_path), RGB).names) == 3  # nobody's samples, so it is a picture like the others


def test_first_and_count_hold_for_a_single_picture(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(noise(8, 8, 3)).save(path)
    assert read_photos(str(path), RGB, count=3).names == ("a",)
    with pytest.raises(UserError, match="has 1 picture; none is left from number 1 on"):
        read_photos(str(path), RGB, first=1)
