"""`jaxgan invert --tune_generator`: a generator a photograph, which walks; continued after a stop; what it refuses."""

import json

import numpy as np
import pytest
from PIL import Image

import jaxgan
from jaxgan import cli
from jaxgan.cli import invert as verb
from tests.end_to_end.test_bad_input import fails

QUICK = ("--run=zoo:fashion-dcgan", "--images=fashion", "--count=2", "--space=w", "--steps=10")
QUICK += ("--config.weights.conv=0", "--config.candidates=4")
TUNE = ("--tune_generator", "--config.tune.steps=3", "--config.tune.threshold=0")
NAMES = ["fashion-test-00000", "fashion-test-00001"]


def status(*arguments):
    with pytest.raises(SystemExit) as stop:
        cli.main(["jaxgan", *arguments])
    return stop.value.code


def test_stopped_continued_and_walked(capsys, tmp_path, monkeypatch):
    out = tmp_path / "out"
    command = ("invert", *QUICK, *TUNE, f"--out={out}")
    export, written = verb.export, []

    def stopping(model, path, card, **more):
        if path.stem == NAMES[1] and len(written) == 1:
            raise KeyboardInterrupt
        written.append(path.stem)
        export(model, path, card, **more)

    monkeypatch.setattr(verb, "export", stopping)
    assert status(*command) == 130
    assert [p.name for p in (out / "tuned").iterdir()] == [f"{NAMES[0]}.npz"]
    assert not (out / "latents.npz").exists()
    written.append("stopped")
    assert status(*command) == 0, capsys.readouterr().err
    assert written == [NAMES[0], "stopped", NAMES[1]]
    said = capsys.readouterr().out
    assert "tuned PSNR" in said
    assert f"--run={out / 'tuned' / NAMES[0]}.npz" in said
    assert not (out / ".work").exists()
    assert {p.name for p in (out / "tuned").iterdir()} == {f"{n}.{kind}" for n in NAMES for kind in ("npz", "png")}

    found = json.loads((out / "table.json").read_text())
    for row in found["images"]:
        assert row["tuned MSE"] < row["MSE"]
        assert {"tuned PSNR", "tuned SSIM", "tuned ST-LPIPS Alex", "tuning seconds"} < row.keys()
        assert row["tuning steps"] == 3
    saved = json.loads((out / "config.json").read_text())["tune"]
    assert (saved["enabled"], saved["steps"], saved["lr"]) == (True, 3, 3e-4)

    # Each generator makes its own photograph of its pivot, and its picture is where a walk through the pivots begins.
    with np.load(out / "latents.npz") as file:
        ws = file["ws"]
    original = jaxgan.load("zoo:fashion-dcgan")
    model = jaxgan.load(str(out / "tuned" / f"{NAMES[1]}.npz"))
    image = np.asarray(Image.open(out / "tuned" / f"{NAMES[1]}.png"))
    made = jaxgan.report.to_uint8(np.asarray(model.synthesize(ws[1:])))[0, ..., 0]
    assert np.abs(made.astype(int) - image).max() <= 1
    assert not np.array_equal(model.synthesize(ws), original.synthesize(ws))
    monkeypatch.setattr("jaxgan.cli.walk.measuring_network", lambda: None)
    walk = ("walk", f"--run={out / 'tuned' / NAMES[1]}.npz", f"--latents={out / 'latents.npz'}", "--frames=4")
    assert status(*walk, f"--out={tmp_path / 'walk'}") == 0
    with Image.open(tmp_path / "walk" / "walks.png") as sheet:
        scale = sheet.height // 32
        last = np.asarray(sheet)[::scale, ::scale][:, -32:]
    assert np.abs(last.reshape(32, 32, -1)[..., 0].astype(int) - image).max() <= 1


def test_what_is_refused_before_work_starts(capsys, tmp_path):
    out = tmp_path / "out"

    def says(*arguments, quick=QUICK):
        line = fails(capsys, "invert", *quick, "--tune_generator", *arguments, f"--out={out}")
        assert not (out / ".work").exists()
        return line

    assert "config.tune.lr=-1.0 must be above 0" in says("--config.tune.lr=-1.0")
    assert "--config=scribble has no `tune`" in says("--config=scribble")
    assert "is what is minimised" in says("--config.lpips_network=stlpips-alex")
    assert "lpips-vgg has no weights in any package" in says("--config.lpips_network=lpips-vgg")
    assert status("export", "--run=zoo:fashion-dcgan", f"--out={out / 'tuned' / NAMES[0]}.npz") == 0
    own = f"--run={out / 'tuned' / NAMES[0]}.npz"
    assert f"is where the generator tuned to {NAMES[0]} goes" in says(quick=(own, *QUICK[1:]))
