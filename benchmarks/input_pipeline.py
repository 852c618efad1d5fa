"""How many images a second does the input pipeline bring to the device?

python benchmarks/input_pipeline.py [--resolutions=32,64,256] [--count=2000] [--batch=32] [--threads=2] [--rounds=5]
    [--seconds=2] [--json=FILE]

Sets of random crops of satellite pictures (`pip install '.[land]'`), prepared by the dataset tool as users prepare
theirs, read as training reads them: shuffled, in batches, onto the device. "decoded once": from the memory map that
sets of up to config.data.memory_map_gb are decoded into; "decoded anew": from the PNGs, as larger sets are. Rounds go
through all of them in turn; medians with their range.
"""

import json
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import jax
from absl import flags

from benchmarks import chips, command
from benchmarks.train_step import spread
from jaxgan import parallel
from jaxgan.cli import dataset, parse
from jaxgan.data.pipeline import DevicePrefetch, batches
from jaxgan.data.sources import ImageSet, open_images

WAYS = {"decoded once": 4.0, "decoded anew": 0.0}  # gigabytes of memory map that are allowed

FLAGS = flags.FlagValues()
flags.DEFINE_list("resolutions", ["32", "64", "256"], "pixels", flag_values=FLAGS)
flags.DEFINE_integer("count", 2000, "pictures a set", flag_values=FLAGS)
flags.DEFINE_integer("batch", 32, "images", flag_values=FLAGS)
flags.DEFINE_integer("threads", 2, "config.data.num_threads", flag_values=FLAGS)
flags.DEFINE_integer("rounds", 5, "alternating rounds", flag_values=FLAGS)
flags.DEFINE_float("seconds", 2.0, "of each measurement in a round", flag_values=FLAGS)
flags.DEFINE_string("json", "", "a file for the result", flag_values=FLAGS)


def rate(images: ImageSet, batch: int, threads: int, seconds: float) -> float:
    """Images a second, all of them on the device."""
    put = parallel.put_batch(parallel.make_mesh())
    iterator = batches(images, batch_size=batch, seed=0, num_threads=threads)
    with closing(DevicePrefetch(iterator, put, size=2)) as data:
        jax.block_until_ready(next(data))
        start, count = time.perf_counter(), 0
        while time.perf_counter() - start < seconds:
            jax.block_until_ready(next(data))
            count += batch
        return count / (time.perf_counter() - start)


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    lines = ["| resolution | way | images/s, median (range) | MB/s of pixels |", "|---|---|---|---|"]
    for row in rows:
        found = row["images_per_second"]
        pixels = found["median"] * 3 * row["resolution"] ** 2 / 1e6
        shown = f"{found['median']:,.0f} ({found['min']:,.0f} to {found['max']:,.0f})"
        lines.append(f"| {row['resolution']} px | {row['way']} | {shown} | {pixels:,.0f} |")
    return "\n".join(lines)


def main(argv: list[str]) -> None:
    """Prepares, measures, prints, writes."""
    values = parse(FLAGS, argv)
    with tempfile.TemporaryDirectory() as folder:
        sets: dict[tuple[int, str], ImageSet] = {}
        for side in map(int, values.resolutions):
            place = Path(folder) / str(side)
            asked = [f"--source=land:{values.count}", f"--dest={place}", f"--resolution={side}"]
            dataset.run(parse(dataset.FLAGS, ["dataset", *asked]))
            for way, gigabytes in WAYS.items():
                sets[side, way] = open_images(str(place), memory_map_gb=gigabytes, cache_dir=folder)
        found: dict[tuple[int, str], list[float]] = {key: [] for key in sets}
        for _ in range(values.rounds):
            for key, images in sets.items():
                found[key].append(rate(images, values.batch, values.threads, values.seconds))
    rows = [{"resolution": side, "way": way, "images_per_second": spread(r)} for (side, way), r in found.items()]
    print(table(rows))
    if values.json:
        device = chips.device()
        about = {"device": device, "batch": values.batch, "threads": values.threads}
        Path(values.json).write_text(json.dumps(about | {"rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    command.run(main, FLAGS, __doc__)
