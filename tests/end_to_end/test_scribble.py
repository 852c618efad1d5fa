"""`jaxgan scribble`: drawings to pictures, a photograph to an edited one, and what it refuses."""

import json
import re

import numpy as np
import pytest
from PIL import Image, ImageDraw

from jaxgan import cli, memory
from jaxgan.cli.photo_edit import feathered
from jaxgan.data.sources import open_images
from tests.end_to_end.test_bad_input import fails

QUICK = ("--run=zoo:fashion-dcgan", "--steps=20", "--batch=32", "--config.weights.conv=0", "--config.snapshots=(0,20)")
SEARCH = ("--config.search.candidates=3", "--config.search.steps=10", "--config.search.kept=2")


@pytest.fixture
def drawing(tmp_path):
    """A white bar on transparent ground, 64x64."""
    picture = Image.new("RGBA", (64, 64), (9, 200, 30, 0))
    ImageDraw.Draw(picture).rectangle((24, 8, 40, 56), fill=(255, 255, 255, 255))
    picture.save(tmp_path / "bar.png")
    return tmp_path / "bar.png"


def scribble(capsys, *arguments):
    with pytest.raises(SystemExit) as stop:
        cli.main(["jaxgan", "scribble", *arguments])
    said = capsys.readouterr()
    assert stop.value.code == 0, said.err
    return said.out


def test_both_programs_and_their_table(capsys, drawing, tmp_path):
    out = tmp_path / "out"
    scribble(capsys, *QUICK, *SEARCH, f"--scribble={drawing}", "--data=fashion", f"--out={out}")
    rows = json.loads((out / "table.json").read_text())
    assert [(r["drawing"], r["program"]) for r in rows] == [("bar", "plain"), ("bar", "revised")]
    for row in rows:
        assert {"masked L1", "prior", "D", "ST-LPIPS Alex to the nearest real", "seconds"} < row.keys()
    assert [r["evaluations"] for r in rows] == [20, 3 * 10 + 2 * 20]
    names = {"bar-plain.png", "bar-revised.png", "plain.npz", "revised.npz", "sheet.png", "report.html"}
    assert {p.name for p in out.iterdir()} == names | {"table.json", "config-plain.json", "config-revised.json"}
    with Image.open(out / "bar-plain.png") as picture:  # white where it was drawn
        assert np.asarray(picture)[8:24, 13:19].mean() > 150


@pytest.mark.parametrize("fit", ["crop", "pad"])
def test_a_photograph_is_edited_at_its_own_size(capsys, drawing, tmp_path, fit):
    garment = open_images("fashion", split="test").images[4, ..., 0]
    Image.fromarray(garment).resize((96, 72)).save(tmp_path / "photo.png")
    out = tmp_path / "out"
    edit = (f"--photo={tmp_path / 'photo.png'}", f"--scribble={drawing}", "--warp=16,16,2,0,5", "--nocompare")
    scribble(capsys, *QUICK, *edit, f"--fit={fit}", f"--out={out}")
    with Image.open(out / "photo-edited.png") as picture, Image.open(tmp_path / "photo.png") as photo:
        assert picture.size == (96, 72)
        difference = np.abs(np.asarray(picture).astype(int) - np.asarray(photo))
    assert difference.max() > 0
    if fit == "crop":  # 72x72 in the middle
        assert difference[:, :12].max() == difference[:, 84:].max() == 0
    assert "edited, at its own size" in (out / "report.html").read_text()
    assert (out / "photo.npz").exists()


def test_an_edited_part_is_blended_into_the_photograph():
    """Full in its middle and on the photograph's own edge, hardly any where the rest begins."""
    found = feathered(np.zeros((32, 64, 1)), np.ones((32, 32, 1)), (16, 0, 48, 32))[..., 0]
    assert found[:, 20:44].min() == 1
    assert found[:, :16].max() == found[:, 48:].max() == 0
    assert np.all(np.diff(found[0, 15:18]) > 0)
    assert found[0, 16] < 0.5


def test_what_is_refused(capsys, drawing, tmp_path, monkeypatch):
    """In one line each, and what an earlier command left in the folder stays."""
    monkeypatch.setattr("jaxgan.cli.scribble.statistics", lambda *_: None)  # seconds, and nothing comes to need them
    out = tmp_path / "out"
    out.mkdir()
    (out / "table.json").write_text("of an earlier command")

    def says(*arguments, run=QUICK[0]):
        line = fails(capsys, "scribble", run, *QUICK[1:], *arguments, f"--out={out}")
        assert (out / "table.json").read_text() == "of an earlier command"
        assert {p.name for p in out.iterdir()} <= {"table.json", ".work"}
        return line

    def picture(name, mode, size, box=None):
        made = Image.new(mode, size)
        if box:
            ImageDraw.Draw(made).rectangle(box, fill=(255, 255, 255, 255))
        made.save(tmp_path / name)
        return tmp_path / name

    (tmp_path / "broken.png").write_bytes(drawing.read_bytes()[:50])
    empty, opaque = picture("empty.png", "RGBA", (32, 32)), picture("opaque.png", "RGB", (32, 32))
    black, small = picture("black.png", "L", (64, 64)), picture("small.png", "L", (32, 32))
    wide = picture("wide.png", "RGBA", (96, 32), (0, 0, 20, 31))
    scribble, photo = f"--scribble={drawing}", f"--photo={drawing}"
    for arguments, text in (
        ([], "nothing is drawn"),
        ([f"--scribble={empty}"], "empty.png: nothing is drawn"),
        ([scribble, f"--mask={black}"], "black.png: nothing is drawn"),
        ([scribble, f"--mask={small}"], "small.png: 32x32 pixels, but "),
        ([f"--scribble={opaque}"], "draw on a transparent background"),
        ([f"--scribble={wide}"], "wide.png: nothing is drawn inside the centre that fit='crop' keeps (fit='pad' keeps"),
        ([f"--scribble={tmp_path / 'broken.png'}"], "broken.png: not a picture that Pillow reads"),
        ([f"--scribble={tmp_path / 'nowhere.png'}"], "nowhere.png: cannot be read (No such file or directory)"),
        ([f"--sketch={tmp_path / 'broken.png'}"], "broken.png: not a picture that Pillow reads"),
        ([scribble, f"--photo={tmp_path / 'broken.png'}"], "broken.png is no picture that can be read"),
        ([scribble, f"--photo={tmp_path / 'nowhere.png'}"], "nowhere.png: no such file or folder"),
        (["--warp=1,1,1,1,1"], "--warp drags a patch of a photograph"),
        ([scribble, "--config=invert"], "is no config of scribbles"),
        ([photo, scribble, "--space=z"], "give --space=w+"),
    ):
        assert text in says(*arguments), arguments
    assert "is no run directory" in says(scribble, run=f"--run={tmp_path / 'nowhere'}")


def test_a_batch_that_does_not_fit_is_given_again_as_it_would(capsys, drawing, tmp_path, monkeypatch):
    """The line names the batch; the same command with it runs, in the same folder."""
    check, out = memory.check, tmp_path / "out"
    command = (QUICK[0], "--steps=2", "--config.weights.conv=0", "--config.snapshots=()", "--nocompare", f"--out={out}")
    command += ("--config.search.candidates=2", "--config.search.steps=2", f"--scribble={drawing}", "--data=emoji")
    with monkeypatch.context() as patch:
        patch.setattr(memory, "check", lambda needed, free, *batch: check(needed, int(0.7 * needed), *batch))
        line = fails(capsys, "scribble", *command, "--batch=2")
    assert re.search(r"a batch of 2 needs .* GiB of memory are free; use a batch of 1$", line)
    assert "those of emoji have another size" in scribble(capsys, *command, "--batch=1")
    assert (out / "bar-result.png").exists()


def test_a_drawing_of_another_shape(capsys, tmp_path):
    """The centre counts, or all of it between bars."""
    picture = Image.new("RGBA", (96, 64))
    ImageDraw.Draw(picture).rectangle((32, 0, 63, 63), fill=(255, 255, 255, 255))
    picture.save(tmp_path / "wide.png")
    command = (QUICK[0], "--steps=2", "--config.weights.conv=0", "--config.snapshots=()", "--nocompare", "--data=emoji")
    command += ("--config.search.candidates=1", f"--scribble={tmp_path / 'wide.png'}")
    for fit, columns in (("crop", range(8, 24)), ("pad", range(11, 21))):
        scribble(capsys, *command, f"--fit={fit}", f"--out={tmp_path / fit}")
        with Image.open(tmp_path / fit / "sheet.png") as sheet:
            shown = np.asarray(sheet.convert("L"))[::4, ::4][:, :32]
        assert (shown[16] > 207).nonzero()[0].tolist() == list(columns)
        assert (shown[0] > 207).any() == (fit == "crop")
