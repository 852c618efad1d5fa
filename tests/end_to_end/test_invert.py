"""`jaxgan invert`: any pictures in; latents, reconstructions, a table out; continued after a kill; what it refuses."""

import json
import re
import shutil
import subprocess
import time

import numpy as np
import pytest
from PIL import Image

from jaxgan import cli, memory
from jaxgan import config as configs
from jaxgan.cli import invert as verb
from jaxgan.data.photos import Photos
from jaxgan.data.sources import open_images
from jaxgan.errors import UserError
from tests.end_to_end.conftest import command
from tests.end_to_end.test_bad_input import fails

QUICK = ("--run=zoo:fashion-dcgan", "--steps=20", "--config.weights.conv=0", "--config.candidates=4")
TUNE = ("--tune_generator", "--config.tune.steps=1", "--config.tune.threshold=0")


@pytest.fixture
def photos(tmp_path):
    """Two garments, enlarged and cut to other shapes, as a colour JPEG and as a 16-bit PNG."""
    images = open_images("fashion", split="test").images[:2, ..., 0]
    folder = tmp_path / "photos"
    (folder / "inner").mkdir(parents=True)
    Image.fromarray(images[0]).resize((90, 120)).convert("RGB").save(folder / "one.jpg")
    Image.fromarray(images[1].astype(np.uint16) * 257).save(folder / "inner" / "two.png")
    return folder


def invert(capsys, *arguments):
    with pytest.raises(SystemExit) as stop:
        cli.main(["jaxgan", "invert", *arguments])
    said = capsys.readouterr()
    assert stop.value.code == 0, said.err
    return said.out


def test_pictures_of_any_shape_and_mode(capsys, photos, tmp_path):
    out = tmp_path / "out"
    said = invert(capsys, *QUICK, f"--images={photos}", "--space=w", f"--out={out}")
    assert "cut to the centre's shape and resized once to 32x32 (lanczos)" in said
    names = {"latents.npz", "reconstructions", "sheet.png", "table.json", "report.html", "config.json"}
    assert {p.name for p in out.iterdir()} == names
    assert {p.name for p in (out / "reconstructions").iterdir()} == {"inner-two.png", "one.png"}
    with np.load(out / "latents.npz") as file:
        assert file["ws"].shape == (2, 1, 64)
        assert file["names"].tolist() == ["inner-two", "one"]
        assert file["space"] == "w"
    found = json.loads((out / "table.json").read_text())
    for row in found["images"]:
        assert {"MSE", "PSNR", "SSIM", "ST-LPIPS Alex", "prior", "D", "loss", "evaluations", "seconds"} < row.keys()
        assert row["PSNR"] == pytest.approx(-10 * np.log10(row["MSE"]))
    assert found["mean"]["SSIM"] == pytest.approx(np.mean([row["SSIM"] for row in found["images"]]))

    # What it found is a start for more steps, and key points for a walk.
    more = tmp_path / "more"
    invert(capsys, *QUICK, f"--images={photos}", "--space=w", f"--start={out / 'latents.npz'}", f"--out={more}")
    again = json.loads((more / "table.json").read_text())
    assert again["mean"]["loss"] < found["mean"]["loss"]
    walk = ("walk", "--run=zoo:fashion-dcgan", f"--latents={out / 'latents.npz'}", "--frames=4")
    with pytest.raises(SystemExit) as stop:
        cli.main(["jaxgan", *walk, f"--out={tmp_path / 'walk'}"])
    assert stop.value.code == 0
    rows = json.loads((tmp_path / "walk" / "walks.json").read_text())["walks"]
    assert [row["loss"] for row in rows] == [pytest.approx([r["loss"] for r in found["images"]])]
    with Image.open(tmp_path / "walk" / "walks.png") as sheet, Image.open(out / "reconstructions" / "one.png") as last:
        scale = sheet.height // 32
        corner = np.asarray(sheet)[::scale, ::scale][:, -32:]
        assert np.abs(corner.astype(int) - np.asarray(last)).max() <= 1


def test_a_perceptual_loss_and_the_projector(capsys, tmp_path):
    """Networks that are minimised are named, and never the one that is reported."""
    flags = ("--run=zoo:fashion-stylegan2", "--images=fashion", "--count=1", "--steps=4", "--config.chunk=2")
    invert(capsys, *flags, "--config=invert_projector", f"--out={tmp_path / 'projector'}")
    with np.load(tmp_path / "projector" / "latents.npz") as file:
        assert file["noise6"].shape == (1, 32, 32, 1)
        np.testing.assert_array_equal(file["ws"][:, :1].repeat(file["ws"].shape[1], 1), file["ws"])
    refused = fails(
        capsys,
        "invert",
        *flags,
        "--config=invert_projector",
        "--config.lpips_network=stlpips-alex",
        f"--out={tmp_path}",
    )
    assert "is what is minimised" in refused


def test_a_start_brings_what_was_found_beside_it(tmp_path):
    """Noise maps and placements in the order of the pictures; maps are treated as they were."""
    numbers = np.arange(2, dtype=np.float32)
    arrays = {"ws": numbers[:, None, None], "noise0": numbers.reshape(2, 1, 1, 1), "extras": numbers[:, None]}
    np.savez(tmp_path / "latents.npz", names=["b", "a"], maps_as=["window", "torch_bilinear"], **arrays)
    photos = Photos(("a", "b"), np.zeros((2, 1, 1, 1), np.uint8), None, "")
    config = configs.load("invert")
    with pytest.raises(UserError, match=r"config\.demodulation=window"):
        verb.read_start(str(tmp_path / "latents.npz"), photos, config)
    config.demodulation = "window"
    found = verb.read_start(str(tmp_path / "latents.npz"), photos, config)
    for rows in (found.ws, found.noise[0], found.extras):
        np.testing.assert_array_equal(rows.ravel(), [1, 0])


def test_what_is_refused_before_work_starts(capsys, photos, tmp_path):
    """What an earlier command left in the folder stays."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "latents.npz").write_bytes(b"of an earlier command")

    def says(*arguments, run="--run=zoo:fashion-dcgan"):
        line = fails(capsys, "invert", run, *arguments, f"--out={out}")
        assert (out / "latents.npz").read_bytes() == b"of an earlier command"
        assert [p.name for p in out.iterdir()] in (["latents.npz"], ["latents.npz", ".work"], [".work", "latents.npz"])
        return line

    images = f"--images={photos}"
    assert "is no run directory" in says(images, run=f"--run={tmp_path / 'nowhere'}")
    assert "is no run directory" in says(images, run=f"--run={photos}")
    assert "no such file or folder" in says(f"--images={tmp_path / 'nowhere'}")
    assert "has 500 pictures; none is left" in says("--images=fashion", "--first=500")
    assert "use one of z, w, w+" in says(images, "--space=s")
    assert "compares with nothing" in says(images, "--config.weights.l1=0", "--config.weights.conv=0")
    assert "this model has no classes" in says(images, "--label=1", "--steps=2", "--config.weights.conv=0")
    assert "is no config of an inversion" in says(images, "--config=fashion")
    assert "is no config of a training" in fails(capsys, "train", "--config=invert", f"--workdir={tmp_path / 'run'}")
    for content in (b"no picture", b"", (photos / "one.jpg").read_bytes()[:100]):
        (photos / "broken.png").write_bytes(content)
        assert "broken.png is no picture that can be read" in says(images)
    assert "config.snapshots=(0, 30): give steps from 0 to 20" in says(
        images, "--config.snapshots=(0,30)", "--steps=20", "--space=w"
    )


def test_snapshots_and_a_used_folder(capsys, photos, tmp_path, monkeypatch):
    """A GIF and a part of the report; the next result in the folder leaves neither, but what is no earlier one's."""
    monkeypatch.setattr(verb, "reporting_network", lambda config: None)
    out = tmp_path / "the out"
    flags = (*QUICK, "--space=w", f"--out={out}", "--config.chunk=10")
    invert(capsys, *flags, f"--images={photos}", "--config.snapshots=(0,5,20)", *TUNE)
    with Image.open(out / "snapshots.gif") as gif:
        assert gif.n_frames == 3
    page = (out / "report.html").read_text()
    assert "after 0, 10, 20 steps" in page
    assert "minimised" in page
    assert "10 l1" in page
    tuned = {f"{name}.{kind}" for name in ("one", "inner-two") for kind in ("npz", "png")}
    assert {p.name for p in (out / "tuned").iterdir()} == tuned
    refused = fails(capsys, "invert", f"--run={out / 'tuned' / 'one.npz'}", *flags[1:], f"--images={photos}")
    assert "belongs to the result in" in refused

    (out / "reconstructions" / "mine.png").write_bytes(b"mine")
    said = invert(capsys, *flags, f"--images={photos / 'one.jpg'}")
    assert "removed 6 file(s) of the earlier result" in said
    assert {p.name for p in (out / "reconstructions").iterdir()} == {"one.png", "mine.png"}
    assert not (out / "tuned").exists()
    assert not (out / "snapshots.gif").exists()

    said = invert(capsys, *flags, *TUNE, f"--images={photos / 'one.jpg'}")
    assert f"--run='{out / 'tuned' / 'one.npz'}'" in said


def test_the_sheet_says_that_it_ends(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(verb, "reporting_network", lambda config: None)
    command = (QUICK[0], "--images=fashion", "--count=33", "--batch=33", "--steps=1", "--space=w", f"--out={tmp_path}")
    invert(capsys, *command, "--config.weights.conv=0", "--config.start=mean", "--config.snapshots=(0,)")
    page = (tmp_path / "report.html").read_text()
    assert "the picture, reconstructions (the first 32)" in page
    assert "after 0 steps in w (the first 32)" in page


def test_a_batch_that_does_not_fit_is_given_again_as_it_would(capsys, photos, tmp_path, monkeypatch):
    """The line names the batch; the same command with it runs, in the same folder."""
    check, out = memory.check, tmp_path / "out"
    command = ("--run=zoo:fashion-dcgan", f"--images={photos}", "--space=w", "--steps=2", f"--out={out}")
    command += ("--config.weights.conv=0", "--config.start=mean")
    with monkeypatch.context() as patch:
        patch.setattr(memory, "check", lambda needed, free, *batch: check(needed, int(0.7 * needed), *batch))
        line = fails(capsys, "invert", *command, "--batch=2")
    assert re.search(r"a batch of 2 needs .* GiB of memory are free; use a batch of 1$", line)
    invert(capsys, *command, "--batch=1")
    assert (out / "latents.npz").exists()


def test_the_work_of_another_command_is_not_continued(capsys, photos, tmp_path):
    (tmp_path / "out" / ".work").mkdir(parents=True)
    (tmp_path / "out" / ".work" / "job.json").write_text("{}")
    line = fails(capsys, "invert", *QUICK, f"--images={photos}", f"--out={tmp_path / 'out'}")
    assert "holds the unfinished work of another command" in line


@pytest.mark.slow
def test_killed_in_the_middle_and_continued(tmp_path):
    """64 images, 2,000 steps: the latents are those of an uninterrupted run, bit for bit."""
    flags = ("invert", "--run=zoo:fashion-dcgan", "--images=fashion", "--count=64", "--steps=2000", "--batch=16")
    flags += ("--config.weights.conv=0", "--config.checkpoint_seconds=0.2", "--config.snapshots=(500,2000)")

    def start(out):
        return subprocess.Popen(command(*flags, f"--out={out}"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert start(whole).communicate(timeout=600)[0] is not None
    for part in ("part-00000.npz", "part-00002.npz"):  # inside the second batch, then inside the last
        process = start(killed)
        deadline = time.monotonic() + 300
        while not (killed / ".work" / part).exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(1.5)
        process.kill()
        process.communicate()
        assert not (killed / "latents.npz").exists()
        assert any((killed / ".work" / "checkpoints").iterdir())
    assert start(killed).communicate(timeout=600)[0] is not None
    with np.load(whole / "latents.npz") as a, np.load(killed / "latents.npz") as b:
        assert set(a.files) == set(b.files)
        for name in a.files:
            np.testing.assert_array_equal(a[name], b[name], err_msg=name)
    assert not (killed / ".work").exists()
    shutil.rmtree(tmp_path)
