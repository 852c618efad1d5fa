"""What does a run spend beside its compiled steps: in the loop, in saving, until its first step?

python benchmarks/loop.py [--config=quickstart --config.FIELD=...] [--kimg=20] [--rounds=5] [--starts=2] [--json=FILE]

- "loop": images/s of `jaxgan train` (input, metrics, pictures and checkpoints of every tick counted, but not its first
  tick) against the same compiled programs called in a row on data that is on the device, in alternating rounds;
- "save": how long a checkpoint of the state keeps the loop from going on, until it is on the disk, and to restore,
  beside the time of an iteration;
- "start": seconds from the command to the first row of metrics, with an empty compilation cache and with that cache.

Medians with their range.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
from absl import flags

from benchmarks import chips, command
from benchmarks.train_step import Bench, spread, table
from jaxgan import config as configs
from jaxgan import experiment
from jaxgan.checkpoint import Checkpoints, state_bytes
from jaxgan.cli import DEFINE_config, enable_compilation_cache, parse
from jaxgan.cli.train import complete
from jaxgan.data.sources import open_images
from jaxgan.training import growth
from jaxgan.training.loop import train
from jaxgan.training.watch import read_metrics

FLAGS = flags.FlagValues()
DEFINE_config(FLAGS, "what to train")
flags.DEFINE_float("kimg", 20.0, "thousand images of the loop in a round", flag_values=FLAGS)
flags.DEFINE_integer("rounds", 5, "alternating rounds", flag_values=FLAGS)
flags.DEFINE_integer("starts", 2, "starts of each kind", flag_values=FLAGS)
flags.DEFINE_string("json", "", "a file for the result", flag_values=FLAGS)


def loop_rate(config: dict[str, Any], images: Any) -> tuple[float, float]:
    """(images/s, seconds) of a run, from the end of its first tick to its own end."""
    with tempfile.TemporaryDirectory() as folder:
        workdir = Path(folder) / "run"
        with experiment.claimed(workdir, configs.ConfigDict(config)):
            train(config, images, workdir)
        rows = read_metrics(workdir)
    seconds = rows[-1]["seconds"] - rows[0]["seconds"]
    return (rows[-1]["images_seen"] - rows[0]["images_seen"]) / seconds, seconds


def looped(bench: Bench, images: Any, kimg: float, rounds: int) -> dict[str, Any]:
    """The loop against the bare programs."""
    config = bench.config | {"total_kimg": kimg}
    bench.train(1e-6)
    bare, loop = [], []
    for _ in range(rounds):
        rate, seconds = loop_rate(config, images)
        loop.append(rate)
        bare.append(bench.train(seconds))
    return {
        "loop_images_per_second": spread(loop),
        "bare_images_per_second": spread(bare),
        "overhead": spread([b / a - 1 for a, b in zip(loop, bare)]),
    }


def saved(bench: Bench, rounds: int) -> dict[str, Any]:
    """Saves between iterations, as the loop makes them."""
    blocked, written, restored = [], [], []
    with tempfile.TemporaryDirectory() as folder, Checkpoints(folder) as checkpoints:
        for number in range(rounds + 1):
            jax.block_until_ready(bench.state)
            start = time.perf_counter()
            checkpoints.save(number, bench.state, {})
            blocked.append(time.perf_counter() - start)
            bench.train(1e-6)  # donates the state that is being written
            checkpoints.wait()
            written.append(time.perf_counter() - start)
            start = time.perf_counter()
            jax.block_until_ready(checkpoints.restore(lambda meta: bench.stage.place.template)[1])
            restored.append(time.perf_counter() - start)
    halves = bench.halves()
    return {
        "state_mib": state_bytes(bench.stage.place.shapes) / 2**20,
        "iteration_seconds": sum(v for k, v in halves.items() if k in ("G", "D")) or min(halves.values()),
        "save_blocks_seconds": spread(blocked[1:]),  # the first one imports and compiles
        "save_written_seconds": spread(written[1:]),
        "restore_seconds": spread(restored[1:]),
    }


def started(config: str, overrides: list[str], starts: int) -> dict[str, Any]:
    """Starts of the command, each in a folder of its own."""
    cold, warm = [], []
    for _ in range(starts):
        with tempfile.TemporaryDirectory() as cache:
            for found in (cold, warm):
                found.append(first_row(config, overrides, cache))
    return {"cold_start_seconds": spread(cold), "warm_start_seconds": spread(warm)}


def first_row(config: str, overrides: list[str], cache: str) -> float:
    """Seconds until the first iteration is done and its numbers are on the disk."""
    flags_ = [f"--config.{text}" for text in [*overrides, "tick_kimg=0.001", "total_kimg=1000.0"]]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "jaxgan", "train", f"--config={config}", *flags_, f"--workdir={folder}/run"]
        environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": cache}
        start, metrics = time.perf_counter(), Path(folder) / "run" / "metrics.jsonl"
        with open(Path(folder) / "log", "w") as log:
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
            while not (metrics.exists() and metrics.stat().st_size) and process.poll() is None:
                time.sleep(0.01)
            seconds = time.perf_counter() - start
            failed = process.poll() is not None
            process.kill()
            process.wait()
        if failed:
            sys.exit(f"the run failed: {(Path(folder) / 'log').read_text().strip().splitlines()[-1]}")
    return seconds


def main(argv: list[str]) -> None:
    """Measures, prints, writes."""
    values = parse(FLAGS, argv)
    enable_compilation_cache()
    name = values.config or "quickstart"
    config = configs.load(name)
    configs.override(config, values.overrides)
    images = open_images(config.data.source, split=config.data.split)
    completed = complete(config, images).to_dict()
    bench = Bench(completed, images, growth.phases(completed, sys.maxsize)[-1])
    result = {
        "config": name,
        "overrides": values.overrides,
        "device": chips.device(),
        "batch_size": bench.config["batch_size"],
        **looped(bench, images, values.kimg, values.rounds),
        **saved(bench, values.rounds),
        **(started(name, values.overrides, values.starts) if values.starts else {}),
    }
    print(table(result))
    if values.json:
        Path(values.json).write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    command.run(main, FLAGS, __doc__)
