"""Evaluations on the disk: cards as JSON, pictures beside them."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from jaxgan.errors import UserError
from jaxgan.metrics.evaluate import Evaluation
from jaxgan.report import image_grid, save_png, write_atomic

EVALUATIONS_FOLDER = "evaluations"


def save_evaluation(found: Evaluation, path: Path, images_seen: int) -> None:
    """Writes the cards to `path` and each picture to `path` with its name before the ending.

    Raises:
        UserError: the files cannot be written.
    """
    cards = {"images_seen": images_seen, "cards": [card.to_dict() for card in found.cards]}
    try:
        write_atomic(path, (json.dumps(cards, indent=2) + "\n").encode())
        for name, pictures in found.pictures.items():
            grid = image_grid(pictures, columns=8)
            save_png(path.with_name(f"{path.stem}-{name}.png"), grid, scale=max(1, 512 // int(np.max(grid.shape[:2]))))
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}); choose another place") from error


def latest_cards(run: str | Path) -> list[dict[str, Any]]:
    """The cards, as plain data, of a run directory's evaluation at the most images; none where there is none."""
    paths = sorted((Path(run) / EVALUATIONS_FOLDER).glob("*.json"))
    return json.loads(paths[-1].read_text())["cards"] if paths else []
