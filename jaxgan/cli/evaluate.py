"""Measures a trained generator: distances, diversity, path lengths, each number with its provenance.

jaxgan evaluate --run=runs/fashion [--metrics=fd,kid,pr,swd,ms_ssim,ppl,is,di,lpips,nearest] [--num_samples=N]
"""

import dataclasses
import itertools
from pathlib import Path

import jax
import numpy as np
from absl import flags

from jaxgan import zoo
from jaxgan.cli import check_writable
from jaxgan.config import default_samples
from jaxgan.data.progress import progress_bar
from jaxgan.data.sources import ImageSet, open_images
from jaxgan.errors import UserError
from jaxgan.experiment import Model, load, model_file
from jaxgan.features.networks import NETWORKS
from jaxgan.metrics.card import Card
from jaxgan.metrics.context import Settings
from jaxgan.metrics.evaluate import METRICS, PATHS, check, evaluate, expanded
from jaxgan.metrics.files import EVALUATIONS_FOLDER, save_evaluation
from jaxgan.ops.resize import FILTERS
from jaxgan.training.evaluation import at_level

FLAGS = flags.FlagValues()
flags.DEFINE_string("run", None, "a run directory, zoo:NAME or an exported file", required=True, flag_values=FLAGS)
flags.DEFINE_list("metrics", ["fd", "kid", "pr"], f"of {', '.join(METRICS)}", flag_values=FLAGS)
flags.DEFINE_integer("num_samples", 0, "generated images; 0: 50,000 on accelerators, 5,000 on CPU", flag_values=FLAGS)
flags.DEFINE_string("data", "", "the real images; by default those of training", flag_values=FLAGS)
flags.DEFINE_string("split", "", "their split; by default that of training", flag_values=FLAGS)
flags.DEFINE_enum("network", "lite0", list(NETWORKS), "of the metrics on features", flag_values=FLAGS)
flags.DEFINE_enum("perceptual", "stlpips-alex", list(NETWORKS), "of lpips and ppl", flag_values=FLAGS)
flags.DEFINE_multi_string(
    "network_weights", [], "NETWORK=FILE, for networks whose weights no package carries", flag_values=FLAGS
)
flags.DEFINE_enum("filter", None, FILTERS, "resize filter before --network; its own by default", flag_values=FLAGS)
flags.DEFINE_float("truncation_psi", 1.0, "1 is none", flag_values=FLAGS)
flags.DEFINE_integer("batch", 64, "images a call", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_integer("seed", 0, "of latents, noise and subsets", flag_values=FLAGS)
flags.DEFINE_integer("repeats", 1, "draws of fakes; several give a spread", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_string("out", "", "a JSON file for the cards; by default in the run directory", flag_values=FLAGS)


def run(values: flags.FlagValues) -> None:
    """Loads, measures, prints the cards and writes them."""
    settings = Settings(
        metrics=tuple(values.metrics),
        num_samples=values.num_samples or default_samples(jax.default_backend()),
        network=values.network,
        perceptual=values.perceptual,
        weights=parse_weights(values.network_weights),
        filter=values.filter,
        batch_size=values.batch,
        seed=values.seed,
        repeats=values.repeats,
    )
    model = load(values.run)
    own = model.config.data.source, model.config.data.split
    source, split = values.data or own[0], values.split or own[1]
    needed = needs_reals(settings.metrics, labels=bool(source and model.gan.generator.num_classes))
    if needed and not source:
        raise UserError(
            f"--run={values.run} names no data; give --data=FOLDER made by `jaxgan dataset`, or a set's name"
        )
    # A file holds one of the two kinds of weights.
    raw = "di" in values.metrics and model_file(values.run) is None
    subject = dataclasses.replace(
        model.subject(),
        raw=load(values.run, weights="raw").variables["generator"] if raw else None,
        truncation_psi=values.truncation_psi,
        own_data=(source, split) == own,
    )
    if needed or values.data:
        images = at_level(model.config.to_dict(), open_reals(source, split), model.gan)
    else:
        images = no_reals(model, settings.num_samples)
    check(settings, subject, images)
    out = Path(values.out) if values.out else default_out(values.run, model.images_seen)
    check_writable(out.parent, named=out)
    if out.is_dir():
        raise UserError(f"--out={out} is a folder; name a JSON file in it")
    with progress_bar("measuring") as bar:
        found = evaluate(subject, images, settings, lambda what, done, total: bar(done, total))
    print(f"{values.run} at {model.images_seen:,} images\n{table(found.cards)}")
    save_evaluation(found, out, model.images_seen)
    print(f"cards: {out}")


def needs_reals(metrics: tuple[str, ...], labels: bool) -> bool:
    """Whether real images must be there; `labels`: fakes get those of the data. Path lengths are of fakes alone."""
    return labels or not expanded(metrics) <= set(PATHS)


def no_reals(model: Model, count: int) -> ImageSet:
    """Stands for real images where none are looked at: their shape, and in cards that there are none."""
    images = np.broadcast_to(np.uint8(0), (count, *model.gan.generator.image_shape))  # takes no memory
    return ImageSet("no real images", "none", images, None, 0, (), "none", None)


def parse_weights(texts: list[str]) -> dict[str, str]:
    """{"inception": "file.pth"} of ["inception=file.pth"].

    Raises:
        UserError: a text without "=", or an unknown network.
    """
    weights = {}
    for text in texts:
        name, separator, path = text.partition("=")
        if not separator or name not in NETWORKS:
            raise UserError(f"--network_weights={text} is not NETWORK=FILE; networks are {', '.join(NETWORKS)}")
        weights[name] = path
    return weights


def open_reals(source: str, split: str) -> ImageSet:
    """The real images, with a bar while they are decoded."""
    with progress_bar("decoding") as bar:
        return open_images(source, split=split, progress=bar)


def default_out(run: str, images_seen: int) -> Path:
    """A new file in the run directory; of a single file, in a folder of its name where the command is given."""
    name = run.removeprefix(zoo.PREFIX) if run.startswith(zoo.PREFIX) else Path(run).stem
    folder = Path(run) / EVALUATIONS_FOLDER if model_file(run) is None else Path(f"{name}-{EVALUATIONS_FOLDER}")
    paths = (folder / f"{images_seen:08d}-{number}.json" for number in itertools.count())
    return next(path for path in paths if not path.exists())


def table(cards: list[Card]) -> str:
    """Every card on a line, its provenance on the next."""
    lines = []
    for card in cards:
        lines += [card.line(), f"    {card.details()}"]
        lines += [f"    warning: {w}" for w in card.warnings]
    lines += [f"reals: {cards[0].data}; fakes: {cards[0].generator}; jaxgan {cards[0].version}"] if cards else []
    return "\n".join(lines)
