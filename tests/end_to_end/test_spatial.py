"""Spatial latents by command: encoded, walked, edited, trained on, painted at any size."""

import json

import numpy as np
import pytest
from PIL import Image

from tests.end_to_end.conftest import TINY, in_process
from tests.end_to_end.test_bad_input import fails

RUN = "--run=zoo:fashion-stylegan2"


def test_encoded_walked_and_edited(capsys, tmp_path):
    out = tmp_path / "inverted"
    quick = ("--steps=24", "--config.stages.w_steps=12", "--config.stages.wplus_steps=12", "--config.candidates=16")
    given = ("--images=fashion", "--count=2", "--config.weights.conv=0", "--config.chunk=12")
    given += ("--config.snapshots=(0,12)",)
    in_process(capsys, "invert", RUN, "--space=sw+:4", *quick, *given, f"--out={out}")
    with np.load(out / "latents.npz") as file:
        assert str(file["space"]) == "sw+:4"
        assert file["ws"].shape == file["code"].shape == (2, 8, 4, 4, 64)
        names = [str(name) for name in file["names"]]
    page = (out / "report.html").read_text()
    assert "after 0, 12 steps in sw+:4" in page
    assert "12 in w, 12 in w+, " in page
    assert not (out / ".work").exists()
    latents = f"--latents={out / 'latents.npz'}"
    in_process(capsys, "walk", RUN, latents, "--frames=3", "--format=gif", f"--out={tmp_path / 'walk'}")

    edited = tmp_path / "edited"
    how = ("--attribute=brightness", "--set=1.5", "--mask=0,0,0.5,1", "--samples=400")
    said = in_process(capsys, "edit", RUN, latents, *how, f"--out={edited}")
    assert "correlation" in said
    (row,) = json.loads((edited / "table.json").read_text())["edits"]
    assert row["MSE within the mask"] > 2 * row["MSE outside"]
    assert row["score after"] > row["score before"]
    assert row["model: after"] == pytest.approx(1.5, abs=1e-3)
    assert row["model: asked for"] == pytest.approx(1.5, abs=1e-6)
    closed = row
    assert (edited / "edit0" / f"{names[0]}.png").exists()
    again = tmp_path / "again"
    in_process(capsys, "edit", RUN, f"--latents={edited / 'latents-0.npz'}", "--layout=tile:2x2", f"--out={again}")
    (row,) = json.loads((again / "table.json").read_text())["edits"]
    assert row["MSE"] > 0
    for layout in ("copy:0,0,0.5,0.5:0.5,0.5", "move:0,0,0.5,0.5:0.25,0.5", "tile:0,0,0.5,0.5:2x2"):
        out = tmp_path / layout[:4]
        in_process(capsys, "edit", RUN, latents, f"--layout={layout}", f"--out={out}")
        found = json.loads((out / "table.json").read_text())
        assert found["edits"][0]["MSE" if layout.startswith("tile") else "MSE within the mask"] > 0
        assert [row["picture"] for row in found["images"]] == names
    fine = ("--layout=tile:2x2", "--layers=3-7", f"--out={tmp_path / 'fine'}")
    assert "reaches up to 15 px beyond it" in in_process(capsys, "edit", RUN, latents, *fine)
    with np.load(tmp_path / "fine" / "latents-0.npz") as after, np.load(out.parent / "inverted" / "latents.npz") as old:
        np.testing.assert_array_equal(after["ws"][:, :3], old["ws"][:, :3])
        assert np.abs(after["ws"][:, 3:] - old["ws"][:, 3:]).max() > 0.01
    held = (*how, "--equalise=2")
    in_process(capsys, "edit", RUN, latents, *held, f"--out={tmp_path / 'held'}")
    (other,) = json.loads((tmp_path / "held" / "table.json").read_text())["edits"]
    assert other["R_eq after"] < closed["R_eq after"]
    assert other["model: before"] < other["model: after"] <= other["model: asked for"] + 0.01
    blended = (f"--layout=blend:{names[1]}", "--mask=0,0,1,0.5")
    in_process(capsys, "edit", RUN, latents, *blended, f"--out={tmp_path / 'blended'}")
    with np.load(tmp_path / "blended" / "latents-0.npz") as file:
        np.testing.assert_allclose(file["ws"][0, :, :, 0], file["ws"][1, :, :, 0], atol=1e-5)


def test_directions_of_vectors(capsys, tmp_path):
    np.save(tmp_path / "direction.npy", np.ones((1, 64), np.float32))
    for number, attribute in enumerate(("pca:0", "sefa:1", str(tmp_path / "direction.npy"))):
        out = tmp_path / str(number)
        more = ("--strength=-1,1", "--layers=0-3", f"--out={out}")
        in_process(capsys, "edit", RUN, "--seeds=0-1", f"--attribute={attribute}", *more)
        with np.load(out / "latents-1.npz") as after, np.load(out / "latents-0.npz") as before:
            assert after["ws"].shape == (2, 8, 64)
            np.testing.assert_array_equal(after["ws"][:, 4:], before["ws"][:, 4:])
            assert np.abs(after["ws"][:, :4] - before["ws"][:, :4]).max() > 0.01
        assert json.loads((out / "table.json").read_text())["edits"][0]["MSE"] > 0


@pytest.mark.slow
def test_a_class_as_an_attribute(capsys, tmp_path):
    how = ("--attribute=class:Trouser", "--keep=brightness", "--samples=1000", "--strength=2")
    said = in_process(capsys, "edit", RUN, "--seeds=0-3", *how, f"--out={tmp_path / 'out'}")
    assert "of held-out images right" in said
    (row,) = json.loads((tmp_path / "out" / "table.json").read_text())["edits"]
    assert row["score after"] > row["score before"] + 0.5


def test_trained_and_painted(capsys, tmp_path, tiny_data):
    workdir = tmp_path / "run"
    # With path length and mixing, as `spacenet` has them.
    flags = (f"--config.data.source={tiny_data}", "--config.total_kimg=0.032", *TINY)
    flags += ("--config.loss.style_mixing_prob=0.9", "--config.loss.pl_interval=2")
    in_process(capsys, "train", "--config=land_spatial", f"--workdir={workdir}", *flags)
    in_process(capsys, "sample", f"--run={workdir}", "--seeds=0-1", f"--out={tmp_path / 'samples'}")
    for name, tile in (("large", 512), ("tiles", 8)):
        more = ("--size=50x22", f"--tile={tile}", "--truncation_psi=0.9", f"--out={tmp_path / name}")
        in_process(capsys, "sample", f"--run={workdir}", "--seeds=3", *more)
    large, tiles = (np.asarray(Image.open(tmp_path / n / "seed0003.png")).astype(int) for n in ("large", "tiles"))
    assert large.shape == (22, 50, 3)
    assert np.abs(large - tiles).max() <= 1
    in_process(
        capsys, "walk", f"--run={workdir}", "--seeds=0-1", "--frames=3", "--format=gif", f"--out={tmp_path / 'walk'}"
    )
    quick = ("--steps=8", "--config.stages.w_steps=4", "--config.weights.conv=0", "--config.candidates=4")
    given = (f"--images={tmp_path / 'samples' / 'seed0000.png'}", "--config.chunk=4", "--space=sw:2", *quick)
    in_process(capsys, "invert", f"--run={workdir}", *given, f"--out={tmp_path / 'inverted'}")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("invert", RUN, "--images=fashion", "--space=sw:99"), "finer than the image"),
        (("invert", "--run=zoo:fashion-pggan", "--images=fashion", "--space=sw:4"), "only StyleGAN2"),
        (("invert", RUN, "--images=fashion", "--space=sw:4", "--tune_generator"), "begins from vectors"),
        (("sample", RUN, "--size=64x64"), "this generator makes 32x32"),
        (("sample", RUN, "--size=64"), "--size=64 is no size"),
        (("sample", "--run=zoo:land-spatial", "--size=64x64", "--noise=random"), "noise goes with the place"),
        (("edit", RUN, "--seeds=0"), "give either --attribute or --layout"),
        (("edit", RUN, "--attribute=width"), "give either --latents"),
        (("edit", RUN, "--seeds=0", "--attribute=smile"), "is not known; use one of brightness"),
        (("edit", RUN, "--seeds=0", "--attribute=class:Cat"), "give one of those"),
        (("edit", RUN, "--seeds=0", "--attribute=pca:99"), "components 0 to 63"),
        (("edit", RUN, "--seeds=0", "--attribute=width", "--mask=1,2,3"), "is no box"),
        (("edit", RUN, "--seeds=0", "--attribute=width", "--strength=much"), "no list of numbers"),
        (("edit", RUN, "--seeds=0", "--attribute=width", "--layers=9"), "has the rows 0 to 7"),
        (("edit", RUN, "--seeds=0", "--layout=spin:2"), "use copy:BOX:TO"),
        (("edit", RUN, "--seeds=0", "--layout=copy:0,0,0.5,0.5:nan,0"), "say where to"),
        (("edit", RUN, "--seeds=0", "--layout=copy:0,0,0.5,0.5:5,0"), "say where to"),
        (("edit", RUN, "--seeds=0", "--layout=tile:2x2"), "parts are all alike"),
        (("edit", RUN, "--seeds=0", "--attribute=pca:0", "--hard"), "--hard is of a --mask"),
        (("edit", RUN, "--seeds=0", "--attribute=width", "--mask=0,0,1,0.5", "--fit=pad"), "--fit=pad is of a picture"),
        (("edit", RUN, "--seeds=0", "--attribute=pca:0", "--equalise=1"), "a direction has none"),
        (("edit", RUN, "--seeds=0", "--attribute=pca:0", "--mask=0,0,1,0.5", "--grid=99"), "--grid=99: a map of"),
        (("edit", RUN, "--seeds=0", "--layout=tile:2x2", "--keep=width"), "does nothing with"),
        (("edit", RUN, "--seeds=0", "--attribute=sefa:0", "--layers=7"), "feed no convolution"),
        (("edit", RUN, "--seeds=0", "--attribute=width", "--mask=/"), "neither a picture nor a box"),
        (("edit", RUN, "--seeds=0", "--attribute=width", "--mask=pyproject.toml"), "cannot be read"),
        (
            ("invert", RUN, "--images=fashion", "--space=ss:8", "--config.weights.equalise=1"),
            "of styles that is not known",
        ),
        (("edit", RUN, "--seeds=0", "--layout=blend:1"), "needs --mask"),
        (("edit", RUN, "--seeds=0", "--layout=blend:1", "--mask=0,0,1,0.5"), "there is no 1 among 0"),
        (("edit", RUN, "--seeds=0", "--attribute=width", "--keep=red"), "needs colours"),
        (("edit", "--run=zoo:fashion-dcgan", "--seeds=0", "--attribute=width"), "this generator is none"),
    ],
)
def test_what_is_refused(capsys, tmp_path, arguments, said):
    assert said in fails(capsys, *arguments, f"--out={tmp_path / 'out'}")
