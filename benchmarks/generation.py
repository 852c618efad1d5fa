"""How many images a second does a generator make?

python benchmarks/generation.py [--resolutions=32,64] [--channel_base=16384] [--channel_max=512] [--batches=1,16,64]
    [--rounds=3] [--seconds=2] [--peer='COMMAND {resolution} {batch}'] [--json=FILE]

StyleGAN2 in colour with eight mapping layers and random weights: z to images on the device, constant noise. A row a
resolution and batch: images/s, model FLOP/s (and their share of the device's peak where that is known), seconds of
compilation. Rounds alternate between batches and the peer; medians with their range.

--peer runs another program in the same rounds: a command, in which {resolution} and {batch} are filled in, that prints,
as the last line, JSON with "images_per_second" and, if it likes, "conv_gflops", the bare rate of its 3x3 convolution.
"""

import json
import statistics
import time
from pathlib import Path
from typing import Any

import jax
from absl import flags

from benchmarks import chips, command
from benchmarks.train_step import bare_convolution, peer, ranged, spread
from benchmarks.untrained import untrained
from jaxgan import compiler
from jaxgan.cli import parse
from jaxgan.configs import common
from jaxgan.experiment import Model
from jaxgan.networks.gan import call, draw_z

FLAGS = flags.FlagValues()
flags.DEFINE_list("resolutions", ["32", "64"], "pixels", flag_values=FLAGS)
flags.DEFINE_integer("channel_base", 16384, "of the generators", flag_values=FLAGS)
flags.DEFINE_integer("channel_max", 512, "of the generators", flag_values=FLAGS)
flags.DEFINE_list("batches", ["1", "16", "64"], "images a call", flag_values=FLAGS)
flags.DEFINE_integer("rounds", 3, "alternating rounds", flag_values=FLAGS)
flags.DEFINE_float("seconds", 2.0, "of each measurement in a round", flag_values=FLAGS)
flags.DEFINE_string("peer", "", "another program to measure in the same rounds", flag_values=FLAGS)
flags.DEFINE_string("json", "", "a file for the result", flag_values=FLAGS)


class Bench:
    """A generator and a batch, compiled."""

    def __init__(self, model: Model, batch: int):
        generator, self.batch = model.gan.generator, batch
        self.variables = model.variables["generator"]
        self.z = draw_z(generator, jax.random.key(0), batch)
        make = compiler.jit(lambda variables, z: call(generator, variables, z, None, "const"))
        start = time.perf_counter()
        self.program = make.lower(self.variables, self.z).compile()
        self.compile_seconds = time.perf_counter() - start
        self.rate(0.0)  # no first call is timed

    def rate(self, seconds: float) -> float:
        """Images/s of calls one after the other."""
        start, calls = time.perf_counter(), 0
        while not calls or time.perf_counter() - start < seconds:
            jax.block_until_ready(self.program(self.variables, self.z))
            calls += 1
        return calls * self.batch / (time.perf_counter() - start)


def measure(side: int, values: Any) -> list[dict[str, Any]]:
    """A row a batch."""
    config = common.stylegan2()
    config.model.channel_base, config.model.channel_max = values.channel_base, values.channel_max
    model, rows = untrained(config, (side, side, 3)), []
    for batch in map(int, values.batches):
        bench, rates, theirs = Bench(model, batch), [], []
        convolutions: tuple[list[float], list[float]] = ([], [])
        for _ in range(values.rounds):
            convolutions[0].append(bare_convolution())
            rates.append(bench.rate(values.seconds))
            if values.peer:
                found = peer(values.peer.format(resolution=side, batch=batch))
                theirs.append(found["images_per_second"])
                convolutions[1].extend([found["conv_gflops"]] if "conv_gflops" in found else [])
        flops = bench.program.cost_analysis()["flops"] * jax.device_count() / batch
        speed = flops * statistics.median(rates)
        row = {
            "resolution": side,
            "batch": batch,
            "dtype": model.config.model.dtype,
            "images_per_second": spread(rates),
            "gflop_per_image": flops / 1e9,
            "gflops": speed / 1e9,
            "share_of_peak": chips.share_of_peak(speed, model.config.model.dtype),
            "compile_seconds": bench.compile_seconds,
            "bare_conv_gflops": spread(convolutions[0]),
        }
        if theirs:
            row |= {"peer_images_per_second": spread(theirs)}
            row |= {"ratio_to_peer": spread([a / b for a, b in zip(rates, theirs)])}
            row |= {"peer_bare_conv_gflops": spread(convolutions[1])} if convolutions[1] else {}
        rows.append(row)
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""

    def shown(row: dict[str, Any], name: str) -> str:
        return ranged(row[name]) if name in row else ""

    ranges = {"images/s, median (range)": "images_per_second", "bare 3x3 convolution, GFLOP/s": "bare_conv_gflops"}
    if any("ratio_to_peer" in row for row in rows):
        ranges |= {"the peer, images/s": "peer_images_per_second", "times the peer": "ratio_to_peer"}
        ranges |= {"its bare convolution": "peer_bare_conv_gflops"}
    head = ["resolution", "batch", "GFLOP an image", "GFLOP/s", "compilation, s", *ranges]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for row in rows:
        cells = [f"{row['resolution']} px", str(row["batch"]), f"{row['gflop_per_image']:.3g}"]
        cells += [f"{row['gflops']:.3g}", f"{row['compile_seconds']:.1f}", *(shown(row, n) for n in ranges.values())]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(argv: list[str]) -> None:
    """Measures, prints, writes."""
    values, rows = parse(FLAGS, argv), []
    for side in map(int, values.resolutions):
        rows += measure(side, values)
    device = chips.device()
    print(f"{device}\n{table(rows)}")
    if values.json:
        Path(values.json).write_text(json.dumps({"device": device, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    command.run(main, FLAGS, __doc__)
