"""What a page may say on its socket, checked: frames, thumbnails, overlays, jobs. Anything else is an error, answered.

A message is a JSON object with "type" and "id", a number that the answer repeats.
"""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from jaxgan.errors import UserError, shown
from jaxgan.explorer import fields
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
        number = fields.whole(given.get("id"), "id", 0, 2**53)
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
                return Frame([scene], None, False, fields.flag(given.get("moving", False), "moving"))
            scenes = _scenes(given, facts, MOST_KEYS)
            closed = fields.flag(given.get("closed", False), "closed")
            return Frame(
                scenes,
                fields.real(given.get("at"), "at", 0, len(scenes) - (not closed)),
                closed,
                fields.flag(given.get("moving", False), "moving"),
            )
        case "thumbs":
            return Thumbs(_scenes(given, facts, MOST_THUMBS))
        case "overlay":
            feature = given.get("feature", "")
            evidence = (
                fields.choice(given.get("evidence"), "evidence", EVIDENCE) if "evidence" in given else EVIDENCE[0]
            )
            level = fields.whole(given.get("level"), "level", 0, 2) if "level" in given else 0
            if not isinstance(feature, str):
                raise UserError("feature: give its name")
            kind = fields.choice(given.get("kind"), "kind", ("heat", "attention"))
            return Overlay(parse(given.get("scene"), facts), kind, level, feature, evidence)
        case "still":
            return Still(_scenes(given, facts, MOST_KEYS), fields.choice(given.get("kind"), "kind", STILLS))
        case "job":
            return _job(given, facts)
        case "cancel":
            return Cancel()
    raise UserError(f"{shown(given.get('type'))} is no type of message")


def _job(given: Mapping[str, Any], facts: Facts) -> Job:
    kind = fields.choice(given.get("kind"), "kind", KINDS)
    request: dict[str, Any] = {"kind": kind}
    match kind:
        case "invert":
            if not isinstance(given.get("photo"), str):
                raise UserError("photo: give the name that the upload was answered with")
            request |= {"photo": given["photo"], "steps": fields.whole(given.get("steps"), "steps", 20, 2000)}
        case "scribble":
            request |= {"drawing": given.get("drawing"), "steps": fields.whole(given.get("steps"), "steps", 20, 2000)}
            request |= {name: fields.flag(given.get(name, False), name) for name in ("likely", "near")}
        case "film":
            request |= {
                "format": fields.choice(given.get("format"), "format", tuple(FILMS)),
                "closed": fields.flag(given.get("closed", False), "closed"),
            }
            request |= {
                "frames": fields.whole(given.get("frames"), "frames", 2, 120),
                "fps": fields.real(given.get("fps"), "fps", 1, 50),
            }
    if kind in ("invert", "scribble") and not facts.coded:
        raise UserError("this generator's latents are maps; use `jaxgan invert` for its photographs")
    return Job(_scenes(given, facts, MOST_KEYS), request)


def _scenes(given: Mapping[str, Any], facts: Facts, most: int) -> list[Scene]:
    return [parse(scene, facts) for scene in fields.several(given.get("scenes"), "scenes", most, least=1)]
