"""`jaxgan move` and `attention`, and the other verbs on a generator that takes heatmaps."""

import json

import numpy as np
import pytest
from PIL import Image

from tests.end_to_end.conftest import in_process
from tests.end_to_end.test_bad_input import fails
from tests.end_to_end.test_resume import assert_same_run

RUN = "--run=zoo:fashion-eqgan"


def test_a_drag(capsys, tmp_path):
    out = tmp_path / "move"
    in_process(capsys, "move", RUN, "--seed=3", "--from=0,-0.6", "--to=0,0.6", "--frames=5", f"--out={out}")
    frames = [f"frame{i:04d}.png" for i in range(5)]
    assert sorted(p.name for p in out.iterdir()) == [*frames, "move.gif", "sheet.png", "table.json"]
    table = json.loads((out / "table.json").read_text())["frames"]
    np.testing.assert_allclose(
        [row["centres"][0] for row in table], [[0, x] for x in (-0.6, -0.3, 0, 0.3, 0.6)], atol=1e-4
    )
    assert table[0]["change"] == 0
    assert table[0]["centroid of the change"] is None
    assert table[4]["change"] > 0.01
    with Image.open(out / "sheet.png") as sheet:
        assert sheet.size[0] > sheet.size[1]


@pytest.mark.parametrize("run", [RUN, "--run=zoo:fashion-dcgan"])
def test_attention(capsys, tmp_path, run):
    out = tmp_path / "attention"
    said = in_process(capsys, "attention", run, "--seeds=0-2", "--reals=2", f"--out={out}")
    assert "evidence for fake at" in said
    with np.load(out / "attention.npz") as file:
        maps = {name: file[name] for name in file.files}
    assert maps["fakes logits"].shape == (3,)
    shown = [name for name in maps if "logits" not in name]
    assert len(shown) >= 2 * 2 * 2
    assert all(m.shape == ((2 if n.startswith("reals") else 3), 32, 32) for n, m in maps.items() if n in shown)
    assert all(maps[n].min() >= 0 and maps[n].max() <= 1 for n in shown)
    assert any(maps[n].max() == 1 for n in shown)
    for name in ("reals.png", "fakes.png"):
        with Image.open(out / name) as picture:
            assert picture.mode == "RGB"


def test_an_image_is_judged_among_others_not_among_copies_of_itself(capsys, tmp_path):
    logits = {}
    for seeds in ("5", "0-3,5", "5,0-2"):
        out = tmp_path / seeds
        in_process(capsys, "attention", RUN, f"--seeds={seeds}", "--reals=0", f"--out={out}")
        with np.load(out / "attention.npz") as file:
            logits[seeds] = file["fakes logits"]
            assert [name for name in file.files if "heat" in name] == [f"fakes heat {n}" for n in ("b32", "b16", "b8")]
    assert logits["5"].shape == (1,)
    np.testing.assert_allclose(logits["5"], logits["5,0-2"][:1], atol=1e-4)  # the least other seeds beside it
    assert abs(logits["5"][0] - logits["0-3,5"][4]) < 0.5  # other companions; copies of itself make it 1 to 1.5


def test_inversion_finds_the_heatmaps_too(capsys, tmp_path):
    """Over w+ and where the centres lie; the walk between what was found uses both."""
    in_process(capsys, "sample", RUN, "--seeds=4,7", f"--out={tmp_path / 'images'}")
    (tmp_path / "images" / "grid.png").unlink()
    quick = ("--space=w+", "--config.steps=30", "--config.candidates=16", "--config.weights.conv=0")
    in_process(capsys, "invert", RUN, f"--images={tmp_path / 'images'}", *quick, f"--out={tmp_path / 'inverted'}")
    with np.load(tmp_path / "inverted" / "latents.npz") as file:
        extras = file["extras"]
    assert extras.shape == (2, 21)
    assert np.abs(extras[0] - extras[1]).max() > 1e-3  # neither is where both began
    walk = ("--frames=3", f"--out={tmp_path / 'walk'}")
    in_process(capsys, "walk", RUN, f"--latents={tmp_path / 'inverted' / 'latents.npz'}", *walk)
    assert (tmp_path / "walk" / "report.html").exists()


def test_seeds_have_heatmaps_of_their_own(capsys, tmp_path):
    in_process(capsys, "sample", RUN, "--seeds=0-3", f"--out={tmp_path / 'four'}")
    in_process(capsys, "sample", RUN, "--seeds=2", f"--out={tmp_path / 'one'}")
    four, one = (np.asarray(Image.open(tmp_path / name / "seed0002.png")).astype(int) for name in ("four", "one"))
    assert np.abs(four - one).max() <= 1


TRAINED = (
    "--config=eqgan_fashion32",
    *(f"--config.model.{name}=8" for name in ("channel_max", "z_dim", "w_dim", "sel_hidden", "heatmap_features")),
    "--config.batch_size=8",
    "--config.tick_kimg=0.016",
    "--config.checkpoint.every_ticks=1",
    "--config.grid.images=4",
    "--config.eval_every=0",
)


@pytest.mark.slow
def test_half_then_half_equals_whole(capsys, tmp_path):
    """A run that was interrupted draws the heatmaps that it would have drawn; then the other verbs take it."""
    for workdir, kimg in (("whole", 0.064), ("halves", 0.032), ("halves", 0.064)):
        in_process(capsys, "train", *TRAINED, f"--config.total_kimg={kimg}", f"--workdir={tmp_path / workdir}")
    assert_same_run(tmp_path / "whole", tmp_path / "halves")
    said = in_process(capsys, "evaluate", f"--run={tmp_path / 'halves'}", "--metrics=fd,di", "--num_samples=128")
    assert "DI" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("move", "--run=zoo:fashion-stylegan2", "--to=0,0"), "takes no heatmaps"),
        (("move", RUN, "--to=up"), "--to=up is no point"),
        (("move", RUN, "--to=0,0", "--level=2", "--index=5"), "has no centre 5"),
        (("attention", RUN, "--features=b3"), "this discriminator has the maps b32, b16, b8"),
    ],
)
def test_what_is_refused(capsys, tmp_path, arguments, said):
    assert said in fails(capsys, *arguments, f"--out={tmp_path / 'out'}")
    assert not (tmp_path / "out").exists()
