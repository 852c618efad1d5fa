"""The page that a run ends with."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from jaxgan.metrics.files import latest_cards
from jaxgan.report import picture_section, table_section, write_report
from jaxgan.training.watch import read_metrics

INVERTED_FOLDER = "inverted"  # in the run directory: an inversion, made after the training
WALK_FOLDER = "walk"  # in that one
_NEARNESS = ("MSE", "PSNR", "SSIM", "ST-LPIPS Alex", "prior")
_EVENNESS = ("ST-LPIPS Alex mean", "ST-LPIPS Alex max", "max / mean")


def write_run_report(workdir: Path, config: Mapping[str, Any]) -> None:
    """`report.html`: what was run, its sample grids, its curves, and the cards of the latest evaluation."""
    rows = read_metrics(workdir)
    if not rows:
        return

    def curve(*names: str) -> dict[str, tuple[list[float], list[float]]]:
        present = {n: [(r["images_seen"], r[n]) for r in rows if n in r] for n in names}
        return {n: tuple(map(list, zip(*points))) for n, points in present.items() if points}

    last, cards = rows[-1], latest_cards(workdir)
    inverted = workdir / INVERTED_FOLDER
    walked = inverted / WALK_FOLDER
    grids = sorted((workdir / "samples").glob("fakes-*.png"), key=lambda p: int(p.stem.split("-")[1]))
    chosen = list(dict.fromkeys([grids[-1], grids[len(grids) // 2], grids[0]])) if grids else []
    write_report(
        workdir / "report.html",
        title=f"{config['model']['architecture']} on {config['data']['source']}",
        summary={
            "images seen": f"{last['images_seen']:,.0f}",
            "training time": f"{last['seconds']:.0f} s",
            "images per second": f"{last['images_per_second']:.1f}",
            "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
            "resolution": f"{config['model']['resolution']} px, base grid {tuple(config['model']['base_shape'])}",
            "batch": config["batch_size"],
            "seed": config["seed"],
        },
        curves={
            "Losses": curve("G_loss", "D_loss"),
            "Discriminator logits": curve("D_real", "D_fake"),
            "Penalties": curve("D_r1_penalty", "G_path_penalty"),
            **{card["metric"]: curve(card["metric"]) for card in cards},
            "Images per second": curve("images_per_second"),
        },
        pictures=[(f"EMA samples at {int(g.stem.split('-')[1]):,} images", g) for g in chosen]
        + [("Training images", p) for p in (workdir / "samples").glob("reals.png")],
        tables={"Latest evaluation": cards} if cards else None,
        more=[
            picture_section(
                "Held-out images, each with its reconstruction", [("w+", p) for p in inverted.glob("sheet.png")]
            ),
            table_section("Reconstructions", _nearness(inverted / "table.json"), "Means over the held-out images."),
            picture_section("Walks between them", [(p.stem, p) for p in sorted(walked.glob("*.gif"))]),
            table_section("Smoothness", _evenness(walked / "walks.json"), "Distances of neighbouring frames."),
        ],
    )


def _nearness(path: Path) -> list[dict[str, Any]]:
    """A row of how near the reconstructions come, of the table that `jaxgan invert` wrote."""
    if not path.exists():
        return []
    found = json.loads(path.read_text())
    return [{"images": len(found["images"])} | {n: found["mean"][n] for n in _NEARNESS if n in found["mean"]}]


def _evenness(path: Path) -> list[dict[str, Any]]:
    """A row a walk, of what `jaxgan walk` wrote; none where nothing was measured."""
    walks = json.loads(path.read_text())["walks"] if path.exists() else []
    measured = [w for w in walks if _EVENNESS[0] in w]
    return [{n: w[n] for n in ("from", "to", *_EVENNESS)} for w in measured]
