"""How many images a minute can be inverted, and what does a batch gain over one image at a time?

python benchmarks/inversion.py [--run=zoo:fashion-stylegan2 | --config=emoji [--config.model.channel_base=8192 ...]]
    [--spaces=z,w,w+] [--losses=pixel,conv,lpips,gram,hog,realism,projector,projector-vgg16] [--batches=1,8,32,128]
    [--steps=1000] [--rounds=3] [--peer='COMMAND'] [--json=FILE]

For each space, loss and batch: images/s and seconds/image of an inversion of so many steps (from the time of a step,
which does not depend on the images), seconds of compilation, model FLOP/s (and their share of the device's peak where
that is known), memory of the program, and the gain over the batch of one. Rounds alternate between batches; medians
with their range.

--config takes a generator of random weights. "projector" is the job of configs/invert_projector.py: noise maps are
optimised too. "projector-vgg16" is the same on LPIPS's VGG16, of random weights, at the images' own size: what NVIDIA's
program computes, where ST-LPIPS's VGG blurs as it pools and sees images of less than 64 px enlarged to that.

--peer runs another program's loop in the same rounds: a command that prints, as the last line, JSON with
"images_per_second" for the same number of steps.
"""

import dataclasses
import json
import statistics as stats
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from absl import flags

from benchmarks import chips, command
from benchmarks.metrics import network
from benchmarks.train_step import peer, ranged, spread
from benchmarks.untrained import untrained
from jaxgan import config as configs
from jaxgan.cli import DEFINE_config, parse
from jaxgan.data.sources import open_images
from jaxgan.experiment import Model, load
from jaxgan.latent import starts
from jaxgan.latent.objectives import make_objective
from jaxgan.latent.optimise import Program, Settings, compile_chunk, start_carry
from jaxgan.latent.optimisers import make_optimiser
from jaxgan.latent.space import Statistics
from jaxgan.latent.spaces import make_space, statistics

LOSSES = {  # the weights that differ from those of the config
    "pixel": {"l1": 10.0, "conv": 0.0},
    "conv": {"l1": 10.0, "conv": 30.0},
    "lpips": {"l1": 0.0, "conv": 0.0, "lpips": 1.0},
    "gram": {"l1": 10.0, "conv": 0.0, "gram": 1.0},
    "hog": {"l1": 10.0, "conv": 0.0, "hog": 10.0},
    "realism": {"l1": 10.0, "conv": 0.0, "realism": 0.01, "prior": 0.01},
    "projector": {},
    "projector-vgg16": {},
}

FLAGS = flags.FlagValues()
flags.DEFINE_string("run", "zoo:fashion-stylegan2", "a run directory, zoo:NAME or a file", flag_values=FLAGS)
DEFINE_config(FLAGS, "whose generator, of random weights, instead of --run's")
flags.DEFINE_list("spaces", ["z", "w", "w+"], "latent spaces", flag_values=FLAGS)
flags.DEFINE_list("losses", ["pixel", "conv"], f"of {', '.join(LOSSES)}", flag_values=FLAGS)
flags.DEFINE_list("batches", ["1", "8", "32", "128"], "images at a time", flag_values=FLAGS)
flags.DEFINE_integer("steps", 1000, "of an inversion", flag_values=FLAGS)
flags.DEFINE_integer("chunk", 10, "steps of a compiled call", flag_values=FLAGS)
flags.DEFINE_integer("image_steps", 0, "steps times images of one at most; 0: any number", flag_values=FLAGS)
flags.DEFINE_integer("rounds", 3, "alternating rounds", flag_values=FLAGS)
flags.DEFINE_string("peer", "", "another program's loop to measure in the same rounds", flag_values=FLAGS)
flags.DEFINE_string("json", "", "a file for the result", flag_values=FLAGS)


class Bench:
    """One space, loss and batch, compiled, with latents that the measurements go on optimising."""

    def __init__(self, model: Model, made: Statistics, space: str, loss: str, batch: int, values: Any):
        config = configs.load("invert_projector" if loss.startswith("projector") else "invert")
        config.space = space
        config.weights.update(LOSSES[loss])
        generator, discriminator = model.variables["generator"], model.variables.get("discriminator")
        self.objective, self.variables = make_objective(
            make_space(space, model.gan.generator), model.gan, config.to_dict(), generator, discriminator, made
        )
        if loss == "projector-vgg16":
            net = network("lpips-vgg")
            static = dataclasses.replace(net, smallest=0).static()
            self.objective = dataclasses.replace(self.objective, lpips=static)
            self.variables["lpips"] = jax.device_put(net.params)
        self.keys = jax.random.split(jax.random.key(0), batch)
        images = model.sample(jax.random.key(1), batch)
        latent = starts.at_mean(self.objective, self.variables, self.keys)
        self.target = jax.jit(lambda v, x, s: self.objective.make_target(v, x, s))(self.variables, images, latent)
        chunk = min(values.chunk, max(values.image_steps // batch, 2)) if values.image_steps else values.chunk
        after_step = self.objective.after_step if self.objective.noise_maps else None
        program = Program(self.objective, make_optimiser(config.optimizer.to_dict()), after_step, chunk)
        self.settings = jax.tree.map(jnp.float32, Settings(1e9))
        start = time.perf_counter()
        self.run = compile_chunk(program, self.variables, latent, self.target, self.keys, Settings(1e9))
        self.compile_seconds = time.perf_counter() - start
        self.carry = start_carry(program, latent)
        self.batch, self.chunk = batch, chunk
        self.step_seconds()  # no first call is timed

    def step_seconds(self, least: float = 0.5) -> float:
        """Seconds a step, over at least so many seconds."""
        start, chunks = time.perf_counter(), 0
        while time.perf_counter() - start < least:
            self.carry, _ = self.run(self.variables, self.carry, self.target, self.keys, self.settings)
            jax.block_until_ready(self.carry)
            chunks += 1
        return (time.perf_counter() - start) / (chunks * self.chunk)

    def flops(self) -> float:
        """XLA's count for a step; it counts the body of a loop once."""
        return self.run.cost_analysis()["flops"]

    def memory_gib(self) -> float:
        """What the program takes beside its arguments."""
        return self.run.memory_analysis().temp_size_in_bytes / 2**30


def measure(model: Model, made: Statistics, space: str, loss: str, values: Any) -> list[dict[str, Any]]:
    """A row a batch."""
    benches = [Bench(model, made, space, loss, int(batch), values) for batch in values.batches]
    times: dict[int, list[float]] = {bench.batch: [] for bench in benches}
    theirs = []
    for _ in range(values.rounds):
        for bench in benches:
            times[bench.batch].append(bench.step_seconds())
        if values.peer:
            theirs.append(peer(values.peer))
    rows = []
    single = stats.median(times[benches[0].batch]) / benches[0].batch
    for bench in benches:
        rates = [bench.batch / (t * values.steps) for t in times[bench.batch]]
        step = stats.median(times[bench.batch])
        row = {
            "space": space,
            "loss": loss,
            "batch": bench.batch,
            "chunk": bench.chunk,
            "images_per_second": spread(rates),
        }
        row |= {"seconds_per_image": step * values.steps / bench.batch, "seconds_per_batch": step * values.steps}
        row |= {
            "gain_over_one": single / (step / bench.batch),
            "gflop_per_image_step": bench.flops() / bench.batch / 1e9,
        }
        row |= {"gflops": bench.flops() / step / 1e9}
        row |= {"share_of_peak": chips.share_of_peak(bench.flops() / step, "float32")}
        row |= {"compile_seconds": bench.compile_seconds, "memory_gib": bench.memory_gib()}
        if theirs:
            peers = [found["images_per_second"] for found in theirs]
            row |= {"peer_images_per_second": spread(peers), "peer": theirs}
            row["ratio_to_peer"] = spread([a / b for a, b in zip(rates, peers)])
        rows.append(row)
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    names = ["space", "loss", "batch", "images/s, median (range)", "s an image", "gain over one", "GFLOP/s"]
    names += ["compile, s", "GiB"]
    names += ["the peer, images/s", "times the peer"] if any("peer" in row for row in rows) else []
    lines = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    for row in rows:
        lines.append(
            f"| {row['space']} | {row['loss']} | {row['batch']} | {ranged(row['images_per_second'])} | "
            f"{row['seconds_per_image']:.3g} | {row['gain_over_one']:.2f} | {row['gflops']:.3g} | "
            f"{row['compile_seconds']:.1f} | {row['memory_gib']:.2g} |"
        )
        if "peer" in row:
            lines[-1] += f" {ranged(row['peer_images_per_second'])} | {ranged(row['ratio_to_peer'])} |"
    return "\n".join(lines)


def open_model(values: Any) -> Model:
    """The model of --run, or one of random weights for --config."""
    if values.config is None:
        return load(values.run)
    config = configs.load(values.config)
    configs.override(config, values.overrides)
    images = open_images(config.data.source, split=config.data.split)
    return untrained(config, (*images.resolution, images.channels))


def main(argv: list[str]) -> None:
    """Parses the flags, measures, prints."""
    values = parse(FLAGS, argv)
    model = open_model(values)
    made = statistics(model.gan.generator, model.variables["generator"])
    rows = []
    for space in values.spaces:
        for loss in values.losses:
            rows += measure(model, made, space, loss, values)
            print(table(rows[-len(values.batches) :]), flush=True)
    device = chips.device()
    print(f"\n{values.steps} steps; {model!r}; {device}\n{table(rows)}")
    if values.json:
        found = {"device": device, "model": repr(model), "config": model.config.model.to_dict(), "rows": rows}
        Path(values.json).write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    command.run(main, FLAGS, __doc__)
