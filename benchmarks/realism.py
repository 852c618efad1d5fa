"""Does the realism direction make a generator's samples more realistic, and where on the path?

python benchmarks/realism.py --run=zoo:fashion-dcgan [--data=fashion] [--num=2000] [--seeds=0,1,2]
    [--shares=0,0.01,...,1] [--baselines=mean,random,boundary,truncation] [--baseline_shares=...]
    [--config=realism --config.FIELD=...] --out=DIR

FD-lite0, KD-lite0, precision, recall and SWD of the same codes, moved along the path by a share s of the arc to each
one's prototype, and by every baseline at the same angles: each code is turned by as much, image by image (truncation,
which turns each by what it turns, by as much in the mean). "selected" is the automatic choice, and s "auto" of a
baseline its angles; "mean" the circle to the mean prototype of other codes, "boundary" a linear SVM's normal fitted to
codes scored with the reals at hand (how far each image is from them in the measuring network), "random" a direction of
its own for each code. s = 0 is the original. With --stretch each picture's numbers are stretched to the whole range
first, as the release saves its pictures.

Every point is kept in DIR/points.json as it is measured; the same command goes on from there. At the end a table, the
figure curves.png (needs `pip install matplotlib`) and a sheet. Choose settings on one set of codes, report on others.
"""

import functools
import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from benchmarks import chips, command
from benchmarks.train_step import spread
from jaxgan import config as configs
from jaxgan.cli import DEFINE_config, enable_compilation_cache, parse
from jaxgan.cli.evaluate import open_reals
from jaxgan.cli.realism import real_logits
from jaxgan.data.progress import progress_bar
from jaxgan.errors import UserError
from jaxgan.experiment import load
from jaxgan.features.extract import features
from jaxgan.features.networks import load as load_network
from jaxgan.features.networks import to_rgb
from jaxgan.latent import baselines
from jaxgan.latent.realism import Realism, Search, at_share, mean_prototype
from jaxgan.metrics.frechet import distance, moments
from jaxgan.metrics.kernel import kernel_distance
from jaxgan.metrics.precision_recall import manifold, nearest, share_inside
from jaxgan.metrics.reals import Reals
from jaxgan.metrics.swd import Patches, sliced_wasserstein
from jaxgan.ops.sphere import angle_between
from jaxgan.report import image_grid, save_png, write_atomic
from jaxgan.training.evaluation import at_level

SHARES = (0.0, 0.01, 0.02, 0.03, 0.04, 0.05, *(round(0.1 * k, 1) for k in range(1, 11)))
BASELINES = ("mean", "random", "boundary", "truncation")
METRICS = ("FD-lite0", "KD-lite0", "precision", "recall", "SWD")
_KD_SUBSETS = 20
_SCORED = 4000  # codes that a boundary is fitted to the best and worst of
_BOUNDARY_SHARE = 0.1
_OTHERS = 5_000_000  # seeds of codes that are not measured

FLAGS = flags.FlagValues()
flags.DEFINE_string("run", None, "a run directory, zoo:NAME or a file", required=True, flag_values=FLAGS)
flags.DEFINE_string("data", "", "the real images; by default those of training", flag_values=FLAGS)
flags.DEFINE_string("split", "train", "their split", flag_values=FLAGS)
flags.DEFINE_integer("num", 2000, "codes a seed", flag_values=FLAGS)
flags.DEFINE_list("seeds", ["0", "1", "2"], "sets of codes", flag_values=FLAGS)
flags.DEFINE_list("shares", [str(s) for s in SHARES], "s along the path", flag_values=FLAGS)
flags.DEFINE_list("baselines", list(BASELINES), f"of {', '.join(BASELINES)}", flag_values=FLAGS)
flags.DEFINE_list("baseline_shares", None, "s of the baselines; by default those of the path", flag_values=FLAGS)
flags.DEFINE_list("metrics", list(METRICS), f"of {', '.join(METRICS)}", flag_values=FLAGS)
flags.DEFINE_bool("stretch", False, "stretch the numbers of each picture to 0..255, as released", flag_values=FLAGS)
flags.DEFINE_string("out", None, "a folder for points, figure, table and sheets", required=True, flag_values=FLAGS)
DEFINE_config(FLAGS, "how: realism (default), or a file")


class Meter:
    """Measures sets of images against the reals."""

    def __init__(self, images: Any, count: int, metrics: list[str]):
        self.metrics, self._images = metrics, images
        self.network = load_network("lite0")
        self.patches = None
        if "SWD" in metrics:
            order = np.random.default_rng(0).permutation(len(images))[:count]
            self.patches = patches(images.gather(order), seed=1)

    @functools.cached_property
    def reals(self) -> Reals:
        """With their features, which SWD alone does not need."""
        with progress_bar("features of reals") as bar:
            reals = Reals(self._images, self.network, 64, progress=lambda what, done, total: bar(done, total))
            _ = reals.features  # made here, where the bar shows it
        return reals

    def __call__(self, pictures: np.ndarray, metrics: list[str]) -> dict[str, float]:
        """Numbers of uint8 images [N, H, W, C]: those of `metrics`."""
        found: dict[str, float] = {}
        if "SWD" in metrics:
            found["SWD"] = float(sliced_wasserstein(patches(pictures, seed=0), self.patches).mean())
        if not set(metrics) - {"SWD"}:  # which needs no features, and so a tenth of the time
            return found
        shown = features(self.network, pictures)[self.network.pooled]
        if "FD-lite0" in metrics:
            found["FD-lite0"] = distance(moments(shown), self.reals.moments)
        if "KD-lite0" in metrics:
            found["KD-lite0"] = kernel_distance(shown, self.reals.features, subsets=_KD_SUBSETS)[0]
        if "precision" in metrics:
            found["precision"] = share_inside(shown, self.reals.manifold(3))
        if "recall" in metrics:
            found["recall"] = share_inside(self.reals.features, manifold(shown, 3))
        return found

    def realism(self, pictures: np.ndarray) -> np.ndarray:
        """How near each image is to the reals, [N]; higher is nearer. Needs the reals, so it is supervision."""
        return -nearest(features(self.network, pictures)[self.network.pooled], self.reals.features)[1]


def stretched(pictures: np.ndarray) -> np.ndarray:
    """uint8 images [N, H, W, C], each with its least number at 0 and its largest at 255."""
    numbers = pictures.astype(np.float32)
    low, high = (f(numbers, axis=(1, 2, 3), keepdims=True) for f in (np.min, np.max))
    return np.rint(255 * (numbers - low) / np.maximum(high - low, 1)).astype(np.uint8)


def patches(pictures: np.ndarray, seed: int) -> Patches:
    """Of uint8 images."""
    found = Patches(seed)
    for first in range(0, len(pictures), 64):
        found.add(to_rgb(jnp.asarray(pictures[first : first + 64], jnp.float32)))
    return found


class Bench:
    """One model and config: the search, the meter, what was measured so far."""

    def __init__(self, values: flags.FlagValues):
        self.config = configs.load(values.config or "realism")
        configs.override(self.config, values.overrides)
        self.out, self.num, self.stretch = Path(values.out), values.num, values.stretch
        model = load(values.run)
        source, split = values.data or model.config.data.source, values.split
        images = at_level(model.config.to_dict(), open_reals(source, split), model.gan)
        self.z_dim, self.classes = model.gan.generator.z_dim, model.gan.generator.num_classes
        self.meter = Meter(images, values.num, values.metrics)
        self.search = Search(
            model.gan,
            model.variables["generator"],
            model.variables["discriminator"],
            self.config.to_dict(),
            real_logits=real_logits(model, values.data),
        )
        print(self.search.note)
        self.about = {
            "run": values.run,
            "data": f"{source} ({split}), {len(images)} images",
            "num": values.num,
            "stretch": values.stretch,
            "config": self.config.to_dict(),
            "calibration": self.search.note,
            "device": chips.device(),
        }
        self.points: list[dict[str, Any]] = []
        if (self.out / "points.json").exists():
            kept = json.loads((self.out / "points.json").read_text())
            for name in ("run", "data", "num", "stretch", "config"):
                if kept["about"][name] != json.loads(json.dumps(self.about[name])):
                    raise UserError(f"{self.out} holds points of another {name}; give the same, or another --out")
            self.points = kept["points"]

    def z(self, seed: int, count: int) -> np.ndarray:
        """Codes of a set."""
        return np.random.default_rng((seed, self.z_dim)).standard_normal((count, self.z_dim)).astype(np.float32)

    def labels(self, count: int) -> np.ndarray | None:
        """Classes in turn."""
        return np.arange(count) % self.classes if self.classes else None

    def found(self, seed: int, count: int) -> Realism:
        """The search of a set, continued or read again where it was made before."""
        with progress_bar(f"searching, set {seed}") as bar:
            return self.search.find(
                self.z(seed, count),
                self.labels(count),
                folder=self.out / "work" / f"set{seed}-{count}",
                progress=bar,
            )

    def pictures(self, codes: np.ndarray) -> np.ndarray:
        """uint8 images of codes."""
        made = np.concatenate(list(self.search.pictures(codes, self.labels(len(codes)))))
        return stretched(made) if self.stretch else made

    def measure(
        self, seed: int, method: str, s: float | str, codes: np.ndarray, x: np.ndarray, more: dict | None = None
    ) -> None:
        """Measures a set of codes, once."""
        key = {"seed": seed, "method": method, "s": s}
        point = next((p for p in self.points if all(p[k] == v for k, v in key.items())), None)
        missing = [metric for metric in self.meter.metrics if metric not in (point or {})]
        if not missing:
            return
        began = time.perf_counter()
        angle = float(np.degrees(angle_between(jnp.asarray(x), jnp.asarray(codes))).mean())
        if point is None:
            point = key | {"angle": angle} | (more or {})
            self.points.append(point)
        point |= self.meter(self.pictures(codes), missing)
        said = ", ".join(f"{name} {point[name]:.4g}" for name in missing)
        print(f"set {seed} {method} s={s}: {angle:.1f} degrees, {said} ({time.perf_counter() - began:.0f} s)")
        kept = {"about": self.about, "points": self.points}
        write_atomic(self.out / "points.json", (json.dumps(kept, indent=1) + "\n").encode())

    def directions(self, wanted: list[str]) -> dict[str, np.ndarray]:
        """{baseline: direction [D], or [N, D]} made of codes that are not measured."""
        found = {}
        if "random" in wanted:
            shape = (self.num, self.search.critic.dim)
            found["random"] = np.random.default_rng(_OTHERS).standard_normal(shape).astype(np.float32)
        if "mean" in wanted:
            found["mean"] = mean_prototype(self.found(_OTHERS, self.config.mean_of))
        if "boundary" in wanted:
            z = self.z(_OTHERS + 1, _SCORED)
            codes = self.search.codes(z, self.labels(_SCORED))
            boundary = baselines.fit_boundary(codes, self.meter.realism(self.pictures(codes)), share=_BOUNDARY_SHARE)
            print(f"boundary: {boundary.accuracy:.1%} of held-out codes on their side, {boundary.used} fitted")
            self.about["boundary accuracy"] = boundary.accuracy
            found["boundary"] = boundary.normal
        return found

    def sweep(
        self,
        seed: int,
        shares: list[float],
        baseline_shares: list[float],
        wanted: list[str],
        directions: dict[str, np.ndarray],
    ) -> None:
        """Every method along the path, on one set of codes."""
        found = self.found(seed, self.num)
        low, high = self.config.select.low, self.config.select.high
        more = {"mean s": float(found.share.mean()), "theta": float(found.theta.mean())}
        more |= {"at low": float((found.share <= low + 1e-6).mean())}
        more |= {"at high": float((found.share >= high - 1e-6).mean())}
        more |= {"no direction": float(found.degenerate.mean())}
        more |= {f"{name} seconds": value for name, value in found.seconds.items()}
        more |= {f"{name} steps": float(np.mean(value)) for name, value in found.steps.items()}
        more |= {f"D {name}": float(value.mean()) for name, value in found.logits.items()}
        self.measure(seed, "original", 0.0, found.x, found.x)
        self.measure(seed, "selected", "auto", found.code, found.x, more)
        self.measure(seed, "recovered", "y", found.y, found.x)
        moved = {"auto": found.code} | {s: at_share(found.x, found.p, s) for s in shares if s}
        for s, ours in moved.items():
            angles = np.asarray(angle_between(jnp.asarray(found.x), jnp.asarray(ours)))
            if s != "auto":
                self.measure(seed, "ours", s, ours, found.x)
                if s not in baseline_shares:
                    continue
            for name, direction in directions.items():
                self.measure(seed, name, s, np.asarray(baselines.towards(found.x, direction, angles)), found.x)
            if "truncation" in wanted:
                cut, limit = baselines.truncated_by(found.x, float(angles.mean()), jax.random.key(seed))
                self.measure(seed, "truncation", s, cut, found.x, {"limit": limit})


def tabled(points: list[dict[str, Any]], metrics: list[str]) -> str:
    """Markdown: a row a method and share, medians over the sets with their range."""
    points = [p for p in points if all(m in p for m in metrics)]
    lines = [f"| method | s | angle | {' | '.join(metrics)} |", f"|---|---|---|{'---|' * len(metrics)}"]
    for (method, share), group in grouped(points):
        angle = np.mean([p["angle"] for p in group])
        cells = [spread([p[m] for p in group]) for m in metrics]
        shown = [
            f"{c['median']:.4g} ({c['min']:.4g} to {c['max']:.4g})" if len(group) > 1 else f"{c['median']:.4g}"
            for c in cells
        ]
        lines.append(f"| {method} | {share} | {angle:.1f} | {' | '.join(shown)} |")
    return "\n".join(lines)


def grouped(points: list[dict[str, Any]]) -> Iterator[tuple[tuple[str, Any], list[dict[str, Any]]]]:
    """Points of the same method and share."""
    order = {name: i for i, name in enumerate(("original", "recovered", "selected", "ours", *BASELINES))}

    def key(point: dict[str, Any]) -> tuple:
        return order[point["method"]], point["method"], str(point["s"])

    for (_, method, _), group in itertools.groupby(sorted(points, key=key), key):
        group = list(group)
        yield (method, group[0]["s"]), group


def draw(points: list[dict[str, Any]], metrics: list[str], out: Path) -> None:
    """A chart a metric over the angle: a line a method, its range over the sets, the original's as a dashed line."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5 * len(metrics), 4.4), layout="constrained")
    for axes, metric in zip(figure.subplots(1, len(metrics), squeeze=False)[0], metrics):
        lines: dict[str, list[tuple[float, list[float]]]] = {}
        for (method, _), group in grouped([p for p in points if metric in p]):
            numbers = [p[metric] for p in group]
            lines.setdefault(method, []).append((float(np.mean([p["angle"] for p in group])), numbers))
        start = np.mean(lines["original"][0][1])
        axes.axhline(start, color="grey", linestyle="--", linewidth=1)
        for method, line in lines.items():
            if method == "original":
                continue
            line.sort()
            middle = [np.median(numbers) for _, numbers in line]
            if method in ("selected", "recovered"):
                marker = {"selected": "*", "recovered": "D"}[method]
                axes.plot(line[0][0], middle[0], marker, color="black", markersize=9, label=method, zorder=5)
                continue
            angles, middle = [0.0, *(a for a, _ in line)], [start, *middle]
            (drawn,) = axes.plot(angles, middle, marker="o", markersize=3, label=method)
            low, high = ([start, *(f(numbers) for _, numbers in line)] for f in (min, max))
            axes.fill_between(angles, low, high, color=drawn.get_color(), alpha=0.15)
        own = [v for name in ("original", "recovered", "selected", "ours") for _, n in lines.get(name, []) for v in n]
        room = 0.6 * (max(own) - min(own))  # baselines that go far away leave the picture
        axes.set_ylim(min(own) - room, max(own) + room)
        axes.set(xlabel="degrees from the original", ylabel=metric)
        axes.grid(alpha=0.3)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=8)
    figure.savefig(out, dpi=100)


def main(argv: list[str]) -> None:
    """Measures, prints, writes."""
    values = parse(FLAGS, argv)
    enable_compilation_cache()
    bench = Bench(values)
    shares, seeds = [float(s) for s in values.shares], [int(s) for s in values.seeds]
    baseline_shares = [float(s) for s in values.baseline_shares or values.shares]
    directions = bench.directions(values.baselines)
    for seed in seeds:
        bench.sweep(seed, shares, baseline_shares, values.baselines, directions)
    table = tabled(bench.points, values.metrics)
    write_atomic(bench.out / "table.md", (table + "\n").encode())
    print(table)
    found = bench.found(seeds[0], values.num)
    first = [bench.pictures(codes[:16]) for codes in (found.x, found.y, found.code, found.p)]
    save_png(bench.out / "sheet.png", image_grid(np.concatenate(first), columns=16), scale=2)
    try:
        draw(bench.points, values.metrics, bench.out / "curves.png")
    except ModuleNotFoundError:
        print("no figure: `pip install matplotlib`, and give the command again")


if __name__ == "__main__":
    command.run(main, FLAGS, __doc__)
