"""`jaxgan study`: every set-up once, in a table and on a sheet, walks between the best one's inversions."""

import json

import numpy as np
import pytest

from jaxgan import cli
from tests.end_to_end.test_bad_input import fails

PAIRS = '(("zoo:fashion-dcgan", "z"), ("zoo:fashion-dcgan", "w+"))'
SMALL = ("--count=3", "--steps=4", "--config.invert.chunk=2", "--config.invert.candidates=2", "--config.frames=4")
ONE = '(("zoo:fashion-dcgan", "z"),)'


def test_every_set_up_and_the_walks(capsys, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(SystemExit) as stop:
        cli.main(
            [
                "jaxgan",
                "study",
                *SMALL,
                f"--config.pairs={PAIRS}",
                "--config.perceptual=(0.0,)",
                "--config.scribbles.run=",
                f"--out={out}",
            ]
        )
    assert stop.value.code == 0, capsys.readouterr().err
    found = json.loads((out / "table.json").read_text())
    assert [(r["model"], r["space"]) for r in found["setups"]] == [
        ("fashion-dcgan", "z"),
        ("fashion-dcgan", "w+"),
    ]
    assert len(found["walks"]) == 1
    assert found["scribbles"] == []
    files = {"latents.npz", "report.html", "sheet.png", "table.json", "walks.png", found["walks"][0]["file"]}
    assert {p.name for p in out.iterdir()} == files


def test_the_scribble_series(capsys, tmp_path):
    out = tmp_path / "out"
    few = ("--config.scribbles.run=zoo:fashion-dcgan", "--config.scribbles.steps=2", "--config.scribbles.spaces=z")
    with pytest.raises(SystemExit) as stop:
        cli.main(
            ["jaxgan", "study", *SMALL, f"--config.pairs={ONE}", "--config.perceptual=(0.0,)", *few, f"--out={out}"]
        )
    assert stop.value.code == 0, capsys.readouterr().err
    rows = json.loads((out / "table.json").read_text())["scribbles"]
    assert [(r["drawings"], r["program"]) for r in rows] == [
        ("4 dense", "plain z"),
        ("4 sparse", "plain z"),
        ("4 dense", "revised z"),
        ("4 sparse", "revised z"),
    ]
    assert all(0 < r["masked L1"] < 2 and np.isfinite(r["D"]) for r in rows)
    assert {"scribbles.png", "drawings-plain-z.npz", "drawings-revised-z.npz"} <= {p.name for p in out.iterdir()}


def test_another_config_is_refused(capsys, tmp_path):
    assert "is no config of a study" in fails(capsys, "study", "--config=invert", f"--out={tmp_path / 'out'}")
