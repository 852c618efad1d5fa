"""What became of another program's file, as a page and as JSON: what was read, what not, how near the outputs are."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxgan.interchange.imported import Imported
from jaxgan.interchange.reference import Difference
from jaxgan.report import (
    facts_section,
    image_grid,
    notes_section,
    picture_section,
    table_section,
    write_atomic,
    write_page,
)
from jaxgan.weights.torch_file import sha256

PAGE, FACTS = "report.html", "report.json"


def facts(imported: Imported, path: str | Path, differences: Sequence[Difference] | None) -> dict[str, Any]:
    """The report as plain data."""
    account = imported.account
    counted = {
        "averaged generator": imported.ema,
        "raw generator": imported.raw,
        "discriminator": imported.discriminator,
    }
    return {
        "source": Path(path).name,
        "sha256": sha256(path),
        "bytes": Path(path).stat().st_size,
        "format": imported.format,
        "model": imported.config.model.to_dict(),
        "images_seen": imported.images_seen,
        "raw_is_average": imported.raw is not None and _equal(imported.raw, imported.ema),
        "parameters": {name: _parameters(tree) for name, tree in counted.items() if tree is not None},
        "tensors": {"read": len(account.read), "unused": len(account.unused), "made up": len(account.made_up)},
        "read": account.read,
        "unused": account.unused,
        "made_up": account.made_up,
        "reference": None if differences is None else [difference._asdict() for difference in differences],
    }


def write(folder: Path, found: dict[str, Any], images: np.ndarray | None) -> None:
    """Writes `report.html` and `report.json`.

    Args:
        folder: made if need be.
        found: of `facts`.
        images: [N, H, W, C] in [-1, 1], of the seeds 0 to N - 1.
    """
    write_atomic(folder / FACTS, (json.dumps(found, indent=2) + "\n").encode())
    summary = {k: found[k] for k in ("format", "bytes", "sha256")}
    summary |= {f"tensors {k}": n for k, n in found["tensors"].items()} | found["parameters"]
    if found["raw_is_average"]:
        summary["raw generator, numbers"] = "a copy of the average"
    if found["reference"] is None:
        compared = notes_section("Against the source project", ["Not compared: --reference=CHECKOUT does that."])
    else:
        compared = table_section("Largest differences from the source project's outputs", found["reference"])
    grid = (
        [] if images is None else [(f"seeds 0 to {len(images) - 1}, constant noise, no truncation", image_grid(images))]
    )
    sections = [
        facts_section("Summary", summary),
        picture_section("Images", grid),
        compared,
        _names("Made up", found["made_up"], "tensor here", "what stands there"),
        _names("Unused", found["unused"], "tensor in the file", "why"),
        facts_section("Network", found["model"]),
        _names("Read", found["read"], "tensor in the file", "tensor here"),
    ]
    write_page(folder / PAGE, f"{found['source']} imported", sections)


def _names(title: str, pairs: dict[str, str], left: str, right: str) -> str:
    return table_section(title, [{left: a, right: b} for a, b in pairs.items()])


def _equal(a: Any, b: Any) -> bool:
    """Whether two trees of the same structure hold the same numbers."""
    return all(map(np.array_equal, jax.tree.leaves(a), jax.tree.leaves(b)))


def _parameters(variables: dict[str, Any]) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
