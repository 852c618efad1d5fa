"""How many images a second does training reach?

python benchmarks/train_step.py --config=quickstart [--config.batch_size=64 ...] [--level=N|all] [--rounds=5]
    [--seconds=5] [--peer='COMMAND'] [--json=FILE]

Prints images/s, s/kimg, model FLOP/s and bytes moved by XLA's counts (and their shares of what the device can do where
that is known), peak memory, seconds of compilation, the time of each half of the step, and the throughput with the
input pipeline against data that is already on the device. Everything is measured in alternating rounds; medians are
given with their range.

--level picks the phase of a network that grows (0: 4 px, 1: 8 px fading in, 2: 8 px ...; the last one by default).

--peer runs another program's step in the same rounds, for a comparison on the same machine at the same time: a command
that prints, as the last line, JSON with "amortised_images_per_s" (and, if it likes, "conv_gflops", the bare rate of its
3x3 convolution).
"""

import json
import resource
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from jax.experimental.compilation_cache import compilation_cache

from benchmarks import command
from benchmarks.chips import share_of_bandwidth, share_of_peak
from jaxgan import compiler
from jaxgan import config as configs
from jaxgan.cli import DEFINE_config, parse
from jaxgan.cli.train import complete
from jaxgan.data.sources import open_images
from jaxgan.ops.conv import conv
from jaxgan.training import growth
from jaxgan.training.programs import fresh_state, program_names, schedule
from jaxgan.training.stage import Stage, device_batches

FLAGS = flags.FlagValues()
DEFINE_config(FLAGS, "what to train")
flags.DEFINE_integer("rounds", 5, "alternating rounds", flag_values=FLAGS)
flags.DEFINE_float("seconds", 5.0, "of each measurement in a round", flag_values=FLAGS)
flags.DEFINE_string("level", "", "of a growing network, or all", flag_values=FLAGS)
flags.DEFINE_string("peer", "", "another program's step to measure in the same rounds", flag_values=FLAGS)
flags.DEFINE_string("json", "", "a file for the result", flag_values=FLAGS)


class Bench:
    """A phase of a config, compiled, with a state that the measurements go on training."""

    def __init__(self, config: Any, images: Any, phase: growth.Phase):
        self.stage = Stage(config, images, phase)
        self.config, self.programs = self.stage.config, self.stage.programs
        self.state = fresh_state(self.stage.gan, self.config, self.stage.place)
        with self.input() as data:
            self.batch = next(data)
        start = time.perf_counter()
        self.stage.compile(0)
        self.compile_seconds = time.perf_counter() - start
        self.step = 0

    def input(self) -> Any:
        """Batches through the pipeline, as training reads them."""
        return closing(device_batches(self.config, self.stage.images, self.stage.place))

    def train(self, seconds: float, data: Any = None) -> float:
        """Images a second over whole periods of the lazy schedule; resident data where `data` is None."""
        period, critic_steps = period_of(self.config), self.config["loss"]["critic_steps"]
        start, images, pending = time.perf_counter(), 0, None
        while time.perf_counter() - start < seconds:
            while True:
                _, _, count = schedule(self.step, self.config)
                chunk = tuple(self.batch if data is None else next(data) for _ in range(count * critic_steps))
                self.state, metrics = self.programs.run(self.step, self.state, chunk)
                if pending is not None:
                    jax.block_until_ready(pending)
                pending, self.step = metrics, self.step + count
                images += len(chunk) * self.config["batch_size"]
                if self.step % period == 0:
                    break
        jax.block_until_ready(self.state)
        return images / (time.perf_counter() - start)

    def halves(self, repeats: int = 5) -> dict[str, float]:
        """Median seconds of each program, one at a time."""
        times = {}
        for kind, variant in sorted(self.programs.variants()):
            program = self.programs.executable(kind, variant)
            chunk = (self.batch,) * (self.config["loss"]["critic_steps"] * (variant if kind == "plain" else 1))
            spent = []
            for _ in range(repeats):
                start = time.perf_counter()
                self.state, _ = program(self.state, chunk)
                jax.block_until_ready(self.state)
                spent.append(time.perf_counter() - start)
            times[f"{kind}{'+reg' if variant is True else '' if variant is False else variant}"] = statistics.median(
                spent
            )
        return times

    def per_image(self, counted: str) -> float | None:
        """XLA's count ("flops", "bytes accessed") for one period of the schedule, by its images; None where loops
        within loops hide it."""
        loss = self.config["loss"]
        if self.config["steps_per_dispatch"] > 1 and loss["critic_steps"] > 1:
            return None

        def count(*name: Any) -> float:
            return self.programs.executable(*name).cost_analysis()[counted] * self.rounds_of(*name)

        # XLA counts what one device does.
        images = self.config["batch_size"] * loss["critic_steps"]
        return per_iteration(self.config, count) * jax.device_count() / images

    def rounds_of(self, kind: str, variant: bool | int) -> int:
        """How often a program runs the loop that it is; XLA counts a loop's body once."""
        return variant if kind == "plain" else self.config["loss"]["critic_steps"] if kind == "D" else 1


def period_of(config: Mapping[str, Any]) -> int:
    """Iterations after which the lazy schedule repeats."""
    return int(np.lcm(config["loss"]["pl_interval"], config["loss"]["r1_interval"]))


def per_iteration(config: Mapping[str, Any], amount: Callable[..., float]) -> float:
    """What the programs of an iteration amount to, `amount(kind, variant)` each: the mean over a period."""
    step, total = 0, 0.0
    while step < period_of(config):
        greg, dreg, count = schedule(step, config)
        total += sum(amount(*name) for name in program_names(greg, dreg, count))
        step += count
    return total / step


def bare_convolution() -> float:
    """GFLOP/s of one 3x3 convolution, [16, 32, 32, 64] to 64 channels, float32: what the backend gives at best here."""
    x, w = jnp.ones((16, 32, 32, 64)), jnp.ones((3, 3, 64, 64))
    run = compiler.jit(lambda x, w: conv(x, w, padding=1))
    run(x, w).block_until_ready()
    spent = []
    for _ in range(20):
        start = time.perf_counter()
        run(x, w).block_until_ready()
        spent.append(time.perf_counter() - start)
    return 2 * 16 * 32 * 32 * 64 * 64 * 9 / statistics.median(spent) / 1e9


def peer(command: str) -> dict[str, Any]:
    """One run of the other program."""
    done = subprocess.run(shlex.split(command), capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"--peer failed: {done.stderr.strip().splitlines()[-1:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def spread(values: list[float]) -> dict[str, float]:
    """Median, minimum and maximum."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def ranged(values: dict[str, float]) -> str:
    """What `spread` found, for a cell of a table."""
    return f"{values['median']:.3g} ({values['min']:.3g} to {values['max']:.3g})"


def peak_memory_gib() -> float:
    """Of the device where it says so, else of this process."""
    stats = jax.devices()[0].memory_stats() or {}
    return stats.get("peak_bytes_in_use", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024) / 2**30


def measure(bench: Bench, rounds: int, seconds: float, command: str) -> dict[str, Any]:
    """Alternating rounds of resident data, the input pipeline and the peer."""
    kind = jax.devices()[0].device_kind
    found: dict[str, list[float]] = {"resident": [], "pipeline": [], "peer": [], "conv": [], "peer_conv": []}
    bench.train(1e-6)  # one period of the schedule, so that no first call is timed
    for _ in range(rounds):
        found["conv"].append(bare_convolution())
        found["resident"].append(bench.train(seconds))
        with bench.input() as data:
            next(data)
            found["pipeline"].append(bench.train(seconds, data))
        if command:
            theirs = peer(command)
            found["peer"].append(theirs["amortised_images_per_s"])
            found["peer_conv"] += [theirs["conv_gflops"]] if "conv_gflops" in theirs else []
    rate = statistics.median(found["resident"])
    flops, moved = bench.per_image("flops"), bench.per_image("bytes accessed")
    dtype = bench.config["model"]["dtype"]
    result = {
        "device": f"{jax.device_count()} x {kind}",
        "batch_size": bench.config["batch_size"],
        "dtype": dtype,
        "images_per_second": spread(found["resident"]),
        "seconds_per_kimg": 1000 / rate,
        "with_input_pipeline": spread(found["pipeline"]),
        "pipeline_share": spread([p / r for p, r in zip(found["pipeline"], found["resident"])]),
        "program_seconds": bench.halves(),
        "gflop_per_image": flops and flops / 1e9,
        "model_tflops": flops and flops * rate / 1e12,
        "share_of_peak": share_of_peak(flops and flops * rate, dtype),
        "gb_moved_per_image": moved and moved / 1e9,
        "share_of_bandwidth": share_of_bandwidth(moved and moved * rate),
        "compile_seconds": bench.compile_seconds,
        "peak_memory_gib": peak_memory_gib(),
        "bare_conv_gflops": spread(found["conv"]),
    }
    if command:
        result["peer_images_per_second"] = spread(found["peer"])
        result["ratio_to_peer"] = spread([a / b for a, b in zip(found["resident"], found["peer"])])
        if found["peer_conv"]:
            result["peer_bare_conv_gflops"] = spread(found["peer_conv"])
    return result


def table(result: dict[str, Any]) -> str:
    """The result, a line each."""

    def text(value: Any) -> str:
        if isinstance(value, dict) and set(value) == {"median", "min", "max"}:
            return f"{value['median']:.4g}   ({value['min']:.4g} to {value['max']:.4g})"
        if isinstance(value, dict):
            return ", ".join(f"{k} {v * 1000:.1f} ms" for k, v in value.items())
        return "unknown" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)

    return "\n".join(f"{name.replace('_', ' '):26s} {text(value)}" for name, value in result.items())


def main(argv: list[str]) -> None:
    """Parses the flags, measures, prints."""
    values = parse(FLAGS, argv)
    config = configs.load(values.config or "quickstart")
    configs.override(config, values.overrides)
    images = open_images(config.data.source, split=config.data.split)
    config, found = complete(config, images).to_dict(), []
    for phase in chosen_phases(config, values.level):
        with tempfile.TemporaryDirectory() as cold:  # an empty cache: compilation is timed as a first start sees it
            jax.config.update("jax_compilation_cache_dir", cold)
            compilation_cache.reset_cache()  # the folder of the phase before is gone
            result = measure(Bench(config, images, phase), values.rounds, values.seconds, values.peer)
        level = {} if phase.level is None else {"level": phase.level}
        found.append({"config": values.config or "quickstart", "overrides": values.overrides} | level | result)
        print(table(found[-1]), end="\n\n", flush=True)
    if values.json:
        Path(values.json).write_text(json.dumps(found, indent=2) + "\n")


def chosen_phases(config: dict[str, Any], level: str) -> list[growth.Phase]:
    """The phases of --level."""
    phases = growth.phases(config, sys.maxsize)
    if level == "all" or not level:
        return phases if level else phases[-1:]
    chosen = [p for p in phases if str(p.level) == level]
    if not chosen:
        sys.exit(f"--level={level}: this config has {', '.join(str(p.level) for p in phases)}")
    return chosen


if __name__ == "__main__":
    command.run(main, FLAGS, __doc__)
