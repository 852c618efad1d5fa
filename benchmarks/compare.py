"""Has anything become slower? A small fixed set, for a maintainer before a release.

python benchmarks/compare.py                    # against benchmarks/baseline.json
python benchmarks/compare.py --against=v0.1.0   # against another revision, both in the same rounds
python benchmarks/compare.py --store            # makes this machine's baseline anew
    [--cases=NAME,...] [--rounds=5] [--seconds=1] [--tolerance=0.1] [--json=FILE]

Every case is a program that users run: training steps, generation, inversion, the realism search, walks, measuring,
painting of any size. Rounds go through all of them in turn. Against the stored baseline what is compared is the time of
a case times the rate of a bare convolution, measured right before it, so that a machine that is slower today does not
look like a slower program (another kind of processor still may: store a baseline for it). Against a revision, which is
checked out beside this one, the two take turns, and plain times are compared.

A row a case: time now over time then, median and range of the rounds. Exits with 1 if a case is slower by more than the
tolerance in every single round.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from absl import flags

ROOT = Path(__file__).resolve().parent.parent
BASELINE = Path(__file__).with_name("baseline.json")


def training(config: str) -> Callable[[float], float]:
    """Seconds an image of a config's iterations, on data that is on the device."""
    from benchmarks.train_step import Bench
    from jaxgan import config as configs
    from jaxgan.cli.train import complete
    from jaxgan.data.sources import open_images
    from jaxgan.training import growth

    loaded = configs.load(config)
    images = open_images(loaded.data.source, split=loaded.data.split)
    completed = complete(loaded, images).to_dict()
    bench = Bench(completed, images, growth.phases(completed, sys.maxsize)[-1])
    bench.train(1e-6)
    return lambda seconds: 1 / bench.train(seconds)


def generation() -> Callable[[float], float]:
    """Seconds an image."""
    import jax

    from jaxgan.experiment import load

    model = load("zoo:fashion-stylegan2")
    return repeated(lambda: jax.block_until_ready(model.sample(jax.random.key(0), 64)), 64)


def inversion() -> Callable[[float], float]:
    """Seconds of a step for an image, in batches of 32, over w+, by pixels and the network's own first convolution."""
    from benchmarks.inversion import FLAGS, Bench
    from jaxgan.cli import parse
    from jaxgan.experiment import load
    from jaxgan.latent.spaces import statistics

    values = parse(FLAGS, ["inversion"])
    model = load("zoo:fashion-stylegan2")
    made = statistics(model.gan.generator, model.variables["generator"])
    bench = Bench(model, made, "w+", "conv", 32, values)
    return lambda seconds: bench.step_seconds(seconds) / 32


def realism() -> Callable[[float], float]:
    """Seconds a code of the whole search."""
    import numpy as np

    from jaxgan import config as configs
    from jaxgan.experiment import load
    from jaxgan.latent.realism import Search

    model, config = load("zoo:fashion-dcgan"), configs.load("realism")
    config.batch, config.candidates = 64, 256
    search = Search(
        model.gan, model.variables["generator"], model.variables["discriminator"], config.to_dict(), real_logits=None
    )
    z = np.random.default_rng(0).standard_normal((64, model.gan.generator.z_dim)).astype(np.float32)
    return repeated(lambda: search.find(z), 64)


def walks() -> Callable[[float], float]:
    """Seconds a frame, to pictures on the host."""
    from benchmarks.walks import Bench
    from jaxgan.experiment import load

    bench = Bench(load("zoo:fashion-stylegan2"), "linear", 8, 20, 64)
    return repeated(bench.at_once, 160)


def features() -> Callable[[float], float]:
    """Seconds a picture through the measuring network."""
    import numpy as np

    from jaxgan.features.extract import features
    from jaxgan.features.networks import load

    network = load("lite0")
    pictures = np.random.default_rng(0).integers(0, 256, (64, 32, 32, 3), np.uint8)
    return repeated(lambda: features(network, pictures), 64)


def any_size() -> Callable[[float], float]:
    """Seconds a thousand pixels, tile by tile."""
    from benchmarks.any_size import picture
    from jaxgan.experiment import load

    model = load("zoo:land-spatial")
    return repeated(lambda: picture(model, 0, (256, 256)), 256 * 256 / 1000)


CASES: dict[str, Callable[[], Callable[[float], float]]] = {
    "training StyleGAN2": lambda: training("quickstart"),
    "training DCGAN": lambda: training("fashion_dcgan"),
    "generating StyleGAN2": generation,
    "inverting w+": inversion,
    "realism DCGAN": realism,
    "walking StyleGAN2": walks,
    "measuring Lite0": features,
    "painting 256x256": any_size,
}


FLAGS = flags.FlagValues()
flags.DEFINE_string("against", "", "a revision to compare with, instead of the stored baseline", flag_values=FLAGS)
flags.DEFINE_bool("store", False, "make the baseline of this device anew", flag_values=FLAGS)
flags.DEFINE_list("cases", list(CASES), "what to measure", flag_values=FLAGS)
flags.DEFINE_integer("rounds", 5, "alternating rounds", flag_values=FLAGS)
flags.DEFINE_float("seconds", 1.0, "of each measurement in a round", flag_values=FLAGS)
flags.DEFINE_float("tolerance", 0.1, "by how much a case may be slower", flag_values=FLAGS)
flags.DEFINE_string("json", "", "a file for the result", flag_values=FLAGS)


def repeated(run: Callable[[], Any], items: float) -> Callable[[float], float]:
    """Seconds an item of a call that is repeated for so many seconds; the first call is not timed."""
    run()

    def measure(seconds: float) -> float:
        start, calls = time.perf_counter(), 0
        while time.perf_counter() - start < seconds:
            run()
            calls += 1
        return (time.perf_counter() - start) / (calls * items)

    return measure


class Worker:
    """A process that has made the cases of one checkout, and measures them one at a time when asked."""

    def __init__(self, root: Path, names: list[str]):
        environment = os.environ | {"PYTHONPATH": str(root)}
        command = [sys.executable, str(Path(__file__).resolve()), "--worker", *names]
        self._process = subprocess.Popen(
            command, cwd=root, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.device: str = ""
        self.device, self.missing = self._answer()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()

    def measure(self, name: str, seconds: float) -> tuple[float, float]:
        """(seconds an item, GFLOP/s of the bare convolution right before)."""
        self._process.stdin.write(json.dumps([name, seconds]) + "\n")
        self._process.stdin.flush()
        return tuple(self._answer())

    def _answer(self) -> Any:
        line = self._process.stdout.readline()
        if not line:
            sys.exit("a measuring process ended; its error stands above")
        return json.loads(line)


def work(names: list[str]) -> None:
    """The worker's side: makes the cases, says what it could not make, then answers questions until it is told off."""
    answers, sys.stdout = sys.stdout, sys.stderr  # what the cases print is no answer
    sys.path[0] = os.getcwd()  # the checkout that is measured, not the one that this file is in

    import jax

    from benchmarks.train_step import bare_convolution

    made, missing = {}, {}
    for name in names:
        print(f"making: {name}", flush=True)
        try:
            made[name] = CASES[name]()
        except (ImportError, AttributeError, TypeError, KeyError) as error:  # an older revision may not have it
            missing[name] = f"{type(error).__name__}: {error}"
    device = f"{jax.device_count()} x {jax.devices()[0].device_kind}"
    print(json.dumps([device, missing]), file=answers, flush=True)
    for line in sys.stdin:
        name, seconds = json.loads(line)
        rate = bare_convolution()
        print(json.dumps([made[name](seconds), rate]), file=answers, flush=True)


def measured(values: Any, workers: list[Worker]) -> dict[str, list[list[float]]]:
    """{case: rounds of numbers to compare}: seconds in each worker's checkout, or of one what a bare convolution could
    have computed meanwhile, GFLOP."""
    for name in values.cases:
        for reason in (worker.missing[name] for worker in workers if name in worker.missing):
            print(f"{name}: cannot be made ({reason})")
    names = [name for name in values.cases if not any(name in worker.missing for worker in workers)]
    times: dict[str, list[list[float]]] = {name: [] for name in names}
    for _ in range(values.rounds):
        for name in names:
            found = [worker.measure(name, values.seconds) for worker in workers]
            alone = len(found) == 1
            times[name].append([found[0][0] * found[0][1]] if alone else [seconds for seconds, _ in found])
    return times


def ratios_of(times: dict[str, list[list[float]]], stored: dict[str, Any]) -> dict[str, list[float]]:
    """{case: time now over time then, by round}, then being the other checkout or the stored median."""
    return {
        name: [row[0] / (row[1] if len(row) > 1 else stored[name]["median"]) for row in rows]
        for name, rows in times.items()
        if name in stored or len(rows[0]) > 1
    }


def slower(ratios: dict[str, list[float]], tolerance: float) -> list[str]:
    """The cases that are slower by more than the tolerance in every round."""
    return [name for name, found in ratios.items() if min(found) > 1 + tolerance]


def main(argv: list[str]) -> None:
    """Measures, prints, writes; exits with 1 where something is slower."""
    from benchmarks.train_step import spread
    from jaxgan.cli import parse

    values = parse(FLAGS, argv)
    unknown = [name for name in values.cases if name not in CASES]
    if unknown:
        sys.exit(f"--cases={unknown[0]}: it is one of {', '.join(CASES)}")
    with ExitStack() as stack:
        roots = [ROOT] + ([stack.enter_context(checkout(values.against))] if values.against else [])
        workers = [stack.enter_context(Worker(root, values.cases)) for root in roots]
        device = workers[0].device
        stored = json.loads(BASELINE.read_text()) if BASELINE.exists() else {}
        if device not in stored and not values.against and not values.store:
            sys.exit(f"{BASELINE.name} has no baseline of {device}; make one with --store, or give --against=REVISION")
        times = measured(values, workers)
    if values.store:
        stored[device] = {name: spread([row[0] for row in rows]) for name, rows in times.items()}
        BASELINE.write_text(json.dumps(stored, indent=1) + "\n")
        print(f"stored for {device}: {BASELINE}")
        return
    ratios = ratios_of(times, {} if values.against else stored[device])
    print(f"| case | time now / {values.against or 'baseline'}, median (range), {device} |\n|---|---|")
    for name, found in ratios.items():
        row = spread(found)
        print(f"| {name} | {row['median']:.3f} ({row['min']:.3f} to {row['max']:.3f}) |")
    if values.json:
        result = {"device": device, "against": values.against or "baseline", "ratios": ratios}
        Path(values.json).write_text(json.dumps(result, indent=1) + "\n")
    worse = slower(ratios, values.tolerance)
    for name in worse:
        print(f"slower in every round: {name}")
    sys.exit(bool(worse))


class checkout:
    """A revision in a folder of its own, for as long as the context lasts."""

    def __init__(self, revision: str):
        self._revision, self._folder = revision, tempfile.TemporaryDirectory()

    def __enter__(self) -> Path:
        path = Path(self._folder.name) / "tree"
        command = ["git", "-C", str(ROOT), "worktree", "add", "--detach", str(path), self._revision]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            self._folder.cleanup()
            sys.exit(f"--against={self._revision}: {done.stderr.strip().splitlines()[-1]}")
        return path

    def __exit__(self, *_: object) -> None:
        command = ["git", "-C", str(ROOT), "worktree", "remove", "--force", str(Path(self._folder.name) / "tree")]
        subprocess.run(command, capture_output=True, check=False)
        self._folder.cleanup()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        work(sys.argv[2:])
    else:
        from benchmarks import command  # not in a worker, whose revision may have none

        command.run(main, FLAGS, __doc__)
