"""Bad input gets one clear line that names the thing and the fix, exit status 2, and leaves nothing half-written."""

import dataclasses
import errno
import json
from pathlib import Path

import numpy as np
import pytest

from jaxgan import cli, experiment
from jaxgan import config as configs
from jaxgan.data.sources import open_images
from jaxgan.errors import UserError
from jaxgan.training import loop


def fails(capsys, *arguments: str) -> str:
    """The one line of a command that must end with status 2."""
    with pytest.raises(SystemExit) as stop:
        cli.main(["jaxgan", *arguments])
    assert stop.value.code == 2
    errors = capsys.readouterr().err.strip()
    line = errors.splitlines()[-1]
    assert line.startswith("jaxgan: error: "), errors
    assert "Traceback" not in errors
    return line


@pytest.fixture
def train(capsys, tiny_data, train_flags, tmp_path):
    """Runs a training command that must fail; the workdir must not have been made."""

    def run(*more: str, workdir: Path = tmp_path / "run", made: bool = False) -> str:
        line = fails(capsys, *train_flags(workdir, 64, *more))
        assert made or not workdir.exists(), "a refused command left a run directory behind"
        return line

    return run


def test_missing_data_folder(train, tmp_path):
    line = train(f"--config.data.source={tmp_path / 'nowhere'}")
    assert "nowhere" in line


def test_empty_data_folder(train, tmp_path):
    (tmp_path / "empty").mkdir()
    line = train(f"--config.data.source={tmp_path / 'empty'}")
    assert "empty" in line
    assert "jaxgan dataset" in line


def test_resolution_that_the_data_does_not_have(train):
    line = train("--config.model.resolution=16")
    assert "config.model.resolution=16" in line
    assert "8x8x3" in line


def test_resolution_that_no_network_has(capsys, tmp_path):
    line = fails(capsys, "dataset", f"--source={tmp_path}", f"--dest={tmp_path / 'd'}", "--resolution=48")
    assert "48" in line
    assert not (tmp_path / "d").exists()


def test_batch_not_divisible_by_group(train):
    line = train("--config.batch_size=10")
    assert "mbstd_group=4" in line
    assert "config.batch_size=12" in line


def test_batch_not_divisible_by_devices(tiny_data):
    images = open_images(str(tiny_data))
    config = configs.load("fashion")
    config = configs.resolve(config, num_images=64, image_shape=(8, 8, 3), num_classes=0, devices=8)
    config.batch_size = 12
    with pytest.raises(UserError, match=r"no multiple of the 8 devices; use config\.batch_size=32"):
        configs.check(config.to_dict(), devices=8)
    assert len(images) == 64


def test_unknown_config_field(train):
    line = train("--config.batchsize=64")
    assert "batchsize" in line
    assert "did you mean batch_size" in line


def test_value_of_another_type(train):
    assert "total_kimg=many" in train("--config.total_kimg=many")


def test_unknown_config_and_verb_and_flag(capsys, tmp_path):
    assert "fashion" in fails(capsys, "train", "--config=nosuch", f"--workdir={tmp_path / 'run'}")
    assert "train" in fails(capsys, "trian")
    assert "wordkir" in fails(capsys, "train", "--config=fashion", "--wordkir=x", f"--workdir={tmp_path / 'run'}")
    assert not (tmp_path / "run").exists()


def test_values_that_are_out_of_range(train):
    assert "config.batch_size=0 must be above 0" in train("--config.batch_size=0")
    assert "num_classes=5 does not fit the 0 classes" in train("--config.model.num_classes=5")


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("total_kimg=1e999", "total_kimg=inf must be a number of at most 2000000"),
        ("seed=-3", "seed=-3 must be 0 or more"),
        ("seed=99999999999999999999", "seed=99999999999999999999 must be a number of at most 4294967295"),
        ("data.num_threads=-2", "num_threads=-2 must be 0 or more"),
        ("optimizer.g_lr=-1e-3", "g_lr=-0.001 must be above 0"),
        ("loss.r1_gamma=-5.0", "r1_gamma=-5.0 must be 0 or more"),
        ("loss.style_mixing_prob=7.0", "style_mixing_prob=7.0 must lie between 0 and 1"),
        ("model.mapping_layers=0", "mapping_layers=0 must be above 0"),
        ("checkpoint.milestone_kimg=-1.0", "milestone_kimg=-1.0 must be 0 or more"),
    ],
)
def test_numbers_out_of_their_range(train, field, text):
    assert text in train(f"--config.{field}")


@pytest.mark.parametrize(
    ("config", "field", "text"),
    [
        ("fashion_dcgan", "model.kernel=1", "kernel=1 cannot double a resolution; use 2 or more"),
        ("fashion_dcgan", "loss.pl_weight=2.0", "pl_weight=2 needs a W space and dcgan has none; set it to 0"),
        ("fashion_dcgan", "loss.style_mixing_prob=0.9", "mixes rows of w and dcgan has one"),
        ("fashion_dcgan", "growth.optimizer=foo", "growth.optimizer='foo' is not known; use reset or keep"),
        ("fashion_biggan", "model.attention=(64,)", "has no 64 px; use some of 8, 16, 32"),
    ],
)
def test_what_an_architecture_does_not_have(capsys, tmp_path, config, field, text):
    line = fails(capsys, "train", f"--config={config}", f"--workdir={tmp_path / 'run'}", f"--config.{field}")
    assert text in line
    assert not (tmp_path / "run").exists()


def test_truncation_that_would_change_nothing(capsys, tmp_path):
    text = "this generator normalises its latent, so that truncation changes nothing; leave it at 1"
    for verb in ("sample", "evaluate"):
        more = ["--metrics=fd"] if verb == "evaluate" else []
        assert text in fails(
            capsys, verb, "--run=zoo:fashion-pggan", "--truncation_psi=0.5", f"--out={tmp_path / 'out' / 'x'}", *more
        )


def test_a_set_that_comes_with_the_package_is_no_folder_of_its_name(tmp_path, monkeypatch):
    (tmp_path / "fashion").mkdir()
    monkeypatch.chdir(tmp_path)
    assert len(open_images("fashion", split="test")) == 500


def test_sampling_into_a_folder_that_cannot_be_written(capsys):
    assert "--out=/proc/self cannot be written" in fails(
        capsys, "sample", "--run=zoo:fashion-dcgan", "--out=/proc/self", "--seeds=0"
    )


def test_auto_wants_data(capsys, tmp_path):
    line = fails(capsys, "train", "--config=auto", f"--workdir={tmp_path / 'run'}")
    assert "config.data.source is missing" in line


def test_flags_that_are_missing(capsys):
    assert "--workdir is missing" in fails(capsys, "train", "--config=fashion")
    assert "--out is missing" in fails(capsys, "sample", "--run=x")


def test_no_config_and_no_run(capsys, tmp_path):
    assert "--config" in fails(capsys, "train", f"--workdir={tmp_path / 'run'}")


def test_labels_that_are_not_there(train):
    assert "use_labels" in train("--config.data.use_labels=True")


def test_workdir_with_another_config(train, tmp_path, tiny_data, train_flags, capsys):
    images = open_images(str(tiny_data))
    from jaxgan.cli.train import complete, read

    flags = [f.removeprefix("--config.") for f in train_flags(tmp_path, 64) if f.startswith("--config.")]
    workdir = tmp_path / "run"
    config = complete(read("fashion", flags, str(workdir)), images)
    with experiment.claimed(workdir, config):
        (workdir / "checkpoints" / "32").mkdir(parents=True)  # as if it had trained
        # Another command, with the same config: this one is still at it.
        line = train(made=True)
        assert "another command is training in" in line
    before = sorted(p.name for p in workdir.rglob("*"))
    line = train("--config.loss.r1_gamma=7", made=True)
    assert "config.loss.r1_gamma (0.1 in the run, 7.0 asked for)" in line
    assert sorted(p.name for p in workdir.rglob("*")) == before
    with experiment.claimed(workdir, config):
        pass  # free again, and still the same run


def test_a_run_that_was_stopped_before_its_first_checkpoint_may_be_another(tiny_data, train_flags, tmp_path):
    from jaxgan.cli.train import complete, read

    flags = [f.removeprefix("--config.") for f in train_flags(tmp_path, 64) if f.startswith("--config.")]
    for gamma in (1.0, 2.0):
        asked = read("fashion", [*flags, f"loss.r1_gamma={gamma}"], str(tmp_path / "run"))
        with experiment.claimed(tmp_path / "run", complete(asked, open_images(str(tiny_data)))):
            assert experiment.read_config(tmp_path / "run").loss.r1_gamma == gamma


def test_workdir_with_other_files(train, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("x")
    assert "not empty" in train(made=True)
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["thesis.tex"]


def test_sample_without_a_run(capsys, tmp_path):
    line = fails(capsys, "sample", f"--run={tmp_path / 'none'}", f"--out={tmp_path / 'out'}")
    assert "no run directory" in line
    assert not (tmp_path / "out").exists()
    assert "--seeds=5-1" in fails(capsys, "sample", "--run=x", "--seeds=5-1", f"--out={tmp_path / 'out'}")


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (("--run=zoo:fashion", "--out=a.npz"), "zoo:fashion is not in the zoo; it has zoo:fashion-dcgan"),
        (("--run=nowhere.npz", "--out=a.npz"), "nowhere.npz does not exist"),
        (("--run=zoo:fashion-dcgan", "--out=a.bin"), "--out=a.bin must end in one of .npz (npz), .safetensors"),
        (("--run=zoo:fashion-dcgan", "--out=a.npz", "--format=nvidia"), "--out=a.npz must end in .pkl"),
        (("--run=zoo:fashion-dcgan", "--out=a.stablehlo", "--half"), "--half is for --format=npz and safetensors"),
        (("--run=zoo:fashion-dcgan", "--out=a.npz", "--card=none.json"), "--card=none.json cannot be read"),
        (("--run=zoo:fashion-dcgan", "--out=a.npz", "--weights=raw"), "holds the ema weights"),
    ],
)
def test_what_cannot_be_exported(capsys, tmp_path, monkeypatch, flags, text):
    monkeypatch.chdir(tmp_path)
    assert text in fails(capsys, "export", *flags)
    assert not list(tmp_path.iterdir())


def test_no_room_for_a_checkpoint(train, monkeypatch):
    usage = loop.shutil.disk_usage("/")
    monkeypatch.setattr(loop.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    line = train(made=True)
    assert "MiB free" in line


def test_disk_that_fills_up_while_saving(train, monkeypatch, tmp_path):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(loop.Checkpoints, "save", _through_disk_errors(full))
    line = train(made=True)
    assert "no space left" in line
    assert "continues" in line
    assert not [p for p in (tmp_path / "run" / "checkpoints").glob("*") if p.name.isdigit()]


def _through_disk_errors(raises):
    from jaxgan import checkpoint

    def save(self, step, state, meta):
        with checkpoint._disk_errors(self.folder):
            raises()

    return save


def test_loss_that_is_not_finite(train, monkeypatch, tmp_path):
    """The logits become NaN after the first checkpoint: the run stops, says why, and keeps that checkpoint."""
    summarise = loop._summarise
    calls = []

    def poisoned(metrics):
        calls.append(1)
        row = summarise(metrics)
        return row if len(calls) < 2 else row | {"D_loss": float("nan")}

    monkeypatch.setattr(loop, "_summarise", poisoned)
    line = train(made=True)
    assert "not finite at 64 images" in line
    assert "checkpoint at 32 images is kept" in line
    assert "r1_gamma" in line
    kept = [p.name for p in (tmp_path / "run" / "checkpoints").iterdir() if p.name.isdigit()]
    assert kept == ["32"]
    assert json.loads((tmp_path / "run" / "diagnostics.json").read_text())["images_seen"] == 64


@pytest.mark.slow
def test_a_loss_that_diverges_of_itself(train, tmp_path):
    """A learning rate that no training survives."""
    line = train("--config.optimizer.g_lr=1e30", "--config.optimizer.d_lr=1e30", made=True)
    assert "a loss is not finite at 32 images" in line
    assert "no checkpoint had been saved yet" in line
    found = json.loads((tmp_path / "run" / "diagnostics.json").read_text())
    assert "nan" in (found["tick"]["G_loss"], found["tick"]["D_loss"]) or "inf" in str(found["tick"])


def test_nan_images_do_not_poison_the_parameters(tiny_data):
    """A batch that makes every gradient NaN is counted, and leaves finite parameters."""
    import jax

    from jaxgan.networks.build import build
    from jaxgan.training.state import create_state
    from jaxgan.training.step import make_steps

    config = configs.load("fashion")
    configs.override(config, ["batch_size=4", "model.channel_base=32", "model.channel_max=4", "model.z_dim=4"])
    images = dataclasses.replace(open_images(str(tiny_data)))
    config = configs.resolve(config, num_images=len(images), image_shape=(8, 8, 3), num_classes=0, devices=1).to_dict()
    gan = build(config["model"])
    state = create_state(gan, config, jax.random.key(0))
    steps = make_steps(gan, config)
    poisoned = {"images": np.full((1, 4, 8, 8, 3), np.nan, np.float32), "labels": np.zeros((1, 4), np.int32)}
    state, metrics = jax.jit(steps.discriminator, static_argnums=2)(state, poisoned, False)
    assert metrics["Dmain_nonfinite"] > 0
    assert not np.isfinite(metrics["D_loss"])
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(state.discriminator))
