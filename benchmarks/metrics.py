"""How many images a second do the measuring networks take, and how long does a Fréchet distance take end to end?

python benchmarks/metrics.py [--config=quickstart] [--networks=lite0,squeezenet,...] [--samples=1000,5000] [--rounds=3]
    [--peer='COMMAND'] [--json=FILE]

First the extraction of features from random images of the config's size, network by network (those whose weights no
package carries get random ones; they take as long). Then, for each number of samples, a Fréchet distance from latents
to the value, on the config's generator untrained, with the share of the time that generator and network alone would
take: what is missing to 1 is the host's. --peer runs another program's extraction in the same rounds: a command that
prints, as the last line, JSON with "images_per_s".
"""

import json
import os
import resource
import tempfile
import time
from pathlib import Path

import jax
import numpy as np
from absl import flags

from benchmarks import chips, command
from benchmarks.train_step import peer, spread
from jaxgan import config as configs
from jaxgan.cli import DEFINE_config, parse
from jaxgan.cli.train import complete
from jaxgan.data.sources import open_images
from jaxgan.features.extract import batched, mapped
from jaxgan.features.networks import NETWORKS, Network, load, measure, random_params
from jaxgan.metrics import frechet
from jaxgan.metrics.context import Context, Settings
from jaxgan.metrics.fakes import Subject, quantised
from jaxgan.networks.build import build, init

_ALONE = 1000  # images

FLAGS = flags.FlagValues()
DEFINE_config(FLAGS, "whose generator and images")
flags.DEFINE_list("networks", ["lite0", "squeezenet", "inception", "stlpips-alex"], "to time", flag_values=FLAGS)
flags.DEFINE_list("samples", ["1000"], "of the distance end to end, on the first network", flag_values=FLAGS)
flags.DEFINE_integer("batch", 64, "images a call", flag_values=FLAGS)
flags.DEFINE_integer("rounds", 3, "alternating rounds", flag_values=FLAGS)
flags.DEFINE_float("seconds", 5.0, "of each network in a round", flag_values=FLAGS)
flags.DEFINE_string("peer", "", "another program's extraction", flag_values=FLAGS)
flags.DEFINE_string("json", "", "a file for the result", flag_values=FLAGS)


def network(name: str) -> Network:
    """With its own weights where a package carries them, else with random ones."""
    entry = NETWORKS[name]
    if entry.package is not None:
        return load(name)
    params = random_params(name)
    kept = entry.resolution, entry.filter, entry.smallest, "random", "0" * 64, entry.pooled
    return Network(name, entry.module, params, *kept)


class Extraction:
    """Features of random images of one size, compiled."""

    def __init__(self, name: str, shape: tuple[int, int, int], batch: int, context: Context):
        self.net, self.batch = network(name), batch
        params, static = jax.device_put(self.net.params), self.net.static()
        outputs = (self.net.pooled,) if self.net.pooled else None
        self.run = lambda x: jax.tree.leaves(measure(static, params, x, outputs))[0]
        self.put = context.put
        self.images = np.random.default_rng(0).integers(0, 256, (batch, *shape), dtype=np.uint8)
        start = time.perf_counter()
        jax.block_until_ready(self.run(self.put(self.images)))
        self.compile_seconds = time.perf_counter() - start

    def rate(self, seconds: float) -> float:
        """Images a second, from NumPy images to NumPy features."""
        start, count = time.perf_counter(), 0
        while time.perf_counter() - start < seconds:
            for rows in mapped(self.run, batched(np.concatenate([self.images] * 2), self.batch), self.batch, self.put):
                count += len(rows)
        return count / (time.perf_counter() - start)


def end_to_end(context: Context, extraction: Extraction, samples: int) -> dict[str, float]:
    """Seconds of each part of a Fréchet distance of `samples` fakes, and of all together.

    Generator and network alone are timed on at most `_ALONE` images, before and after the whole.
    """
    net, params = extraction.net, jax.device_put(extraction.net.params)
    reference = frechet.moments(np.random.default_rng(0).standard_normal((3000, _width(net, context))))
    short = min(samples, _ALONE)

    def alone() -> tuple[float, float]:
        """Seconds that `samples` images would take (generator, network)."""
        start = time.perf_counter()
        for batch in context.fakes(context.subject.ema, short, "fakes"):
            images = quantised(batch.images).block_until_ready()
        middle = time.perf_counter()
        calls = -(-short // context.batch_size)
        for _ in range(calls):
            jax.block_until_ready(measure(net.static(), params, images, (net.pooled,)))
        scale = samples / short
        return scale * (middle - start), scale * (time.perf_counter() - middle)

    before = alone()
    start = time.perf_counter()
    parts = []
    for batch in context.fakes(context.subject.ema, samples, "fakes"):
        found = measure(net.static(), params, quantised(batch.images), (net.pooled,))
        parts.append(np.asarray(found[net.pooled])[: batch.count])
    middle = time.perf_counter()
    frechet.distance(reference, frechet.moments(np.concatenate(parts)))
    end = time.perf_counter()
    generator, extractor = (float(np.mean(pair)) for pair in zip(before, alone()))
    return {
        "seconds": end - start,
        "generator_alone": generator,
        "network_alone": extractor,
        "statistics": end - middle,
        "share_of_generator_and_network": (generator + extractor) / (end - start),
        "peak_memory_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def _width(net: Network, context: Context) -> int:
    shape = (1, *context.images.resolution, context.images.channels)
    return net(np.zeros(shape, np.uint8))[net.pooled].shape[1]


def main(argv: list[str]) -> None:
    """Parses the flags, measures, prints."""
    values = parse(FLAGS, argv)
    config = configs.load(values.config or "quickstart")
    configs.override(config, values.overrides)
    images = open_images(config.data.source, split=config.data.split)
    config = complete(config, images).to_dict()
    gan = build(config["model"])
    generator, _ = jax.jit(lambda: init(gan, jax.random.key(0)))()
    settings = Settings(batch_size=values.batch)
    context = Context(Subject(gan, generator), images, settings, lambda *_: None)
    shape = (*images.resolution, images.channels)
    with tempfile.TemporaryDirectory() as cold:
        jax.config.update("jax_compilation_cache_dir", cold)
        extractions = {n: Extraction(n, shape, context.batch_size, context) for n in values.networks}
        rates: dict[str, list[float]] = {name: [] for name in [*extractions, "peer"]}
        for _ in range(values.rounds):
            for name, extraction in extractions.items():
                rates[name].append(extraction.rate(values.seconds))
            if values.peer:
                rates["peer"].append(peer(values.peer)["images_per_s"])
        first = next(iter(extractions.values()))
        end_to_end(context, first, 2 * context.batch_size)  # compiles
        distances = {int(n): end_to_end(context, first, int(n)) for n in values.samples}
    result = {
        "device": chips.device(),
        "cores": os.cpu_count(),
        "images": f"{shape}, batch {context.batch_size}",
        "images_per_second": {n: spread(r) for n, r in rates.items() if r},
        "compile_seconds": {n: e.compile_seconds for n, e in extractions.items()},
        "frechet_distance": distances,
    }
    print(json.dumps(result, indent=2))
    if values.json:
        Path(values.json).write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    command.run(main, FLAGS, __doc__)
