"""A Progressive GAN that grows from 4 to 8 px: killed inside the fade, it continues bit for bit."""

import subprocess

import jax
import jax.monitoring
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import config as configs
from jaxgan.cli.train import complete
from jaxgan.data.sources import open_images
from jaxgan.experiment import load
from jaxgan.training import growth
from jaxgan.training.programs import fresh_state
from jaxgan.training.stage import Stage, device_batches
from jaxgan.training.watch import read_metrics
from tests.end_to_end.conftest import command
from tests.end_to_end.test_resume import assert_same_run, kill_after

WHOLE = 320
# 4 px up to 64 images, 8 px fading in up to 192, stable from there on.
GROWING = (
    "batch_size=8",
    "model.channel_base=64",
    "model.channel_max=8",
    "model.z_dim=8",
    "model.mbstd_group=4",
    "growth.stable_kimg=0.064",
    "growth.fade_kimg=0.128",
    "growth.batch_size=((4, 16),)",
    "tick_kimg=0.032",
    "checkpoint.every_ticks=1",
    "grid.images=4",
)


@pytest.fixture
def start(tiny_data):
    """Starts a growing run in a workdir."""

    def start(workdir, images=WHOLE, config="fashion_pggan", more=()):
        fields = (*GROWING, f"total_kimg={images / 1000}", f"data.source={tiny_data}", *more)
        flags = [f"--config.{field}" for field in fields]
        return subprocess.Popen(command("train", f"--config={config}", f"--workdir={workdir}", *flags))

    return start


def test_killed_inside_a_fade_and_resumed(start, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert start(whole).wait(300) == 0
    process = start(killed)
    kill_after(process, killed, rows=5, delay=0.0)
    seen = load(killed).images_seen
    assert 64 < seen < 192, "the kill came outside the fade"
    # What a fade has come to is part of the checkpoint, so that images are those of training.
    model = load(killed)
    assert model.gan.generator.fading
    assert float(model.variables["generator"]["buffers"]["alpha"]) == pytest.approx((seen - 8 - 64) / 128)
    assert start(killed).wait(300) == 0
    assert_same_run(whole, killed)

    rows = read_metrics(whole)
    assert [row["resolution"] for row in rows] == [4] * 2 + [8] * 8
    assert all(np.isfinite(row["G_loss"]) for row in rows)
    model = load(whole)
    assert model.sample(jax.random.key(0), 2).shape == (2, 8, 8, 3)
    assert set(model.variables["generator"]["params"]) == {"b4", "b8", "torgb8"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "more", "rows"),
    [
        ("fashion_stylegan", ("growth.start_resolution=4", "model.w_dim=8"), 5),  # inside the fade
        ("fashion_pggan", ("growth.optimizer=keep",), 5),
        ("fashion_pggan", ("growth.optimizer=keep",), 8),  # after it
    ],
)
def test_killed_elsewhere_and_resumed(start, tmp_path, config, more, rows):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert start(whole, config=config, more=more).wait(300) == 0
    kill_after(start(killed, config=config, more=more), killed, rows=rows, delay=0.0)
    assert start(killed, config=config, more=more).wait(300) == 0
    assert_same_run(whole, killed)


def test_nothing_is_compiled_inside_a_phase(tiny_data, tmp_path):
    config = configs.load("fashion_pggan")
    configs.override(config, [*GROWING, "total_kimg=0.32", f"data.source={tiny_data}"])
    images = open_images(str(tiny_data))
    config = complete(config, images).to_dict()
    phase = growth.phases(config, WHOLE)[1]
    stage = Stage(config, images, phase)
    stage.compile(0)
    state = fresh_state(stage.gan, stage.config, stage.place)
    state = state.replace(images_seen=jax.device_put(jnp.int32(80), stage.place.shardings.images_seen))
    data = device_batches(stage.config, stage.images, stage.place)
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(lambda name, *_, **__: compiled.append(name))
    alphas = []
    for step in range(4):
        batch = (next(data),)
        compiled.clear()
        state, _ = stage.programs.run(step, state, batch)
        state = stage.calibrate(state)
        jax.block_until_ready((state, stage.sample(state)))  # as at a tick
        assert not [name for name in compiled if "compile" in name]
        alphas.append(float(state.generator["buffers"]["alpha"]))
    data.close()
    assert len(set(alphas)) == 4
