"""Two processes on loopback train and checkpoint together, and see what one process sees."""

import os
import socket
import subprocess

import numpy as np
import pytest

from jaxgan.training.watch import read_metrics
from tests.end_to_end.conftest import command
from tests.end_to_end.test_resume import final_state


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def train_together(flags: list[str]) -> list[str]:
    """Runs a training command as two processes with two devices each; returns their error outputs."""
    env = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    cluster = [f"--coordinator=127.0.0.1:{free_port()}", "--num_processes=2"]
    processes = [
        subprocess.Popen(
            command(*flags, *cluster, f"--process_id={i}"),
            env=env,
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for i in range(2)
    ]
    try:
        errors = [p.communicate(timeout=300)[1] for p in processes]
    finally:
        for p in processes:
            p.kill()
    assert [p.returncode for p in processes] == [0, 0], "\n".join(errors)
    return errors


@pytest.mark.slow
def test_two_processes_train_and_checkpoint_together(train_flags, jaxgan, tmp_path):
    # Without path length, which only costs compilation here: each of four programs is compiled on three topologies.
    common = ("--config.batch_size=16", "--config.tick_kimg=0.016", "--config.checkpoint.every_ticks=2")
    common += ("--config.loss.pl_weight=0.0",)
    train_together(train_flags(tmp_path / "two", 32, *common))
    # The pair's checkpoint goes on in the pair, and also in one process with one device.
    train_together(train_flags(tmp_path / "two", 64, *common))
    alone = jaxgan(*train_flags(tmp_path / "one", 64, *common))
    assert alone.returncode == 0, alone.stderr
    one, two = (read_metrics(tmp_path / name) for name in ("one", "two"))
    assert [r["images_seen"] for r in one] == [r["images_seen"] for r in two]
    for a, b in zip(one, two):
        np.testing.assert_allclose([a["G_loss"], a["D_loss"]], [b["G_loss"], b["D_loss"]], atol=2e-4)
    (_, meta_one), (_, meta_two) = final_state(tmp_path / "one"), final_state(tmp_path / "two")
    assert meta_one == meta_two
    elastic = jaxgan(*train_flags(tmp_path / "two", 96, *common))
    assert elastic.returncode == 0, elastic.stderr
    assert read_metrics(tmp_path / "two")[-1]["images_seen"] == 96


@pytest.mark.slow
def test_two_processes_evaluate_together(train_flags, jaxgan, tmp_path):
    """The same cards as one process writes, and one file of them."""
    common = ("--config.batch_size=16", "--config.tick_kimg=0.016", "--config.loss.pl_weight=0.0")
    common += ("--config.eval_every=1", "--config.eval.num_samples=32", "--config.eval.batch_size=16")
    common += ("--config.eval.metrics=fd,ms_ssim",)
    train_together(train_flags(tmp_path / "two", 16, *common))
    alone = jaxgan(*train_flags(tmp_path / "one", 16, *common), timeout=600)
    assert alone.returncode == 0, alone.stderr
    one, two = (read_metrics(tmp_path / name)[-1] for name in ("one", "two"))
    names = [name for name in one if name.startswith(("FD", "MS-SSIM"))]
    assert len(names) == 2
    for name in names:
        np.testing.assert_allclose(two[name], one[name], rtol=2e-3, err_msg=name)
    assert [p.name for p in (tmp_path / "two" / "evaluations").iterdir()] == ["00000016.json"]
