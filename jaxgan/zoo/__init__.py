"""Small trained generators that come with the package, each with a card that says how it was made.

`jaxgan.load("zoo:fashion-dcgan")` and `--run=zoo:fashion-dcgan` open them.
"""

from pathlib import Path
from typing import Any

from jaxgan.errors import UserError
from jaxgan.interchange import archive

PREFIX = "zoo:"


def names() -> list[str]:
    """What there is, without the prefix."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.npz"))


def path(name: str) -> Path:
    """The file of "zoo:NAME" or "NAME".

    Raises:
        UserError: there is none of that name.
    """
    found = Path(__file__).parent / f"{name.removeprefix(PREFIX)}.npz"
    if found.stem not in names():
        raise UserError(f"{name} is not in the zoo; it has {', '.join(PREFIX + n for n in names())}")
    return found


def card(name: str) -> dict[str, Any]:
    """How one of them was made: "commands", "data", "licence", "device", what was measured of it."""
    return archive.read(path(name))[1]["card"]
