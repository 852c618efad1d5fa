"""Does a training step fit a TPU slice, and what does it say between chips? Compiled here, on a machine without any.

pip install -e '.[tpu]'   # libtpu, which compiles; no device is needed
python benchmarks/aot_tpu.py [--configs=paper256,stylegan2] [--resolution=N] [--topologies=v5e:2x4,v5e:16x16,...]
    [--config.fsdp=8 ...] [--effort=-1] [--json=FILE]

The batch of each config is that of its 8 devices, so that a slice of N chips trains N/8 times as many images a step
(weak scaling). For every program of the schedule: memory a chip, FLOPs, bytes to and from its memory, collectives. From
them, over a period of the lazy schedule, a roofline: a program takes as long as its FLOPs at the chip's peak or its
bytes at the memory's bandwidth, whichever is longer, and then, with nothing overlapped, as long as its collectives need
at half of what the chip's links send both ways. An estimate from counts of the compiler, not a measurement.

Fails, with exit code 1, if a program does not fit, or says between chips what data parallel training need not: with
fsdp=1 anything but the all-reduce of gradients and of small statistics, with fsdp>1 more than gathers of parameters and
reductions of gradients. With --json kept as it goes; the same command compiles only what is missing. The compiler is
told to try least, which takes seconds a program instead of minutes: of paper256's discriminator FLOPs and collectives
were the same, memory 5 % more.
"""

import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import jax
from absl import flags
from jax.experimental import topologies

from benchmarks import command
from benchmarks.chips import CHIPS, Chip
from benchmarks.collectives import collectives, totals
from benchmarks.train_step import per_iteration
from jaxgan import compiler, parallel
from jaxgan import config as configs
from jaxgan.cli import DEFINE_config, parse
from jaxgan.networks.build import build
from jaxgan.report import write_atomic
from jaxgan.training.programs import Layout, Programs, batch_template, layout

RESOLUTIONS = {"paper256": 256, "paper512": 512, "paper1024": 1024, "stylegan2": 1024}
PRESET_DEVICES = 8  # that the batches of configs/ are meant for
SMALL = 2**17  # bytes: statistics of a batch, sums of losses, the ends of a sharded batch

ENVIRONMENT = {  # or libtpu would ask the metadata server of a cloud for its place
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_ACCELERATOR_TYPE": "v5litepod-8",
}

FLAGS = flags.FlagValues()
flags.DEFINE_list("configs", ["paper256", "stylegan2"], "packaged configs or files", flag_values=FLAGS)
flags.DEFINE_list("topologies", ["v5e:2x4", "v5e:16x16"], "slices: KIND:CHIPS", flag_values=FLAGS)
flags.DEFINE_float("effort", -1.0, "of the compiler, -1 to 1; 0 is its own", flag_values=FLAGS)
flags.DEFINE_integer("resolution", 0, "of the images; by default what the config is named for", flag_values=FLAGS)
flags.DEFINE_string("json", "", "a file for the result", flag_values=FLAGS)
DEFINE_config(FLAGS, "not used: --configs names them; --config.FIELD=... changes a field of each")


class Slice:
    """A config on a slice: its networks, its layout and its programs, for devices that are not here."""

    def __init__(self, config: Any, resolution: int, devices: list[Any]):
        count = len(devices)
        config.batch_size = config.batch_size * count // PRESET_DEVICES
        self.config = configs.resolve(
            config,
            num_images=70_000,
            image_shape=(resolution, resolution, 3),
            num_classes=0,
            devices=count,
            backend="tpu",
        ).to_dict()
        configs.check(self.config, devices=count)
        self.gan = build(self.config["model"])
        self.place: Layout = layout(self.gan, self.config, parallel.make_mesh(self.config["fsdp"], devices))
        self.programs = Programs(self.gan, self.config, self.place)

    def measure(self, name: tuple, effort: float) -> dict[str, Any]:
        """What the compiler says of a program."""
        options = {"exec_time_optimization_effort": effort, "memory_fitting_effort": effort}
        batch = batch_template(self.config, self.gan.generator.image_shape, self.place)
        began = time.perf_counter()
        program = self.programs.lower(*name, batch).compile(compiler_options=options)
        memory, cost = program.memory_analysis(), program.cost_analysis()
        found = collectives(program)
        return {
            "program": list(name),
            "compile_seconds": time.perf_counter() - began,
            "memory": memory.argument_size_in_bytes
            + memory.temp_size_in_bytes
            + memory.output_size_in_bytes
            - memory.alias_size_in_bytes,
            "flops": cost["flops"],
            "bytes": cost["bytes accessed"],
            "collectives": totals(found),
            "unexpected": [
                f"{one.kind} of {shape}"
                for one in found
                for shape, size in one.arrays
                if not self.expected(one.kind, shape, size, name[0])
            ],
        }

    def expected(self, collective: str, shape: str, size: int, kind: str) -> bool:
        """Whether training in parallel needs it: small statistics, reductions of gradients (of layers that compute in
        bfloat16 in that), and of what is sharded the parameters."""
        gathers = ("all-gather",) if self.config["fsdp"] > 1 else ()
        if size <= SMALL:
            return True
        dims = shape.partition("[")[2].removesuffix("]")
        leaf = squeezed(map(int, dims.split(",")))
        return collective in ("all-reduce", "reduce-scatter", *gathers) and leaf in self.leaves(kind)

    def leaves(self, kind: str) -> set[tuple[int, ...]]:
        """Shapes, but for ones, of a network's parameters, of the parts of them that a chip keeps, and of what
        demodulation says of a kernel: a number an input and output channel."""
        found = set()
        networks = ("generator",) if kind == "G" else ("discriminator",)
        if self.config["fsdp"] > 1:
            networks = ("generator", "discriminator")
        for network in networks:
            shapes, shardings = (getattr(tree, network)["params"] for tree in (self.place.shapes, self.place.shardings))
            for leaf, sharding in zip(jax.tree.leaves(shapes), jax.tree.leaves(shardings)):
                for shape in (leaf.shape, sharding.shard_shape(leaf.shape)):
                    found |= {squeezed(shape)} | ({squeezed(shape[2:])} if len(shape) == 4 else set())
        return found


def squeezed(shape: Iterable[int]) -> tuple[int, ...]:
    """A shape without its ones."""
    return tuple(n for n in shape if n != 1)


def roofline(row: dict[str, Any], chip: Chip, devices: int) -> dict[str, float]:
    """Seconds of a program's products, of its memory and of its collectives."""
    moved = sum(
        # A ring sends every byte of an all-reduce twice, of the others once, but for a device's own share.
        kind["bytes"] * (2 if name == "all-reduce" else 1) * (devices - 1) / devices
        for name, kind in row["collectives"].items()
    )
    return {
        "compute": row["flops"] / chip.bf16,
        "memory": row["bytes"] / chip.bandwidth,
        "links": moved / chip.links,
    }


def summary(slice_: Slice, rows: list[dict[str, Any]], topology: str, devices: list[Any]) -> dict[str, Any]:
    """A config on a slice, over all its programs."""
    chip = CHIPS[devices[0].device_kind]
    images_a_chip = slice_.config["batch_size"] / len(devices)
    of = {tuple(row["program"]): (row, roofline(row, chip, len(devices))) for row in rows}

    def mean(amount: Callable[[dict[str, Any], dict[str, float]], float]) -> float:
        return per_iteration(slice_.config, lambda *name: amount(*of[name]))

    compute, links = mean(lambda row, times: times["compute"]), mean(lambda row, times: times["links"])
    alone = mean(lambda row, times: max(times["compute"], times["memory"]))
    return {
        "topology": topology,
        "device": devices[0].device_kind,
        "devices": len(devices),
        "batch_size": slice_.config["batch_size"],
        "memory_gb": max(row["memory"] for row in rows) / 1e9,
        "memory_of": chip.memory / 1e9,
        "tflop_an_image": mean(lambda row, times: row["flops"]) / images_a_chip / 1e12,
        "gb_an_image": mean(lambda row, times: row["bytes"]) / images_a_chip / 1e9,
        "collectives": {r["program"][0] + ("+reg" if r["program"][1] else ""): r["collectives"] for r in rows},
        "images_per_second": slice_.config["batch_size"] / (alone + links),
        "share_of_peak": compute / (alone + links),
        "bound": "memory" if compute < 0.99 * alone else "compute",
        "efficiency": alone / (alone + links),
        "faults": [
            f"{row['program']} needs {row['memory'] / 1e9:.1f} of {chip.memory / 1e9:.0f} GB"
            for row in rows
            if row["memory"] > chip.memory
        ]
        + [f"{row['program']}: {what}" for row in rows for what in row["unexpected"]],
    }


def table(results: list[dict[str, Any]]) -> str:
    """Markdown."""
    head = (
        "config | slice | batch | GB a chip (of) | TFLOP an image | GB an image | bytes reduced a step, MB | images/s"
    )
    head += " | share of peak | bound by | left after collectives"
    lines = [f"| {head} |", "|---" * (head.count("|") + 1) + "|"]
    for r in results:
        reduced = {k: sum(kind["bytes"] for kind in v.values()) / 1e6 for k, v in r["collectives"].items()}
        lines.append(
            f"| {r['config']} | {r['topology']} ({r['devices']}) | {r['batch_size']} "
            f"| {r['memory_gb']:.1f} ({r['memory_of']:.0f}) | {r['tflop_an_image']:.2f} | {r['gb_an_image']:.1f} "
            f"| {', '.join(f'{k} {v:.0f}' for k, v in reduced.items())} | {r['images_per_second']:.0f} "
            f"| {r['share_of_peak']:.0%} | {r['bound']} | {r['efficiency']:.1%} |"
        )
    return "\n".join(lines)


def main(argv: list[str]) -> None:
    """Compiles, prints, writes; exits with 1 on a fault."""
    values = parse(FLAGS, argv)
    jax.config.update("jax_platforms", "cpu")  # nothing runs; a device that may be here is left alone
    os.environ.update({name: os.environ.get(name, value) for name, value in ENVIRONMENT.items()})
    kept: dict[str, Any] = {}
    results: list[dict[str, Any]] = []
    if values.json and Path(values.json).exists():
        kept = {row["key"]: row for row in json.loads(Path(values.json).read_text())["programs"]}

    def write() -> None:
        if values.json:
            found = {"programs": list(kept.values()), "results": results}
            write_atomic(Path(values.json), (json.dumps(found, indent=1) + "\n").encode())

    for name, topology in itertools.product(values.configs, values.topologies):
        devices = list(topologies.get_topology_desc(platform="tpu", topology_name=topology).devices)
        config = configs.load(name)
        configs.override(config, values.overrides)
        about = f"{name} {' '.join(values.overrides)} {values.resolution} {topology} {values.effort}"
        with compiler.compiling_for("tpu"):
            slice_ = Slice(config, values.resolution or RESOLUTIONS[name], devices)
            programs = {f"{about} {program}": program for program in sorted(slice_.programs.variants())}
            for key in (key for key in programs if key not in kept):
                kept[key] = {"key": key} | slice_.measure(programs[key], values.effort)
                print(f"{key}: {kept[key]['compile_seconds']:.0f} s", flush=True)
                write()
        results.append({"config": name} | summary(slice_, [kept[key] for key in programs], topology, devices))
    print(table(results))
    write()
    faults = [f"{r['config']} on {r['topology']}: {fault}" for r in results for fault in r["faults"]]
    print(*faults, sep="\n")
    sys.exit(bool(faults))


if __name__ == "__main__":
    command.run(main, FLAGS, __doc__)
