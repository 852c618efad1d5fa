"""A scene: everything that decides what a picture shows. What a page sends, checked; what a file or a link keeps.

A scene is JSON, every field optional; arrays are base64 of little-endian numbers. The same scene gives the same
picture on every server of the same model.
"""

import base64
import binascii
import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxgan.errors import UserError, shown
from jaxgan.explorer import fields

GRID = 16  # cells a side of a region's mask
MOST_REGIONS = 4
MOST_PARTS = 4
MOST_MOVES = 32
STRENGTH = 10.0  # of a move, in deviations
_SEEDS = 2**32


class Facts(NamedTuple):
    """What a scene is checked against, of a generator.

    Attributes:
        num_ws, w_dim, classes, extras: of ws, and numbers beside it.
        code: numbers of a code of the realism direction; 0 where there is none.
        photo_code: the same of a scene with ws.
        moves: names of directions.
        coded: whether pictures can be made of ws that are vectors.
        maps: whether ws may differ from place to place.
    """

    num_ws: int
    w_dim: int
    classes: int
    extras: int
    code: int
    photo_code: int
    moves: tuple[str, ...]
    coded: bool
    maps: bool


class Mix(NamedTuple):
    """Rows of ws, from `first` up to `last`, that are another seed's."""

    seed: int
    first: int
    last: int


class Realism(NamedTuple):
    """A point of the arc from x to a prototype p, codes [D]."""

    x: np.ndarray
    p: np.ndarray
    share: float


class Region(NamedTuple):
    """A place [GRID, GRID] in [0, 1] that shows another seed, or moves by itself, or both."""

    mask: np.ndarray
    seed: int | None
    moves: Mapping[str, float]


class Part(NamedTuple):
    """A box (top, left, bottom, right) copied to a place (top, left), as shares of the picture.

    `moved` leaves the mean latent where it was; `blend` is how much of it is seen over what was there.
    """

    box: tuple[float, float, float, float]
    to: tuple[float, float]
    moved: bool = False
    blend: float = 1.0


@dataclasses.dataclass(frozen=True)
class Scene:
    """See the module; `layers` are the rows of ws that moves act on, `place` is where heatmaps lie."""

    seed: int = 0
    label: int | None = None
    psi: float = 1.0
    noise: bool = True
    ws: np.ndarray | None = None
    extras: np.ndarray | None = None
    mix: Mix | None = None
    moves: Mapping[str, float] = dataclasses.field(default_factory=dict)
    layers: tuple[int, int] | None = None
    place: np.ndarray | None = None
    realism: Realism | None = None
    regions: tuple[Region, ...] = ()
    parts: tuple[Part, ...] = ()

    @property
    def placed(self) -> bool:
        """Whether its latent differs from place to place."""
        return bool(self.regions or self.parts)

    def key(self) -> bytes:
        """The same for scenes of the same latent: all but noise and place."""
        total = hashlib.sha256()
        for field in dataclasses.fields(self):
            if field.name not in ("noise", "place"):
                _feed(total, getattr(self, field.name))
        return total.digest()


def _feed(total: Any, value: Any) -> None:
    if isinstance(value, np.ndarray):
        total.update(f"a{value.shape}{value.dtype}".encode() + value.tobytes())
    elif isinstance(value, Mapping):
        total.update(json.dumps(value, sort_keys=True).encode())
    elif isinstance(value, tuple):
        total.update(f"t{len(value)}".encode())
        for item in value:
            _feed(total, item)
    else:
        total.update(f"{value!r};".encode())


def parse(given: Any, facts: Facts) -> Scene:
    """The scene of a page's words.

    Raises:
        UserError: a field is unknown, of another kind, or not within its limits.
    """
    given = fields.mapping(given, "a scene")
    unknown = set(given) - {field.name for field in dataclasses.fields(Scene)} - {"v"}
    if unknown:
        raise UserError(f"a scene has no {shown(sorted(unknown)[0])}; this server may be older than the file")
    if given.get("v", 1) != 1:
        raise UserError(f"a scene of version {shown(given['v'])}; this server knows 1")
    have = {name: value for name, value in given.items() if value is not None and name != "v"}
    label = have.get("label")
    if label is not None:
        label = fields.whole(label, "label", 0, facts.classes - 1)
    if not facts.coded and "ws" in have:
        raise UserError("this generator's latents are maps; a photograph's vectors do not fit it")
    if not facts.maps and (have.get("regions") or have.get("parts")):
        raise UserError("this generator's latents have no place; regions and parts need a StyleGAN2")
    layers = have.get("layers")
    return Scene(
        seed=fields.whole(have.get("seed", 0), "seed", 0, _SEEDS - 1),
        label=label,
        psi=fields.real(have.get("psi", 1.0), "psi", 0.0, 2.0),
        noise=fields.flag(have.get("noise", True), "noise"),
        ws=_array(have["ws"], "ws", (facts.num_ws, facts.w_dim)) if "ws" in have else None,
        extras=_array(have["extras"], "extras", (facts.extras,)) if "extras" in have else None,
        mix=_mix(have["mix"], facts) if "mix" in have else None,
        moves=_moves(have.get("moves", {}), facts),
        layers=None if layers is None else _range(layers, facts.num_ws, "layers"),
        place=_place(have["place"], facts) if "place" in have else None,
        realism=_realism(have["realism"], facts, "ws" in have) if "realism" in have else None,
        regions=tuple(_region(r, facts) for r in fields.several(have.get("regions", []), "regions", MOST_REGIONS)),
        parts=tuple(_part(p) for p in fields.several(have.get("parts", []), "parts", MOST_PARTS)),
    )


def encoded(array: np.ndarray) -> str:
    """An array of floats as scenes hold it."""
    return base64.b64encode(np.ascontiguousarray(array, "<f4").tobytes()).decode()


# Fields


def _bytes(value: Any, name: str, count: int) -> bytes:
    if not isinstance(value, str) or len(value) != -(-count // 3) * 4:
        raise UserError(f"{name} is not base64 of {count} bytes")
    try:
        found = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise UserError(f"{name} is not base64") from error
    if len(found) != count:
        raise UserError(f"{name} is not base64 of {count} bytes")
    return found


def _array(value: Any, name: str, shape: tuple[int, ...]) -> np.ndarray:
    found = np.frombuffer(_bytes(value, name, 4 * math.prod(shape)), "<f4").reshape(shape)
    if not (np.abs(found) < 1e4).all():  # not where a number is none, either
        raise UserError(f"{name} has numbers that are not finite, or far too large")
    return found


def _range(value: Any, most: int, name: str) -> tuple[int, int]:
    first, last = (fields.whole(v, name, 0, most) for v in fields.numbers(value, name, 2))
    if first >= last:
        raise UserError(f"{name}={shown(value)}: give [first, last), the first below the last")
    return first, last


def _mix(value: Any, facts: Facts) -> Mix:
    value = fields.mapping(value, "mix")
    rows = _range([value.get("first"), value.get("last")], facts.num_ws, "mix")
    return Mix(fields.whole(value.get("seed"), "mix.seed", 0, _SEEDS - 1), *rows)


def _moves(value: Any, facts: Facts) -> Mapping[str, float]:
    value = fields.mapping(value, "moves")
    if len(value) > MOST_MOVES:
        raise UserError(f"{len(value)} moves; give {MOST_MOVES} at most")
    for name in value:
        if name not in facts.moves:
            raise UserError(
                f"move {shown(name)} is not known to this server; it has {', '.join(facts.moves) or 'none'}"
            )
    found = {name: fields.real(v, f"moves.{name}", -STRENGTH, STRENGTH) for name, v in value.items()}
    return {name: v for name, v in found.items() if v}


def _place(value: Any, facts: Facts) -> np.ndarray:
    if not facts.extras:
        raise UserError("this generator takes no heatmaps, so a scene has no place")
    return np.array(
        [fields.real(v, "place", -2.0, 2.0) for v in fields.numbers(value, "place", facts.extras)], np.float32
    )


def code_size(facts: Facts, photo: bool) -> int:
    """Numbers of a code of the realism direction, of a scene with ws or without.

    Raises:
        UserError: there is no such direction.
    """
    if not facts.code:
        raise UserError("this model has no discriminator (or latents with a place), so no realism direction")
    if photo and not facts.photo_code:
        raise UserError("a photograph's latent has no code in this generator; choose a seed for the realism direction")
    return facts.photo_code if photo else facts.code


def _realism(value: Any, facts: Facts, photo: bool) -> Realism:
    value, shape = fields.mapping(value, "realism"), (code_size(facts, photo),)
    codes = (_array(value.get(name), f"realism.{name}", shape) for name in ("x", "p"))
    return Realism(*codes, fields.real(value.get("share"), "realism.share", 0.0, 1.0))


def _region(value: Any, facts: Facts) -> Region:
    value = fields.mapping(value, "a region")
    mask = np.frombuffer(_bytes(value.get("mask"), "a region's mask", GRID * GRID), np.uint8)
    seed = value.get("seed")
    return Region(
        mask.reshape(GRID, GRID).astype(np.float32) / 255,
        None if seed is None else fields.whole(seed, "a region's seed", 0, _SEEDS - 1),
        _moves(value.get("moves", {}), facts),
    )


def _part(value: Any) -> Part:
    value = fields.mapping(value, "a part")
    box = tuple(fields.real(v, "a part's box", 0.0, 1.0) for v in fields.numbers(value.get("box"), "a part's box", 4))
    to = tuple(
        fields.real(v, "a part's place", -1.0, 1.0) for v in fields.numbers(value.get("to"), "a part's place", 2)
    )
    if not (box[0] < box[2] and box[1] < box[3]):
        raise UserError("a part's box is empty; give top, left, bottom, right between 0 and 1")
    moved = fields.flag(value.get("moved", False), "a part's moved")
    return Part(box, to, moved, fields.real(value.get("blend", 1.0), "a part's blend", 0.0, 1.0))
