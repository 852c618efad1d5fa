"""How does a measure move while several runs train?

python benchmarks/curves.py --runs=runs/plain,runs/ada [--metric=FD-lite0] [--out=curves.png]

Prints a Markdown table of a field of `metrics.jsonl`: a row for each number of images seen, a column for each run.
--out draws it (needs `pip install matplotlib`).
"""

from pathlib import Path

from absl import flags

from benchmarks import command
from jaxgan.cli import parse
from jaxgan.errors import UserError
from jaxgan.training.watch import read_metrics

FLAGS = flags.FlagValues()
flags.DEFINE_list("runs", None, "run directories", required=True, flag_values=FLAGS)
flags.DEFINE_string("metric", "FD-lite0", "a field of metrics.jsonl", flag_values=FLAGS)
flags.DEFINE_string("out", "", "a PNG", flag_values=FLAGS)


def curve(run: str, metric: str) -> dict[int, float]:
    """{images seen: value} of the rows that have the metric."""
    found = {row["images_seen"]: row[metric] for row in read_metrics(run) if metric in row}
    if not found:
        raise UserError(f"{run} has no {metric} in its metrics.jsonl")
    return found


def draw(curves: dict[str, dict[int, float]], metric: str, out: str) -> None:
    """One line a run."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.subplots()
    for name, points in curves.items():
        axes.plot([seen / 1000 for seen in points], list(points.values()), marker="o", markersize=3, label=name)
    axes.set(xlabel="thousands of images seen", ylabel=metric, ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(out, dpi=120)


def main(argv: list[str]) -> None:
    """Parses the flags, prints, draws."""
    values = parse(FLAGS, argv)
    curves = {Path(run).name: curve(run, values.metric) for run in values.runs}
    print(f"| images seen | {' | '.join(curves)} |\n|---|{'---|' * len(curves)}")
    for seen in sorted({s for points in curves.values() for s in points}):
        cells = (f"{points[seen]:.4g}" if seen in points else "" for points in curves.values())
        print(f"| {seen:,} | {' | '.join(cells)} |")
    if values.out:
        draw(curves, values.metric, values.out)


if __name__ == "__main__":
    command.run(main, FLAGS, __doc__)
