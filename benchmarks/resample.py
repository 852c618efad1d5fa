"""Which form of a resampling convolution is fastest on this device?

python benchmarks/resample.py [--shapes=16x16x16x64,16x64x64x128,...] [--dtypes=float32,bfloat16] [--rounds=5]
    [--json=FILE]

For each form of `jaxgan.ops.resample`, for doubling and halving: milliseconds of the convolution, with its gradient by
picture and kernel, and with the gradient of that gradient's norm, as R1 and the path length take it. Shapes are of the
small side: images x height x width x channels. Forms take turns; medians over the rounds. `default_form` should be the
one that is best in the shapes that take the time: the last ones.
"""

import functools
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from absl import flags

from benchmarks import chips, command
from jaxgan import compiler
from jaxgan.cli import parse
from jaxgan.ops.resample import FORMS, downsample_conv, upsample_conv

WAYS = {"up": upsample_conv, "down": downsample_conv}
CALLS = 5  # in a row, of one measurement

FLAGS = flags.FlagValues()
flags.DEFINE_list("shapes", ["16x8x8x128", "16x16x16x64", "8x64x64x64"], "of the small side", flag_values=FLAGS)
flags.DEFINE_list("dtypes", ["float32"], "float32, bfloat16", flag_values=FLAGS)
flags.DEFINE_integer("rounds", 5, "alternating rounds", flag_values=FLAGS)
flags.DEFINE_string("json", "", "a file for the result", flag_values=FLAGS)


def programs(way: str, form: str) -> dict[str, Callable]:
    """{what is timed: function of (x, w)}."""
    run = functools.partial(WAYS[way], form=form)

    def energy(x: jax.Array, w: jax.Array) -> jax.Array:
        return jnp.sum(jnp.square(run(x, w)).astype(jnp.float32))

    def penalty(x: jax.Array, w: jax.Array) -> jax.Array:
        return jnp.sum(jnp.square(jax.grad(energy)(x, w)).astype(jnp.float32))

    return {"forward": run, "gradient": jax.grad(energy, (0, 1)), "second": jax.grad(penalty, (0, 1))}


def compiled(way: str, form: str, shape: tuple[int, ...], dtype: str) -> dict[str, Callable[[], float]]:
    """{what is timed: milliseconds of a call}, first calls done."""
    n, height, width, channels = shape
    side = 1 if way == "up" else 2
    x = jax.random.normal(jax.random.key(0), (n, side * height, side * width, channels), dtype)
    w = jax.random.normal(jax.random.key(1), (3, 3, channels, channels), dtype) / (9 * channels) ** 0.5

    def timed(program: Callable) -> float:
        start = time.perf_counter()
        for _ in range(CALLS):
            out = program(x, w)
        jax.block_until_ready(out)
        return 1000 * (time.perf_counter() - start) / CALLS

    found = {name: compiler.jit(function) for name, function in programs(way, form).items()}
    for program in found.values():
        jax.block_until_ready(program(x, w))
    return {name: functools.partial(timed, program) for name, program in found.items()}


def measure(shape: tuple[int, ...], dtype: str, rounds: int) -> list[dict[str, Any]]:
    """A row a way and form."""
    made = {(way, form): compiled(way, form, shape, dtype) for way in WAYS for form in FORMS}
    times: dict[tuple[str, str, str], list[float]] = {}
    for _ in range(rounds):
        for (way, form), programs_ in made.items():
            for name, timed in programs_.items():
                times.setdefault((way, form, name), []).append(timed())
    rows = []
    for way, form in made:
        row = {"shape": "x".join(map(str, shape)), "dtype": dtype, "way": way, "form": form}
        rows.append(row | {name: statistics.median(times[way, form, name]) for name in made[way, form]})
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    lines = ["| shape | dtype | way | form | forward, ms | with gradient | with second |", "|---" * 7 + "|"]
    for row in rows:
        times = " | ".join(f"{row[name]:.3g}" for name in ("forward", "gradient", "second"))
        lines.append(f"| {row['shape']} | {row['dtype']} | {row['way']} | {row['form']} | {times} |")
    return "\n".join(lines)


def main(argv: list[str]) -> None:
    """Measures, prints, writes."""
    values, rows = parse(FLAGS, argv), []
    for shape in values.shapes:
        for dtype in values.dtypes:
            rows += measure(tuple(map(int, shape.split("x"))), dtype, values.rounds)
    device = chips.device()
    print(f"{device}\n{table(rows)}")
    if values.json:
        Path(values.json).write_text(json.dumps({"device": device, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    command.run(main, FLAGS, __doc__)
