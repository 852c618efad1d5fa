"""Pictures pixel for pixel, and the HTML report as a browser would take it apart."""

import base64
import io
import os

import numpy as np
import pytest
from PIL import Image

from jaxgan import report
from jaxgan.errors import UserError
from tests.page import Page


def decode(data):
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)


def image_bytes(attributes):
    return base64.b64decode(attributes["src"].partition("base64,")[2])


def test_to_uint8_follows_the_official_rule():
    x = np.array([-9.0, -1.0, -1.0 + 1 / 127.5, 0.0, 0.999, 1.0, 9.0, np.inf, -np.inf, np.nan])
    expected = [0, 0, 1, 128, 255, 255, 255, 255, 0, 0]
    np.testing.assert_array_equal(report.to_uint8(x), expected)
    np.testing.assert_array_equal(report.to_uint8(x.astype(np.float32)), expected)
    assert report.to_uint8(np.float32(-0.004)) == 127  # 127.49: truncated, not rounded


def test_to_uint8_passes_uint8_and_refuses_other_integers():
    pixels = np.arange(256, dtype=np.uint8)
    assert report.to_uint8(pixels) is pixels
    with pytest.raises(UserError, match="int64"):
        report.to_uint8(np.array([0, 255]))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_image_grid_places_every_pixel(channels):
    images = np.random.default_rng(0).integers(0, 256, (5, 3, 4, channels), np.uint8)
    grid = report.image_grid(images, columns=2, padding=1, background=7)
    expected = np.full((3 * 3 + 2, 2 * 4 + 1, channels), 7, np.uint8)
    for i, image in enumerate(images):
        row, column = divmod(i, 2)
        expected[row * 4 : row * 4 + 3, column * 5 : column * 5 + 4] = image
    np.testing.assert_array_equal(grid, expected)


def test_image_grid_of_one_image_is_the_image():
    image = np.linspace(-1, 1, 48, dtype=np.float32).reshape(1, 4, 4, 3)
    np.testing.assert_array_equal(report.image_grid(image, padding=3), report.to_uint8(image)[0])


@pytest.mark.parametrize(("count", "columns"), [(1, 1), (2, 2), (3, 3), (5, 3), (8, 4), (9, 3), (32, 8), (64, 8)])
def test_image_grid_is_about_square_by_default(count, columns):
    grid = report.image_grid(np.zeros((count, 2, 2, 1), np.uint8), padding=0)
    assert grid.shape == (-(-count // columns) * 2, columns * 2, 1)


@pytest.mark.parametrize("shape", [(2, 4, 4), (0, 4, 4, 3), (1, 4, 4, 2)])
def test_image_grid_names_a_wrong_shape(shape):
    with pytest.raises(UserError, match=r"\[N, H, W, C\]"):
        report.image_grid(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("shape", [(3, 5), (3, 5, 1), (3, 5, 3), (3, 5, 4)])
def test_save_png_round_trip_enlarged(tmp_path, shape):
    image = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    report.save_png(tmp_path / "new" / "x.png", image, scale=2)
    expected = image.reshape(shape[:2] if shape[-1] == 1 else shape).repeat(2, 0).repeat(2, 1)
    np.testing.assert_array_equal(decode((tmp_path / "new" / "x.png").read_bytes()), expected)


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, failing):
    path = tmp_path / "x.png"
    report.save_png(path, np.zeros((2, 2), np.uint8))
    old = path.read_bytes()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(OSError, match="disk full"):
        report.save_png(path, np.ones((2, 2), np.uint8))
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


def test_written_files_obey_the_umask(tmp_path):
    old = os.umask(0o022)
    try:
        report.write_atomic(tmp_path / "x", b"")
    finally:
        os.umask(old)
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o644


def test_report_holds_every_part_and_escapes_text(tmp_path):
    image = np.random.default_rng(2).integers(0, 256, (400, 8, 3), np.uint8)
    report.save_png(tmp_path / "file.png", image)
    gif = io.BytesIO()
    Image.fromarray(image).save(gif, format="GIF")
    report.write_report(
        tmp_path / "report.html",
        title="a <b> & {c}",
        summary={"images seen": 1000, "<i>": None, "on": True, "lr": 0.1 + 0.2},
        curves={"<loss>": {"G&D": ([0, 1, 2], [1.0, np.nan, 3.0])}},
        pictures=[
            ('a "quoted" <caption>', image),
            ("file", tmp_path / "file.png"),
            ("walk", (gif.getvalue(), "image/gif")),
        ],
        tables={
            "Metrics": [{"metric": "FD-lite0", "value": 1.5, "card": {"counts": [10, 20], "seed": 0}}, {"x": "<td>"}]
        },
        notes=["<script>alert(1)</script>"],
        more=[report.notes_section("Later", ["more"])],
    )
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert not page.all("script")
    assert "a <b> & {c}" in page.text
    assert "<script>alert(1)</script>" in page.text
    for words in (
        "<i>",
        "0.3",
        "yes",
        "counts: 10, 20, seed: 0",
        "<td>",
        "<loss>",
        "1 non-finite point left out",
        "more",
    ):
        assert words in page.text, words
    pictures = page.all("img")
    assert [picture["alt"] for picture in pictures] == ['a "quoted" <caption>', "file", "walk"]
    assert image_bytes(pictures[2]) == gif.getvalue()
    for picture in pictures[:2]:
        np.testing.assert_array_equal(decode(image_bytes(picture)), image)
    assert "http" not in text  # nothing is fetched


def test_report_of_nothing_is_a_page(tmp_path):
    report.write_report(tmp_path / "r.html", title="empty", summary={}, curves={}, pictures=[])
    assert not Page((tmp_path / "r.html").read_text(encoding="utf-8")).all("section")


def test_small_pictures_are_enlarged_sharp():
    (attributes,) = Page(report.picture_section("p", [("tiny", np.zeros((32, 64, 3), np.uint8))])).all("img")
    assert (attributes["class"], attributes["width"], attributes["height"]) == ("sharp", "320", "160")


def test_pictures_that_cannot_be_shown_are_named(tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    for picture, words in [
        (tmp_path / "absent.png", "absent.png does not exist"),
        (tmp_path / "x.bmp", "must end in"),
        (tmp_path / "text.png", "'it' is not a readable image"),
    ]:
        with pytest.raises(UserError, match=words):
            report.picture_section("p", [("it", picture)])
