"""What a page may say: scenes and messages, within their limits; everything else is one line."""

import base64
import json

import numpy as np
import pytest

from jaxgan.errors import UserError
from jaxgan.explorer.messages import Cancel, Frame, Job, Overlay, Still, Thumbs, read
from jaxgan.explorer.scene import GRID, Facts, encoded, parse

FACTS = Facts(
    num_ws=4, w_dim=3, classes=5, extras=21, code=4, photo_code=3, moves=("red", "pca:0"), coded=True, maps=True
)
MASK = base64.b64encode(bytes(GRID * GRID)).decode()
WS = encoded(np.arange(12.0).reshape(4, 3))


def test_a_scene_of_every_field():
    given = {
        "v": 1,
        "seed": 7,
        "label": 4,
        "psi": 0.5,
        "noise": False,
        "ws": WS,
        "extras": encoded(np.zeros(21)),
        "mix": {"seed": 9, "first": 1, "last": 3},
        "moves": {"red": -2, "pca:0": 0},
        "layers": [0, 2],
        "place": [0.1] * 21,
        "realism": {"x": encoded(np.ones(3)), "p": encoded(-np.ones(3)), "share": 0.3},
        "regions": [{"mask": MASK, "seed": 3, "moves": {"red": 1}}],
        "parts": [{"box": [0, 0, 0.5, 0.5], "to": [-0.2, 0.5]}],
    }
    scene = parse(json.loads(json.dumps(given)), FACTS)
    np.testing.assert_array_equal(scene.ws, np.arange(12.0).reshape(4, 3))
    assert (scene.seed, scene.label, scene.psi, scene.noise, scene.layers) == (7, 4, 0.5, False, (0, 2))
    assert scene.moves == {"red": -2.0}  # what does nothing is left out
    assert scene.mix == (9, 1, 3)
    assert scene.realism.share == 0.3
    assert scene.placed
    assert not parse({}, FACTS).placed


def test_the_key_is_that_of_the_latent():
    """Noise and place are no part of it, everything else is."""
    plain = parse({"seed": 1}, FACTS).key()
    assert parse({"seed": 1, "noise": False, "place": [0] * 21}, FACTS).key() == plain
    others = [
        {"seed": 2},
        {"psi": 0.9},
        {"label": 1},
        {"ws": WS},
        {"moves": {"red": 1}},
        {"layers": [0, 2]},
        {"mix": {"seed": 1, "first": 0, "last": 1}},
        {"regions": [{"mask": MASK}]},
        {"regions": [{"mask": MASK, "seed": 0}]},
        {"parts": [{"box": [0, 0, 1, 1], "to": [0, 0]}]},
        {"parts": [{"box": [0, 0, 1, 1], "to": [0, 0], "moved": True}]},
        {"parts": [{"box": [0, 0, 1, 1], "to": [0, 0], "blend": 0.5}]},
    ]
    keys = {parse({"seed": 1} | other, FACTS).key() for other in others}
    assert len(keys) == len(others)
    assert plain not in keys


@pytest.mark.parametrize(
    ("scene", "message"),
    [
        ([], "no object"),
        ({"colour": 1}, "has no 'colour'"),
        ({"v": 2}, "version 2"),
        ({"seed": -1}, "from 0 to 4294967295"),
        ({"seed": 1.5}, "whole number"),
        ({"seed": True}, "whole number"),
        ({"label": 5}, "from 0 to 4"),
        ({"psi": 3}, "from 0 to 2"),
        ({"psi": "1"}, "from 0 to 2"),
        ({"noise": 1}, "true or false"),
        ({"ws": WS[:-4]}, "base64 of 48 bytes"),
        ({"ws": "!" * 64}, "not base64"),
        ({"ws": encoded(np.full((4, 3), np.nan))}, "not finite"),
        ({"mix": {"seed": 1, "first": 2, "last": 2}}, "first below"),
        ({"mix": {"seed": 1, "first": 0, "last": 5}}, "from 0 to 4"),
        ({"moves": {"blue": 1}}, "it has red, pca:0"),
        ({"moves": {"red": 11}}, "from -10 to 10"),
        ({"moves": {"red": float("inf")}}, "from -10 to 10"),
        ({"layers": [1]}, "give 2 numbers"),
        ({"place": [0.0] * 20}, "give 21 numbers"),
        ({"realism": {"x": WS, "p": WS, "share": 0}}, "base64 of 16 bytes"),
        ({"realism": {"x": WS, "p": WS, "share": 0}, "ws": WS}, "base64 of 12 bytes"),
        ({"regions": [{"mask": MASK}] * 5}, "4 at most"),
        ({"regions": [{"mask": "AAAA"}]}, "256 bytes"),
        ({"parts": [{"box": [0.5, 0, 0.5, 1], "to": [0, 0]}]}, "empty"),
        ({"parts": [{"box": [0, 0, 0.5, 1], "to": [0, 0], "blend": 2}]}, "blend"),
        ({"parts": [{"box": [0, 0, 0.5, 1], "to": [0, 0], "moved": 1}]}, "true or false"),
    ],
)
def test_what_is_no_scene(scene, message):
    with pytest.raises(UserError, match=message):
        parse(scene, FACTS)


def test_what_a_generator_does_not_have():
    bare = FACTS._replace(extras=0, code=0, coded=False, maps=False)
    for scene, message in [
        ({"place": [0.0] * 21}, "no heatmaps"),
        ({"realism": {}}, "no realism direction"),
        ({"ws": WS}, "latents are maps"),
        ({"regions": [{"mask": MASK}]}, "need a StyleGAN2"),
    ]:
        with pytest.raises(UserError, match=message):
            parse(scene, bare)


def say(**message):
    return read(json.dumps({"id": 3} | message), FACTS)


def test_messages():
    assert isinstance(say(type="frame", scene={})[1], Frame)
    walked = say(type="frame", scenes=[{}, {"seed": 1}], at=0.5)[1]
    assert (walked.at, walked.closed, len(walked.scenes)) == (0.5, False, 2)
    assert isinstance(say(type="thumbs", scenes=[{}] * 24)[1], Thumbs)
    assert isinstance(say(type="overlay", scene={}, kind="heat", level=2)[1], Overlay)
    assert isinstance(say(type="still", scenes=[{}], kind="npz")[1], Still)
    job = say(type="job", kind="film", scenes=[{}], format="gif", frames=10, fps=20)
    assert job[0] == 3
    assert isinstance(job[1], Job)
    assert job[1].request["frames"] == 10
    assert isinstance(say(type="cancel")[1], Cancel)


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ({"type": "shout"}, "no type of message"),
        ({}, "None is no type"),
        ({"type": "frame"}, "list of 1 to 32"),
        ({"type": "frame", "scenes": [{}], "at": 1}, "from 0 to 0"),
        ({"type": "frame", "scene": {}, "moving": 3}, "true or false"),
        ({"type": "thumbs", "scenes": [{}] * 25}, "list of 1 to 24"),
        ({"type": "overlay", "scene": {}, "kind": "smell"}, "heat, attention"),
        ({"type": "overlay", "scene": {}, "kind": "heat", "level": 3}, "from 0 to 2"),
        ({"type": "still", "scenes": [{}], "kind": "exe"}, "png, npz"),
        ({"type": "job", "scenes": [{}], "kind": "mine"}, "give one of invert"),
        ({"type": "job", "scenes": [{}], "kind": "invert", "steps": 100}, "name that the upload"),
        ({"type": "job", "scenes": [{}], "kind": "invert", "photo": "x", "steps": 10**6}, "from 20 to 2000"),
        ({"type": "job", "scenes": [{}], "kind": "film", "format": "avi", "frames": 9, "fps": 9}, "gif, mp4"),
    ],
)
def test_what_is_no_message(message, words):
    number, error = say(**message)
    assert number == 3
    assert isinstance(error, UserError)
    assert words in str(error)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null", '{"id": -1}', '{"id": NaN}', "[" * 100_000, "9" * 10_000])
def test_texts_that_are_no_message(text):
    assert isinstance(read(text, FACTS)[1], UserError)
