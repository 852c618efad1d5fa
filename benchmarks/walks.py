"""How many frames a second do walks reach, and what do many pairs in one call gain over one pair at a time?

python benchmarks/walks.py [--runs=zoo:fashion-stylegan2,...] [--resolutions=32,64,128,256] [--channel_base=N]
    [--channel_max=512] [--kinds=linear,slerp,spline,mixing] [--pairs=16] [--frames=20] [--batch=64] [--rounds=3]
    [--json=FILE]

Generators are --runs, and at each of --resolutions a StyleGAN2 in colour of random weights, with the widths that the
library gives it by default unless --channel_base says otherwise. Kinds that a generator does not have are left out;
without --kinds each does its own, as `jaxgan walk`.

Prints frames/s from key points to uint8 pictures on the host (a spline's pairs are one walk, or one call each), the
share of that which making the latents takes, GFLOP a frame (XLA's count before it optimises), GFLOP/s (in the JSON also
their share of the device's peak where that is known), seconds of compilation, which are in no frames/s, and the peak
memory so far. Rounds alternate between pairs at once and one at a time, over all kinds of a generator; medians with
their range.
"""

import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from jax.experimental.compilation_cache import compilation_cache

from benchmarks import chips, command
from benchmarks.train_step import peak_memory_gib, ranged, spread
from benchmarks.untrained import untrained
from jaxgan.cli import parse
from jaxgan.cli.walk import KINDS, Walks, frames_ws
from jaxgan.configs import common
from jaxgan.experiment import Model, load, seeds_to_z
from jaxgan.latent.keys import Keys
from jaxgan.latent.space import has_mapping
from jaxgan.latent.walk import render
from jaxgan.networks.gan import call

ZOO = [f"zoo:fashion-{name}" for name in ("stylegan2", "stylegan", "pggan", "dcgan", "wgan-gp")]

FLAGS = flags.FlagValues()
flags.DEFINE_list("runs", ZOO, "run directories, zoo:NAME or exported files", flag_values=FLAGS)
flags.DEFINE_list("resolutions", ["32", "64", "128", "256"], "of generators of random weights", flag_values=FLAGS)
flags.DEFINE_integer("channel_base", -1, "theirs; -1: the library's rule", flag_values=FLAGS)
flags.DEFINE_integer("channel_max", 512, "theirs", flag_values=FLAGS)
flags.DEFINE_list("kinds", [], f"of {', '.join(KINDS)}; by default each generator's own", flag_values=FLAGS)
flags.DEFINE_integer("pairs", 16, "of key points", flag_values=FLAGS)
flags.DEFINE_integer("frames", 20, "from one key point to the next, both counted", flag_values=FLAGS)
flags.DEFINE_integer("batch", 64, "frames a call", flag_values=FLAGS)
flags.DEFINE_integer("rounds", 3, "alternating rounds", flag_values=FLAGS)
flags.DEFINE_string("json", "", "a file for the result", flag_values=FLAGS)


class Bench:
    """Walks of one kind through one generator; what is compiled first is timed apart."""

    def __init__(self, model: Model, kind: str, pairs: int, frames: int, batch: int):
        self.model, self.kind, self.frames, self.batch = model, kind, frames, batch
        generator = model.gan.generator
        seeds = list(range(pairs + 1))
        labels = np.arange(pairs + 1) % generator.num_classes if generator.num_classes else None
        z = seeds_to_z(seeds, generator)
        ws = model.map(jnp.asarray(z), None if labels is None else jnp.asarray(labels))
        self.keys, self.labels = Keys([str(seed) for seed in seeds], np.asarray(ws), z), labels
        self.singles = [(i, i + 1) for i in range(pairs)]
        self.together = [tuple(seeds)] if kind == "spline" else self.singles
        self.at_once_compile = self.call(self.together)["compile_seconds"]
        self.one_compile = self.call(self.singles[:1])["compile_seconds"]

    def call(self, members: list[tuple[int, ...]]) -> dict[str, float]:
        """Frames, and the seconds of their latents, of the frames and of compilation."""
        start = time.perf_counter()
        ws = frames_ws(Walks(self.kind, members, self.frames), self.keys, self.labels, self.model, 1.0)
        latents = time.perf_counter() - start
        found = render(self.model.gan.generator, self.model.variables["generator"], ws, batch=self.batch)
        count = found.frames.shape[0] * found.frames.shape[1]
        times = {"latents": latents, "seconds": latents + found.seconds, "compile_seconds": found.compile_seconds}
        return {"frames": count} | times

    def at_once(self) -> tuple[float, float]:
        """(frames/s, share of the latents) of all pairs in one call."""
        found = self.call(self.together)
        return found["frames"] / found["seconds"], found["latents"] / found["seconds"]

    def one_at_a_time(self) -> float:
        """Frames/s of a call a pair."""
        found = [self.call([pair]) for pair in self.singles]
        return sum(f["frames"] for f in found) / sum(f["seconds"] for f in found)

    def flops(self) -> float:
        """XLA's count for a frame."""
        generator, ws = self.model.gan.generator, self.keys.ws[:1]
        draw = jax.jit(lambda variables, ws: call(generator, variables, ws, "const", method="synthesize"))
        return draw.lower(self.model.variables["generator"], ws).cost_analysis()["flops"]


def kinds_of(model: Model, asked: list[str]) -> list[str]:
    """Those of the kinds that a generator has; its own where none is asked for."""
    generator = model.gan.generator
    if not asked:
        return ["linear" if has_mapping(generator) else "slerp"]
    return [kind for kind in asked if kind != "mixing" or generator.num_ws > 1]


def measure(name: str, model: Model, values: Any) -> list[dict[str, Any]]:
    """A row a kind."""
    sizes = values.pairs, values.frames, values.batch
    benches = [Bench(model, kind, *sizes) for kind in kinds_of(model, values.kinds)]
    found: list[tuple[list, list, list]] = [([], [], []) for _ in benches]
    for _ in range(values.rounds):
        for bench, (at_once, one, shares) in zip(benches, found):
            rate, share = bench.at_once()
            at_once.append(rate)
            shares.append(share)
            one.append(bench.one_at_a_time())
    kind, rows = jax.devices()[0].device_kind, []
    for bench, (at_once, one, shares) in zip(benches, found):
        speed = bench.flops() * statistics.median(at_once)
        row = {"generator": name, "model": model.config.model.to_dict(), "kind": bench.kind, "pairs": values.pairs}
        row |= {"frames": values.frames, "batch": values.batch, "device": f"{jax.device_count()} x {kind}"}
        row |= {"frames_per_second": spread(at_once), "one_pair_frames_per_second": spread(one)}
        row |= {"gain": spread([a / b for a, b in zip(at_once, one)]), "latents_share": spread(shares)}
        row |= {"gflop_per_frame": bench.flops() / 1e9, "gflops": speed / 1e9}
        row |= {"share_of_peak": chips.share_of_peak(speed, model.config.model.dtype)}
        row |= {"compile_seconds": bench.at_once_compile, "one_pair_compile_seconds": bench.one_compile}
        rows.append(row | {"peak_memory_gib": peak_memory_gib()})
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    names = ["generator", "kind", "pairs x frames", "all pairs at once, frames/s, median (range)"]
    names += ["one pair at a time", "gain", "latents' share", "GFLOP a frame", "GFLOP/s", "compile, s"]
    names += ["peak memory so far, GiB"]
    lines = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    for row in rows:
        at_once, one, gain = (row[k] for k in ("frames_per_second", "one_pair_frames_per_second", "gain"))
        lines.append(
            f"| {row['generator']} | {row['kind']} | {row['pairs']} x {row['frames']} | {ranged(at_once)} | "
            f"{ranged(one)} | {ranged(gain)} | {row['latents_share']['median']:.2g} | {row['gflop_per_frame']:.3g} | "
            f"{row['gflops']:.3g} | {row['compile_seconds']:.1f} | {row['peak_memory_gib']:.2g} |"
        )
    return "\n".join(lines)


def random_stylegan2(resolution: int, channel_base: int, channel_max: int) -> Model:
    """A StyleGAN2 in colour."""
    config = common.stylegan2()
    config.model.channel_base, config.model.channel_max = channel_base, channel_max
    return untrained(config, (resolution, resolution, 3))


def main(argv: list[str]) -> None:
    """Parses the flags, measures, prints."""
    values = parse(FLAGS, argv)
    widths = values.channel_base, values.channel_max
    makers = {name: lambda name=name: load(name) for name in values.runs}
    for side in map(int, values.resolutions):
        makers[f"StyleGAN2, {side} px"] = lambda side=side: random_stylegan2(side, *widths)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)  # each call of a pair would compile again
    rows = []
    for name, make in makers.items():
        with tempfile.TemporaryDirectory() as cold:  # an empty cache: compilation is timed as a first start sees it
            jax.config.update("jax_compilation_cache_dir", cold)
            compilation_cache.reset_cache()  # the folder of the generator before is gone
            found = measure(name, make(), values)
        rows += found
        print(table(found), flush=True)
    print(f"\n{chips.device()}\n{table(rows)}")
    if values.json:
        Path(values.json).write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    command.run(main, FLAGS, __doc__)
