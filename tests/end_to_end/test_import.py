"""Another program's file becomes a run directory: every verb takes it, training goes on from it, a report says how."""

import copy
import dataclasses
import json

import jax
import numpy as np
import pytest

import jaxgan
from jaxgan import cli, experiment
from jaxgan.interchange import nvidia
from tests.end_to_end.test_bad_input import fails
from tests.interchange import layouts
from tests.interchange.test_stylegan2_files import W_AVG, tiny_model


@pytest.fixture(scope="module")
def model():
    return tiny_model(resolution=8, channels=3, conv_clamp=0.0)


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory, model):
    """In the layout of StyleGAN2-ADA-PyTorch; its raw generator is another than the average."""
    variables, settings = model.variables, model.config.model
    raw = jax.tree.map(lambda x: x + 1, variables["generator"])
    average, judge = layouts.nvidia_networks(settings, variables["generator"], variables["discriminator"], W_AVG)
    trained, _ = layouts.nvidia_networks(settings, raw, variables["discriminator"], W_AVG)
    return layouts.nvidia(tmp_path_factory.mktemp("source") / "network.pkl", average, trained, judge)


def jaxgan_command(*arguments: str) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["jaxgan", *arguments])
    assert end.value.code == 0


@pytest.fixture(scope="module")
def imported(tmp_path_factory, snapshot):
    workdir = tmp_path_factory.mktemp("runs") / "run"
    fields = ["--config.batch_size=8", "--config.augment.kind=none", "--config.loss.r1_gamma=0.1"]
    jaxgan_command("import", f"--source={snapshot}", f"--workdir={workdir}", "--images=3", *fields)
    return workdir


def test_the_run_holds_what_the_file_holds(imported, model):
    for weights, shift in (("ema", 0), ("raw", 1)):
        loaded = jaxgan.load(imported, weights)
        expected = jax.tree.map(lambda x, shift=shift: x + shift, model.variables["generator"])
        jax.tree.map(np.testing.assert_array_equal, loaded.variables["generator"], expected)
    jax.tree.map(np.testing.assert_array_equal, loaded.variables["discriminator"], model.variables["discriminator"])
    np.testing.assert_array_equal(loaded.w_avg, W_AVG)


def test_report(imported, snapshot):
    found = json.loads((imported / "imported" / "report.json").read_text())
    assert found["format"] == "nvidia"
    assert len(found["sha256"]) == 64
    assert found["tensors"] == {"read": len(found["read"]), "unused": len(found["unused"]), "made up": 0}
    assert found["unused"]["G: mapping.w_avg"] == "that of the averaged generator is used"
    assert found["reference"] is None
    page = (imported / "imported" / "report.html").read_text()
    assert "seeds 0 to 2" in page
    assert found["sha256"] in page


def test_verbs_take_the_run_and_the_file(imported, snapshot, tmp_path):
    for name, run in (("run", imported), ("file", snapshot)):
        jaxgan_command("sample", f"--run={run}", "--seeds=0-1", f"--out={tmp_path / name}")
    assert (tmp_path / "run" / "grid.png").read_bytes() == (tmp_path / "file" / "grid.png").read_bytes()
    nvidia.write(jaxgan.load(imported), tmp_path / "again.pkl")
    again, loaded = jaxgan.load(tmp_path / "again.pkl"), jaxgan.load(imported)
    jax.tree.map(np.testing.assert_array_equal, again.variables, loaded.variables)


def test_training_goes_on(imported, tiny_data, model):
    """From the imported weights and their average, with a fresh optimiser; given fields hold, the rest is by rule."""
    fields = ["--config.total_kimg=0.016", "--config.tick_kimg=0.008", "--config.grid.images=4"]
    jaxgan_command("train", f"--workdir={imported}", f"--config.data.source={tiny_data}", *fields)
    trained = jaxgan.load(imported)
    assert trained.images_seen == 16
    assert trained.config.batch_size == 8
    assert trained.config.augment.kind == "none"
    assert trained.config.data.num_images == 64
    before, after = model.variables["generator"]["params"], trained.variables["generator"]["params"]
    moved = jax.tree.leaves(jax.tree.map(lambda a, b: np.abs(a - b).max(), before, after))
    assert 0 < max(moved) < 0.2  # the average of a few steps lies near where it began
    noise = [v.variables["generator"]["buffers"] for v in (model, jaxgan.load(imported, "raw"))]
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a + 1, b), *noise)
    assert experiment.read_config(imported).ema.rampup == 0


def test_our_own_file_is_trained_on(model, tiny_data, tmp_path):
    """With other data than before."""
    config = copy.deepcopy(model.config)
    config.data.num_images, config.batch_size, config.total_kimg = 10, 8, 0.5
    config.augment.kind, config.loss.r1_gamma = "none", 0.1
    source, run = tmp_path / "mine.safetensors", tmp_path / "run"
    experiment.export(dataclasses.replace(model, config=config, images_seen=1000), source, {})
    jaxgan_command("import", f"--source={source}", f"--workdir={run}", "--images=1")
    loaded = jaxgan.load(run)
    assert loaded.images_seen == 1000
    jax.tree.map(np.testing.assert_array_equal, loaded.variables, model.variables)
    found = json.loads((run / "imported" / "report.json").read_text())
    assert (found["format"], found["tensors"]["unused"]) == ("safetensors", 0)
    assert found["read"]["w_avg"] == "w_avg"
    fields = ["--config.total_kimg=1.016", "--config.tick_kimg=0.008", "--config.grid.images=4"]
    jaxgan_command("train", f"--workdir={run}", f"--config.data.source={tiny_data}", *fields)
    trained = jaxgan.load(run)
    assert trained.images_seen == 1016
    assert trained.config.data.num_images == 64


def test_next_is_what_training_needs(capsys, model, tmp_path):
    """A run that has reached its end must be told a new one."""
    config = copy.deepcopy(model.config)
    config.total_kimg = 0.5
    experiment.export(dataclasses.replace(model, config=config, images_seen=1000), tmp_path / "a.npz", {})
    jaxgan_command("import", f"--source={tmp_path / 'a.npz'}", f"--workdir={tmp_path / 'run'}", "--images=0")
    assert "--config.data.source=DATA --config.total_kimg=1001" in capsys.readouterr().out


def test_a_model_of_the_zoo(capsys, tmp_path):
    jaxgan_command("import", "--source=zoo:fashion-dcgan", f"--workdir={tmp_path / 'run'}", "--images=0")
    assert "zoo:fashion-dcgan (npz): dcgan" in capsys.readouterr().out
    expected, loaded = jaxgan.load("zoo:fashion-dcgan"), jaxgan.load(tmp_path / "run")
    jax.tree.map(np.testing.assert_array_equal, loaded.variables, expected.variables)


def test_refusals(capsys, imported, snapshot, tmp_path):
    (tmp_path / "text.pkl").write_text("no weights")
    for more, text in (
        ([f"--workdir={imported}"], "is not empty"),
        ([f"--workdir={tmp_path / 'new'}", "--config.model.resolution=16"], "the network is the file's"),
        ([f"--workdir={tmp_path / 'new'}", "--config.batchsize=1"], "did you mean batch_size"),
        ([f"--workdir={tmp_path / 'new'}", f"--reference={tmp_path}"], "has no legacy.py"),
        ([f"--workdir={tmp_path / 'new'}", f"--source={tmp_path / 'text.pkl'}"], "text.pkl"),
        ([f"--workdir={tmp_path / 'new'}", f"--source={tmp_path / 'absent.pkl'}"], "cannot be read"),
        ([f"--workdir={tmp_path / 'new'}", f"--source={imported}"], "is a run directory already"),
        ([f"--workdir={tmp_path / 'new'}", f"--source={tmp_path}"], "it is no regular file"),
    ):
        assert text in fails(capsys, "import", f"--source={snapshot}", *more)
        assert not (tmp_path / "new").exists()


def test_a_reference_that_fails(capsys, snapshot, tmp_path):
    """What its code says last is repeated."""
    (tmp_path / "legacy.py").write_text("raise RuntimeError('no such operator')")
    (tmp_path / "torch.py").write_text("import contextlib\nno_grad = contextlib.nullcontext\n")
    line = fails(capsys, "import", f"--source={snapshot}", f"--workdir={tmp_path / 'new'}", f"--reference={tmp_path}")
    assert "no such operator" in line or "torch" in line
