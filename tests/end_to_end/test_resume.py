"""A run that is killed, stopped or damaged continues bit for bit."""

import json
import random
import signal
import subprocess
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxgan.checkpoint import Checkpoints
from jaxgan.cli.train import STOPPED
from jaxgan.experiment import load, read_config
from jaxgan.networks.build import build
from jaxgan.training.programs import layout
from jaxgan.training.watch import read_metrics
from tests.end_to_end.conftest import command

HALF, WHOLE = 160, 320


def final_state(workdir: Path):
    """(state as NumPy leaves by path, metadata) of the latest checkpoint."""
    config = read_config(workdir).to_dict()
    with Checkpoints(workdir / "checkpoints", read_only=True) as checkpoints:
        _, state, meta = checkpoints.restore(
            lambda meta: layout(build(config["model"], meta["level"]), config).template
        )
    state = state.replace(key=jax.random.key_data(state.key))
    return {jax.tree_util.keystr(p): np.asarray(x) for p, x in jax.tree_util.tree_leaves_with_path(state)}, meta


def assert_same_run(a: Path, b: Path) -> None:
    """Every leaf of the final states is identical, and so are the data cursors and the curves."""
    (state_a, meta_a), (state_b, meta_b) = final_state(a), final_state(b)
    assert state_a.keys() == state_b.keys()
    for name, value in state_a.items():
        np.testing.assert_array_equal(value, state_b[name], err_msg=name)
    assert meta_a == meta_b
    timing = ("seconds", "time", "images_per_second", "seconds_per_kimg")
    rows = [[{k: v for k, v in row.items() if k not in timing} for row in read_metrics(run)] for run in (a, b)]
    assert rows[0] == rows[1]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, tiny_data):
    """A run of WHOLE images without a stop."""
    from tests.end_to_end.conftest import TINY

    workdir = tmp_path_factory.mktemp("runs") / "whole"
    flags = [f"--config.data.source={tiny_data}", f"--config.total_kimg={WHOLE / 1000}", *TINY]
    subprocess.run(command("train", "--config=fashion", f"--workdir={workdir}", *flags), check=True, timeout=600)
    return workdir


def kill_after(process: subprocess.Popen, workdir: Path, rows: int, delay: float) -> None:
    """SIGKILL once `metrics.jsonl` has so many rows, and `delay` seconds later."""
    metrics = workdir / "metrics.jsonl"
    deadline = time.monotonic() + 240
    while process.poll() is None and time.monotonic() < deadline:
        if rows == 0 or (metrics.exists() and len(metrics.read_text().splitlines()) >= rows):
            time.sleep(delay)
            break
        time.sleep(0.01)
    process.kill()
    process.wait(timeout=60)


def test_half_then_half_equals_whole(uninterrupted, train_flags, jaxgan, tmp_path):
    workdir = tmp_path / "run"
    first = jaxgan(*train_flags(workdir, HALF))
    assert first.returncode == 0, first.stderr
    second = jaxgan("train", f"--workdir={workdir}", f"--config.total_kimg={WHOLE / 1000}")
    assert second.returncode == 0, second.stderr
    assert_same_run(uninterrupted, workdir)


def test_killed_at_random_moments_resumes(uninterrupted, train_flags, jaxgan, tmp_path):
    _kill_and_resume(uninterrupted, train_flags, jaxgan, tmp_path, kills=3)


@pytest.mark.slow
def test_killed_at_twenty_random_moments_resumes(uninterrupted, train_flags, jaxgan, tmp_path):
    _kill_and_resume(uninterrupted, train_flags, jaxgan, tmp_path, kills=20)


def _kill_and_resume(uninterrupted, train_flags, jaxgan, tmp_path, kills):
    """Kills the run again and again, at start, between ticks and while it saves, and lets it end once."""
    rng = random.Random(0)
    workdir = tmp_path / "run"
    seen = 0
    for i in range(kills):
        process = subprocess.Popen(command(*train_flags(workdir, WHOLE)), stderr=subprocess.DEVNULL)
        rows = 0 if i % 5 == 4 else seen // 32 + rng.randint(1, 2)
        kill_after(process, workdir, rows, rng.uniform(0, 0.3))
        steps = [int(p.name) for p in (workdir / "checkpoints").glob("*") if p.name.isdigit()]
        assert max(steps, default=0) >= seen, "a kill lost a finished checkpoint"
        seen = max(steps, default=0)
        if seen >= WHOLE:
            seen = 0
            workdir = tmp_path / f"run{i}"
    last = jaxgan(*train_flags(workdir, WHOLE))
    assert last.returncode == 0, last.stderr
    assert_same_run(uninterrupted, workdir)


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_signal_saves_and_stops(uninterrupted, train_flags, jaxgan, tmp_path, number):
    workdir = tmp_path / "run"
    flags = train_flags(workdir, WHOLE, "--config.checkpoint.every_ticks=1000")
    process = subprocess.Popen(command(*flags), stderr=subprocess.PIPE, text=True)
    metrics = workdir / "metrics.jsonl"
    deadline = time.monotonic() + 240
    while not (metrics.exists() and metrics.read_text().count("\n")) and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(number)
    _, errors = process.communicate(timeout=120)
    if read_metrics(workdir)[-1]["images_seen"] < WHOLE:
        assert process.returncode == STOPPED, errors  # so that a cluster starts it again
        assert "the same command continues" in errors
    else:
        assert process.returncode == 0, errors
    last = jaxgan(*flags)
    assert last.returncode == 0, last.stderr
    (state_a, _), (state_b, _) = final_state(uninterrupted), final_state(workdir)
    for name, value in state_a.items():
        np.testing.assert_array_equal(value, state_b[name], err_msg=name)


def test_corrupt_checkpoint_falls_back_and_says_so(uninterrupted, train_flags, jaxgan, tmp_path):
    workdir = tmp_path / "run"
    assert jaxgan(*train_flags(workdir, HALF)).returncode == 0
    latest = max((workdir / "checkpoints").iterdir(), key=lambda p: int(p.name) if p.name.isdigit() else -1)
    for path in latest.rglob("*"):
        if path.is_file() and path.stat().st_size > 0:
            path.write_bytes(b"damaged" + path.read_bytes()[7:][::-1])
    again = jaxgan(*train_flags(workdir, WHOLE))
    assert again.returncode == 0, again.stderr
    assert "cannot be restored" in again.stdout + again.stderr
    assert "falling back" in again.stdout + again.stderr
    assert_same_run(uninterrupted, workdir)


def test_run_directory_is_complete(uninterrupted):
    assert {"config.json", "checkpoints", "metrics.jsonl", "samples", "report.html"} <= {
        p.name for p in uninterrupted.iterdir()
    }
    assert list(uninterrupted.glob("events.out.tfevents.*"))
    rows = read_metrics(uninterrupted)
    assert [r["images_seen"] for r in rows] == list(range(32, WHOLE + 1, 32))
    assert json.loads((uninterrupted / "config.json").read_text())["model"]["resolution"] == 8


def test_sample_and_api(uninterrupted, jaxgan, tmp_path):
    done = jaxgan(
        "sample", f"--run={uninterrupted}", "--seeds=0-4,7", "--truncation_psi=0.7", f"--out={tmp_path / 'out'}"
    )
    assert done.returncode == 0, done.stderr
    names = {p.name for p in (tmp_path / "out").iterdir()}
    assert names == {"grid.png", *(f"seed{i:04d}.png" for i in (0, 1, 2, 3, 4, 7))}
    model = load(uninterrupted)
    images = model.sample(jax.random.key(0), 3)
    assert images.shape == (3, 8, 8, 3)
    assert model.discriminate(images).shape == (3,)
    assert list(model.features(images)) == ["b8", "fc"]
    ws = model.map(np.zeros((2, 8), np.float32) + 1, truncation_psi=0.0)
    np.testing.assert_allclose(ws, np.broadcast_to(model.w_avg, ws.shape), rtol=1e-6, atol=1e-7)
    raw = load(uninterrupted, weights="raw").sample(jax.random.key(0), 3)
    assert np.abs(np.asarray(raw) - np.asarray(images)).max() > 0
