"""`jaxgan scribble`: drawings to pictures, a photograph to an edited one, and what it refuses."""

import json

import numpy as np
import pytest
from PIL import Image, ImageDraw

from jaxgan import cli
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
    assert {p.name for p in out.iterdir()} == names | {"table.json", "config.json"}
    with Image.open(out / "bar-plain.png") as picture:  # white where it was drawn
        assert np.asarray(picture)[8:24, 13:19].mean() > 150


def test_a_photograph_is_edited_at_its_own_size(capsys, drawing, tmp_path):
    garment = open_images("fashion", split="test").images[4, ..., 0]
    Image.fromarray(garment).resize((96, 96)).save(tmp_path / "photo.png")
    out = tmp_path / "out"
    edit = (f"--photo={tmp_path / 'photo.png'}", f"--scribble={drawing}", "--warp=16,16,2,0,5", "--nocompare")
    scribble(capsys, *QUICK, *edit, f"--out={out}")
    with Image.open(out / "photo-edited.png") as picture:
        assert picture.size == (96, 96)
        assert np.abs(np.asarray(picture).astype(int) - np.asarray(Image.open(tmp_path / "photo.png"))).max() > 0


def test_what_is_refused(capsys, drawing, tmp_path):
    def says(*arguments):
        return fails(capsys, "scribble", *QUICK, *arguments, f"--out={tmp_path / 'out'}")

    Image.new("RGBA", (32, 32)).save(tmp_path / "empty.png")
    Image.new("RGB", (32, 32)).save(tmp_path / "opaque.png")
    assert "nothing is drawn" in says()
    assert "empty.png: nothing is drawn" in says(f"--scribble={tmp_path / 'empty.png'}")
    assert "draw on a transparent background" in says(f"--scribble={tmp_path / 'opaque.png'}")
    assert "--warp drags a patch of a photograph" in says("--warp=1,1,1,1,1")
    assert "is no config of scribbles" in says(f"--scribble={drawing}", "--config=invert")
    photo = f"--photo={drawing}"
    assert "give --space=w+" in says(photo, f"--scribble={drawing}", "--space=z")
