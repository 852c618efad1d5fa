"""The server as browsers, and worse than browsers, meet it."""

import base64
import functools
import io
import json
import random
import socket
import struct
import threading
import time
import urllib.error
import urllib.request
import zlib

import numpy as np
import pytest
from PIL import Image
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from jaxgan.explorer.messages import Frame
from jaxgan.explorer.scene import GRID, Region, Scene
from jaxgan.explorer.server import MOST_CLIENTS
from tests.explorer.serving import Client, make_explorer, make_model, parts, serving


@functools.cache
def explorer():
    made = make_explorer(make_model())
    made.renderer.warm()
    return made


@pytest.fixture(scope="module")
def port():
    with serving(explorer()) as port:
        yield port


def get(port, path, **headers):
    """(status, headers, body)."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


def png(image):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def upload(port, data, **headers):
    headers = {"x-jaxgan": "upload"} | headers
    request = urllib.request.Request(f"http://127.0.0.1:{port}/upload", data, headers, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def test_frames_are_pictures_of_their_scenes(port):
    with Client(port) as client:
        assert client.hello["model"]["width"] == 16
        header, data = client.ask({"type": "frame", "scene": {"seed": 5}})
        assert header["media"] == "image/png"
        renderer = explorer().renderer
        from jaxgan.explorer.scene import Scene

        wanted = renderer.pictures(renderer.latents([Scene(seed=5)]))[0]
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), wanted)
        number = client.send({"type": "thumbs", "scenes": [{"seed": s} for s in range(9)]})
        assert [client.next(number)[0]["number"] for _ in range(9)] == list(range(9))
        ends = [client.ask({"type": "frame", "scene": {"seed": s}})[1] for s in (1, 2)]
        walked = [
            client.ask({"type": "frame", "scenes": [{"seed": 1}, {"seed": 2}], "at": at})[1] for at in (0, 0.5, 1)
        ]
        assert walked[0] == ends[0]
        assert walked[2] == ends[1]
        assert walked[1] not in ends


def test_thumbnails_have_the_noise_of_their_own_scenes(port):
    scenes = [{"seed": 3}, {"seed": 3, "noise": False}, {"seed": 3}]
    with Client(port) as client:
        found = []
        for asked in ([scenes[0]], [scenes[1]], scenes):
            number = client.send({"type": "thumbs", "scenes": asked})
            found.append({h["number"]: d for h, d in (client.next(number) for _ in asked)})
    assert found[0][0] != found[1][0]
    assert found[2] == {0: found[0][0], 1: found[1][0], 2: found[0][0]}


def test_a_full_server_says_so(port):
    made = make_explorer(renderer=explorer().renderer)
    made.clients = MOST_CLIENTS
    with serving(made) as other, connect(f"ws://127.0.0.1:{other}/socket") as refused:
        header, _ = parts(refused.recv(timeout=10))
        assert header["type"] == "bye"
        assert "as many visitors" in header["message"]


def test_a_job_that_waits_goes_with_its_client(port, monkeypatch):
    """The worker does not come to it."""
    begun, run = [], explorer()._jobs.run
    monkeypatch.setattr(explorer()._jobs, "run", lambda *a: begun.append(a[0]["kind"]) or run(*a))
    _, answer = upload(port, png(np.zeros((16, 16, 3), np.uint8)))
    job = {"type": "job", "kind": "invert", "photo": answer["photo"], "steps": 2000, "scenes": [{}]}
    with Client(port) as first:
        number = first.send(job)
        parts(first.socket.recv(timeout=60))
        second = Client(port)
        second.send(job)
        deadline = time.monotonic() + 10
        while explorer()._waiting < 2 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert explorer()._waiting == 2
        second.close()
        while explorer()._waiting > 1 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert explorer()._waiting == 1
        first.send({"type": "cancel"})
        assert first.next(number)[0]["message"] == "cancelled"
        film = {"type": "job", "kind": "film", "format": "gif", "frames": 2, "fps": 20, "closed": False}
        assert first.ask(film | {"scenes": [{"seed": 1}, {"seed": 2}]}, timeout=120)[0]["type"] == "done"
    assert begun == ["invert", "film"]


def test_slow_uploads_do_not_keep_others_waiting(port):
    slow = []
    for _ in range(3):
        raw = socket.create_connection(("127.0.0.1", port))
        head = f"POST /upload HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nx-jaxgan: upload\r\nContent-Length: 5000\r\n"
        raw.sendall(f"{head}\r\nx".encode())  # and no more than the first letter
        slow.append(raw)
    began = time.monotonic()
    assert upload(port, png(np.zeros((16, 16, 3), np.uint8)))[0] == 200
    assert time.monotonic() - began < 10
    for raw in slow:
        raw.close()


def test_connections_that_ask_for_nothing_are_closed(monkeypatch):
    """Also those with half a request, or half a second one; a page's own stay."""
    monkeypatch.setattr("jaxgan.explorer.serve.PATIENCE", 0.3)
    with serving(make_explorer(renderer=explorer().renderer)) as other, Client(other) as client:
        silent, half, second = (socket.create_connection(("127.0.0.1", other), timeout=10) for _ in range(3))
        half.sendall(b"GET / HTTP/1.1\r\nHost: 127")
        second.sendall(f"GET /health HTTP/1.1\r\nHost: 127.0.0.1:{other}\r\n\r\nGET /he".encode())
        for raw in (silent, half, second):
            with raw:
                answer = b""
                while part := raw.recv(4096):  # until it is closed
                    answer += part
                assert (b"200 OK" in answer) == (raw is second)
        assert client.ask({"type": "frame", "scene": {"seed": 1}})[0]["type"] == "frame"
        assert get(other, "/health")[0] == 200


def test_photographs_scribbles_realism_and_films(port):
    photo = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
    status, answer = upload(port, png(photo))
    assert status == 200
    with Client(port) as client:
        job = {"type": "job", "scenes": [{"seed": 1}]}
        number = client.send(job | {"kind": "invert", "photo": answer["photo"], "steps": 40})
        news = []
        while True:
            header, data = parts(client.socket.recv(timeout=300))
            assert header["id"] == number
            if header["type"] != "news":
                break
            news.append((header, data))
        assert header["type"] == "done"
        assert any(data for _, data in news)  # what has been found so far
        assert any("total" in h for h, _ in news)
        assert "latents" in header, header
        photograph = header["latents"][0]
        found = client.ask({"type": "frame", "scene": photograph})
        assert found[0]["type"] == "frame"

        drawing = np.zeros((64, 64, 4), np.uint8)
        drawing[10:40, 20:50] = [255, 0, 0, 255]
        text = base64.b64encode(png(drawing)).decode()
        header, _ = client.ask(job | {"kind": "scribble", "drawing": text, "steps": 20, "likely": False}, timeout=300)
        assert len(header.get("latents", ())) == 4, header
        header, _ = client.ask(
            job | {"kind": "scribble", "drawing": text, "steps": 20, "near": True, "likely": True}, timeout=300
        )
        assert len(header.get("latents", ())) == 1, header
        empty = base64.b64encode(png(0 * drawing)).decode()
        header, _ = client.ask(job | {"kind": "scribble", "drawing": empty, "steps": 20}, timeout=300)
        assert header["message"] == "nothing is drawn"

        asked = (client.ask(job | {"kind": "realism", "scenes": [{"seed": s}]}, timeout=300)[0] for s in range(8))
        assert any(header["type"] == "done" for header in asked)
        header, _ = client.ask(job | {"kind": "realism", "scenes": [photograph]}, timeout=300)
        assert header["type"] == "done" or "no direction" in header["message"]
        if header["type"] == "done":
            assert (
                client.ask({"type": "frame", "scene": photograph | {"realism": header["realism"]}})[0]["type"]
                == "frame"
            )

        job |= {"scenes": [{"seed": 1}, {"seed": 2}, {"seed": 3}]}
        header, _ = client.ask(
            job | {"kind": "film", "format": "gif", "frames": 5, "fps": 20, "closed": True}, timeout=300
        )
        status, headers, data = get(port, f"/file/{header['file']}")
        assert status == 200
        assert "attachment" in headers["content-disposition"]
        assert Image.open(io.BytesIO(data)).n_frames == 15
        header, _ = client.ask({"type": "still", "kind": "npz", "scenes": [{"seed": 1}, {"seed": 2}]})
        with np.load(io.BytesIO(get(port, f"/file/{header['file']}")[2])) as file:
            assert file["ws"].shape == (2, 6, 8)


def test_a_job_is_cancelled_and_another_may_begin(port):
    _, answer = upload(port, png(np.zeros((16, 16, 3), np.uint8)))
    message = {"type": "job", "kind": "invert", "photo": answer["photo"], "steps": 2000, "scenes": [{}]}
    with Client(port) as client:
        first = client.send(message)
        parts(client.socket.recv(timeout=60))
        assert client.ask(message)[0]["message"].startswith("one job at a time")
        client.send({"type": "cancel"})
        assert client.next(first)[0]["message"] == "cancelled"
        assert client.ask(message | {"photo": "gone", "steps": 20})[0]["message"].startswith("that is not kept")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no picture"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "no picture of a kind"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "no picture"),
        (png(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))[:-500], "cannot be read"),
    ],
)
def test_uploads_that_are_no_pictures(port, data, words):
    status, answer = upload(port, data)
    assert status == 400
    assert words in answer["error"]


def bomb(width, height):
    """A PNG of so many pixels in a few bytes."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(10**6)))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("size", [(8000, 8000), (100_000, 100_000)])
def test_bombs_are_refused_by_their_headers(port, size):
    began = time.monotonic()
    status, answer = upload(port, bomb(*size))
    assert status == 400
    assert time.monotonic() - began < 2
    assert "megapixels" in answer["error"] or "cannot be read" in answer["error"]


def test_an_upload_is_bounded_and_comes_from_the_page(port):
    assert upload(port, bytes(21 * 2**20))[0] == 413
    assert upload(port, b"x", **{"x-jaxgan": "no"})[0] == 403


def test_nothing_else_can_be_reached(port):
    for path in (
        "/static/../server.py",
        "/static/%2e%2e/server.py",
        "/static/..%2fserver.py",
        "/static/server.py",
        "/static/",
        "/static//etc/passwd",
        "/file/..%2f..%2fetc%2fpasswd",
        "/docs",
        "/openapi.json",
    ):
        assert get(port, path)[0] == 404, path
    with pytest.raises(InvalidStatus), connect(f"ws://127.0.0.1:{port}/other"):
        pass


def test_what_the_page_may_do_is_said_in_every_answer(port):
    for path in ("/", "/static/main.js", "/nothing"):
        _, headers, body = get(port, path)
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert b"http://" not in body.replace(b"http://www.w3.org", b"")  # nothing comes from elsewhere
        assert b"https://" not in body


def test_other_sites_and_other_names_are_refused(port):
    assert get(port, "/", Host="evil.example")[0] == 403
    assert get(port, "/", Origin="http://evil.example")[0] == 403
    assert get(port, "/", Origin=f"http://127.0.0.1:{port}")[0] == 200
    with pytest.raises(InvalidStatus), connect(f"ws://127.0.0.1:{port}/socket", origin="http://evil.example"):
        pass


def test_a_token():
    with serving(make_explorer(renderer=explorer().renderer), token="word") as port:
        assert get(port, "/")[0] == 403
        assert get(port, "/static/main.js")[0] == 403
        with pytest.raises(InvalidStatus), connect(f"ws://127.0.0.1:{port}/socket"):
            pass
        cookie = {"Cookie": f"jaxgan_token_{port}=word"}
        assert get(port, "/", **cookie)[0] == 200
        with Client(port, additional_headers=cookie) as client:
            assert client.ask({"type": "frame", "scene": {}})[0]["type"] == "frame"
        assert get(port, "/", Cookie=f"jaxgan_token_{port}=wor")[0] == 403
        assert get(port, "/?token=wrong")[0] == 403  # is sent on to the page without a cookie
    with serving(make_explorer(renderer=explorer().renderer), hosts=("*",)) as port:
        assert get(port, "/", Host="anything.example")[0] == 200


def test_a_client_that_waits_for_its_job_is_not_idle():
    with serving(make_explorer(renderer=explorer().renderer, idle=0.5)) as port:
        _, answer = upload(port, png(np.zeros((16, 16, 3), np.uint8)))
        with Client(port) as client:
            job = {"type": "job", "kind": "invert", "photo": answer["photo"], "steps": 2000, "scenes": [{}]}
            number = client.send(job)
            time.sleep(1.5)
            client.send({"type": "cancel"})
            assert client.next(number)[0]["message"] == "cancelled"


def test_an_idle_client_is_closed():
    made = make_explorer(renderer=explorer().renderer, idle=0.5)
    with serving(made) as port, Client(port) as client:
        assert parts(client.socket.recv(timeout=10))[0]["type"] == "bye"
        with pytest.raises(ConnectionClosed):
            client.socket.recv(timeout=10)
        deadline = time.monotonic() + 5
        while made.clients and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not made.clients


def test_a_drag_never_lags_behind(port):
    """Of 300 scenes sent at once few are rendered, and the last one is."""
    with Client(port) as client:
        before = explorer().batcher.answered
        for seed in range(300):
            last = client.send({"type": "frame", "scene": {"seed": 10_000 + seed}, "moving": True})
        client.next(last)
        assert explorer().batcher.answered - before < 150


def test_silent_and_vanished_clients_do_not_stall_others(port):
    quiet = [Client(port) for _ in range(4)]
    for client in quiet:  # they ask for much and read nothing
        for seed in range(50):
            client.send({"type": "thumbs", "scenes": [{"seed": seed + i} for i in range(24)]})
    raw = socket.create_connection(("127.0.0.1", port))
    raw.sendall(b"GET /socket HTTP/1.1\r\nHost: 127.0.0.1\r\n")  # and one stops in the middle of a word
    with Client(port) as client:
        took = []
        for seed in range(20):
            began = time.monotonic()
            client.ask({"type": "frame", "scene": {"seed": 500 + seed}})
            took.append(time.monotonic() - began)
        assert sorted(took)[10] < 2
    for client in quiet:
        client.socket.socket.close()  # without a farewell
    raw.close()
    with Client(port) as client:
        assert client.ask({"type": "frame", "scene": {"seed": 1}})[0]["type"] == "frame"


def test_many_share_the_device(port, monkeypatch):
    """Requests of several clients are answered by fewer calls than requests, latents and pictures both."""
    renderer, calls = explorer().renderer, []
    make = renderer._made
    monkeypatch.setattr(renderer, "_made", lambda scenes: calls.append(len(scenes)) or make(scenes))
    clients, count = [Client(port) for _ in range(8)], 10
    batches, answered = explorer().batcher.batches, explorer().batcher.answered

    def play(client, first):
        for i in range(count):
            assert client.ask({"type": "frame", "scene": {"seed": 2000 + first + i}})[0]["type"] == "frame"

    threads = [threading.Thread(target=play, args=(c, 100 * n)) for n, c in enumerate(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for client in clients:
        client.close()
    answered = explorer().batcher.answered - answered
    assert answered == 8 * count
    assert explorer().batcher.batches - batches < answered
    assert sum(calls) == answered
    assert len(calls) <= explorer().batcher.batches - batches


def test_what_one_user_may_not_do_is_another_s_picture(port):
    """Requests that are computed together fail apart."""
    region = Region(np.ones((GRID, GRID), np.float32), 1, {})
    mixed = Frame([Scene(), Scene(regions=(region,))], 0.5, False, False)
    good = Frame([Scene(seed=7)], None, False, False)
    refused, made = explorer().compute([mixed, good])
    assert "cannot be walked between" in str(refused)
    assert made[0][0]["media"] == "image/png"


def fuzzed(rng):
    """A text that is a message, or nearly."""
    good = [
        {"type": "frame", "id": 1, "scene": {"seed": 1, "psi": 0.5}},
        {"type": "frame", "id": 1, "scenes": [{}, {"seed": 1}], "at": 0.3},
        {"type": "overlay", "id": 1, "scene": {}, "kind": "attention", "feature": "b8", "evidence": "fake"},
        {"type": "still", "id": 1, "scenes": [{}], "kind": "png"},
        {"type": "job", "id": 1, "kind": "film", "format": "gif", "frames": 3, "fps": 5, "scenes": [{}]},
        {"type": "frame", "id": 1, "scene": {"regions": [{"mask": "A" * (-(-GRID * GRID // 3) * 4), "seed": 3}]}},
    ]
    odd = [None, True, -1, 1e308, 10**30, "", "x" * 300, [], [[]], {}, {"a": 1}, "\u0000", "\ud800", [0] * 100, 0.5]
    text = json.dumps(rng.choice(good))
    match rng.randrange(4):
        case 0:  # another value somewhere
            message = json.loads(text)
            inner = message.get("scene") if isinstance(message.get("scene"), dict) and rng.random() < 0.6 else message
            inner[rng.choice([*inner, "moves", "layers", "mix", "place", "realism", "parts"])] = rng.choice(odd)
            return json.dumps(message)
        case 1:  # bytes changed
            letters = list(text)
            for _ in range(rng.randrange(1, 6)):
                letters[rng.randrange(len(letters))] = chr(rng.randrange(32, 127))
            return "".join(letters)
        case 2:
            return text[: rng.randrange(len(text))]
    return "".join(chr(rng.randrange(1, 0xD7FF)) for _ in range(rng.randrange(50)))


def test_10_000_malformed_messages_are_survived(port):
    """By the very connection that they came on: each is answered, and none is a failure of the server's."""
    rng, answers = random.Random(0), []
    with Client(port) as client:
        reading = threading.Thread(target=collect, args=(client.socket, answers), daemon=True)
        reading.start()
        for i in range(10_000):
            if i % 500 == 499:
                client.socket.send(bytes(rng.randrange(256) for _ in range(50)))  # no text at all
            client.socket.send(fuzzed(rng))
        of_no_feature = {"type": "overlay", "id": LAST, "scene": {}, "kind": "attention"}
        client.socket.send(json.dumps(of_no_feature))
        deadline = time.monotonic() + 60
        while not (last := [a for a in answers if a.get("id") == LAST]) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert [a["type"] for a in last] == ["error"]
    with Client(port) as client:
        assert client.ask({"type": "frame", "scene": {"seed": 1}})[0]["type"] == "frame"
    errors = [a["message"] for a in answers if a["type"] == "error"]
    assert len(errors) > 5000
    assert not [words for words in errors if "the server failed" in words]


LAST = 2**31


def collect(socket, answers):
    """Headers of what comes, until the connection is closed."""
    try:
        while True:
            answers.append(parts(socket.recv())[0])
    except (ConnectionClosed, OSError):
        pass


def send_and_wait(socket, text):
    socket.send(text)
    socket.recv(timeout=10)


def test_a_message_that_is_too_large_closes_its_own_connection_only(port):
    with Client(port) as client, pytest.raises(ConnectionClosed):
        send_and_wait(client.socket, "x" * (9 * 2**20))
    with Client(port) as client:
        assert client.ask({"type": "frame", "scene": {"seed": 1}})[0]["type"] == "frame"
