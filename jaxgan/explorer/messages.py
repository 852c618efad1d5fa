"""What a page may say on its socket, checked: frames, thumbnails, overlays, jobs. Anything else is an error, answered.

A message is a JSON object with "type" and "id", a number that the answer repeats.
"""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from jaxgan.errors import UserError, shown
from jaxgan.explorer.jobs import FILMS, MOST_KEYS
from jaxgan.explorer.scene import Facts, Scene, parse
from jaxgan.networks.attention import EVIDENCE

MOST_CHARACTERS = 6 * 2**20  # of a message: a drawing
MOST_THUMBS = 24
KINDS = ("invert", "scribble", "realism", "film")
STILLS = ("png", "npz")


class Frame(NamedTuple):
    """A picture of a scene, or of the way between several at `at` (0 the first, 1 the second, and so on)."""

    scenes: list[Scene]
    at: float | None
    closed: bool
    moving: bool


class Thumbs(NamedTuple):
    """Small pictures of scenes."""

    scenes: list[Scene]


class Overlay(NamedTuple):
    """A map over a scene's picture: the heatmaps of a level, or the discriminator's attention."""

    scene: Scene
    kind: str
    level: int
    feature: str
    evidence: str


class Still(NamedTuple):
    """A file of scenes: a picture or latents."""

    scenes: list[Scene]
    kind: str


class Job(NamedTuple):
    """Longer work; `request` has what its kind needs."""

    scenes: list[Scene]
    request: Mapping[str, Any]


class Cancel(NamedTuple):
    """Ends this client's job."""


Message = Frame | Thumbs | Overlay | Still | Job | Cancel


def read(text: str, facts: Facts) -> tuple[int, Message | UserError]:
    """(id, message) of a text; what is none gives the error that says why, with the id where it has one."""
    number = 0
    try:
        given = _decoded(text)
        number = _whole(given, "id", 0, 2**53)
        return number, _message(given, facts)
    except UserError as error:
        return number, error


def _decoded(text: str) -> Mapping[str, Any]:
    try:
        given = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise UserError("a message is JSON") from error
    if not isinstance(given, dict):
        raise UserError("a message is a JSON object")
    return given


def _no_number(text: str) -> None:
    raise ValueError(text)


def _message(given: Mapping[str, Any], facts: Facts) -> Message:
    match given.get("type"):
        case "frame":
            if "scene" in given:
                scene = parse(given["scene"], facts)
                return Frame([scene], None, False, _flag(given, "moving"))
            scenes = _scenes(given, facts, MOST_KEYS)
            closed = _flag(given, "closed")
            return Frame(scenes, _real(given, "at", 0, len(scenes) - (not closed)), closed, _flag(given, "moving"))
        case "thumbs":
            return Thumbs(_scenes(given, facts, MOST_THUMBS))
        case "overlay":
            feature = given.get("feature", "")
            evidence = _choice(given, "evidence", EVIDENCE) if "evidence" in given else EVIDENCE[0]
            level = _whole(given, "level", 0, 2) if "level" in given else 0
            if not isinstance(feature, str):
                raise UserError("feature: give its name")
            kind = _choice(given, "kind", ("heat", "attention"))
            return Overlay(parse(given.get("scene"), facts), kind, level, feature, evidence)
        case "still":
            return Still(_scenes(given, facts, MOST_KEYS), _choice(given, "kind", STILLS))
        case "job":
            return _job(given, facts)
        case "cancel":
            return Cancel()
    raise UserError(f"{shown(given.get('type'))} is no type of message")


def _job(given: Mapping[str, Any], facts: Facts) -> Job:
    kind = _choice(given, "kind", KINDS)
    request: dict[str, Any] = {"kind": kind}
    match kind:
        case "invert":
            if not isinstance(given.get("photo"), str):
                raise UserError("photo: give the name that the upload was answered with")
            request |= {"photo": given["photo"], "steps": _whole(given, "steps", 20, 2000)}
        case "scribble":
            request |= {"drawing": given.get("drawing"), "steps": _whole(given, "steps", 20, 2000)}
            request |= {name: _flag(given, name) for name in ("likely", "near")}
        case "film":
            request |= {"format": _choice(given, "format", tuple(FILMS)), "closed": _flag(given, "closed")}
            request |= {"frames": _whole(given, "frames", 2, 120), "fps": _real(given, "fps", 1, 50)}
    if kind in ("invert", "scribble") and not facts.coded:
        raise UserError("this generator's latents are maps; use `jaxgan invert` for its photographs")
    return Job(_scenes(given, facts, MOST_KEYS), request)


def _scenes(given: Mapping[str, Any], facts: Facts, most: int) -> list[Scene]:
    scenes = given.get("scenes")
    if not isinstance(scenes, list) or not 1 <= len(scenes) <= most:
        raise UserError(f"scenes: give a list of 1 to {most}")
    return [parse(scene, facts) for scene in scenes]


def _flag(given: Mapping[str, Any], name: str) -> bool:
    value = given.get(name, False)
    if not isinstance(value, bool):
        raise UserError(f"{name}: give true or false")
    return value


def _whole(given: Mapping[str, Any], name: str, low: int, high: int) -> int:
    value = given.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise UserError(f"{name}={shown(value)}: give a whole number from {low} to {high}")
    return value


def _real(given: Mapping[str, Any], name: str, low: float, high: float) -> float:
    value = given.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
        raise UserError(f"{name}={shown(value)}: give a number from {low:g} to {high:g}")
    return float(value)


def _choice(given: Mapping[str, Any], name: str, known: tuple[str, ...]) -> str:
    value = given.get(name)
    if not isinstance(value, str) or value not in known:
        raise UserError(f"{name}={shown(value)}: give one of {', '.join(known)}")
    return value
