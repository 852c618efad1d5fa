"""The explorer's server: the page, its socket, uploads and files. Nothing else can be reached.

Starlette and uvicorn: the page needs six routes and no models of requests, so FastAPI's layer above them is left out.
"""

import asyncio
import contextlib
import hmac
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from typing import Any

import numpy as np
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from jaxgan.errors import UserError
from jaxgan.explorer.batcher import Batcher
from jaxgan.explorer.jobs import CANDIDATES, MOST_KEYS, Cancelled, Jobs, between, still
from jaxgan.explorer.messages import MOST_CHARACTERS, MOST_THUMBS, Frame, Job, Message, Overlay, Still, Thumbs
from jaxgan.explorer.photos import MOST_BYTES, encode, read_upload
from jaxgan.explorer.renderer import Latent, Renderer
from jaxgan.explorer.scene import GRID, MOST_PARTS, MOST_REGIONS, STRENGTH
from jaxgan.explorer.session import Gone, Session, packed
from jaxgan.explorer.store import Store
from jaxgan.movie import shrink

MOST_CLIENTS = 64
_COOKIE = "jaxgan_token"
_THUMB = 96  # px of a side, at most
_MOVING = 256  # px of a frame's side while something is dragged
_KEPT_SECONDS = 1800
_RECEIVED, _DECODED = 8, 2  # uploads at a time
_UPLOAD_SECONDS = 60.0
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


class Explorer:
    """Everything the server works with.

    Args:
        renderer: of the model.
        about: of the model and its directions, for the page.
        idle: seconds after which a silent client is closed.

    Attributes:
        batcher, clients: who waits for the device, and how many are connected.
    """

    def __init__(self, renderer: Renderer, about: Mapping[str, Any], idle: float = 900.0):
        self.renderer, self.about, self.idle = renderer, about, idle
        self.batcher = Batcher(self.compute, renderer.batch)
        self.clients = 0
        self.photos = Store(64, 256 * 2**20, _KEPT_SECONDS)
        self.files = Store(64, 256 * 2**20, _KEPT_SECONDS)
        self._jobs = Jobs(renderer, self.photos, self.files, lambda: self.batcher.busy)
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="jobs")
        self._waiting = 0

    def hello(self) -> dict[str, Any]:
        """What a page is told first."""
        generator, facts = self.renderer.model.gan.generator, self.renderer.facts
        height, width, channels = generator.image_shape
        model = {
            "height": height,
            "width": width,
            "channels": channels,
            "num_ws": facts.num_ws,
            "classes": facts.classes,
            "heatmaps": bool(facts.extras),
            "maps": facts.maps,
            "photos": facts.coded,
            "mapped": not facts.coded,
            "realism": bool(facts.code),
            "truncatable": bool(getattr(generator, "truncatable", True)),
            "features": list(self.renderer.features),
            "grid": GRID,
        }
        limits = {"regions": MOST_REGIONS, "parts": MOST_PARTS, "strength": STRENGTH, "candidates": CANDIDATES}
        limits |= {"upload": MOST_BYTES, "keys": MOST_KEYS, "thumbs": MOST_THUMBS}
        return {"model": model, "limits": limits} | dict(self.about)

    def compute(self, requests: Sequence[Message]) -> list[Any]:
        """[(header, bytes), ...] of each request, or the error that it met; frames and thumbnails in one call."""
        answers: list[Any] = [None] * len(requests)
        wanted: dict[bool, list[tuple[int, int, Latent]]] = {True: [], False: []}  # by noise: request, number in it
        with contextlib.suppress(UserError):  # each request meets its own below
            drawn = [request for request in requests if isinstance(request, Frame | Thumbs)]
            self.renderer.latents([scene for request in drawn for scene in request.scenes])  # one call; they are kept
        for i, request in enumerate(requests):
            try:
                match request:
                    case Frame() | Thumbs():
                        for n, latent in enumerate(self._latents(request)):
                            wanted[request.scenes[n].noise].append((i, n, latent))
                    case Overlay():
                        answers[i] = [({"media": "image/png"}, encode(self._overlay(request), moving=False)[0])]
                    case Still():
                        answers[i] = [(still(self.renderer, request.scenes, request.kind, self.files), b"")]
            except UserError as error:
                answers[i] = error
        for noise, latents in wanted.items():
            if not latents:
                continue
            pictures = self.renderer.pictures([latent for _, _, latent in latents], noise)
            for picture, (i, n, latent) in zip(pictures, latents):
                answers[i] = [*(answers[i] or []), self._answer(requests[i], n, picture, latent)]
        return answers

    def _latents(self, request: Frame | Thumbs) -> list[Latent]:
        found = self.renderer.latents(request.scenes)
        if isinstance(request, Thumbs) or request.at is None:
            return found
        return between(found, np.array([request.at]), closed=request.closed)

    def _answer(self, request: Frame | Thumbs, number: int, picture: np.ndarray, latent: Latent) -> Any:
        if isinstance(request, Thumbs):
            data, media = encode(shrink(picture[None], _THUMB)[0], moving=True)
            return {"number": number, "media": media}, data
        data, media = encode(shrink(picture[None], _MOVING)[0] if request.moving else picture, request.moving)
        beside = None if latent.extras is None else [round(float(v), 5) for v in latent.extras]
        return {"media": media, "place": beside, "moving": request.moving}, data

    def _overlay(self, request: Overlay) -> np.ndarray:
        latent = self.renderer.latents([request.scene])[0]
        if request.kind == "heat":
            return self.renderer.heat(latent, request.level)
        return self.renderer.attention(request.scene, latent, request.feature, request.evidence)

    async def forget(self) -> None:
        """Drops what is too old, every minute."""
        while True:
            await asyncio.sleep(60)
            self.photos.clear()
            self.files.clear()

    async def run(self, message: Job, tell: Any, stopped: threading.Event) -> dict[str, Any]:
        """A job's result, when its turn has come.

        Raises:
            UserError: too many wait.
        """
        if self._waiting >= MOST_CLIENTS // 4:
            raise UserError("too many jobs are waiting on this server; try again in a while")
        self._waiting += 1
        try:
            queued = self._worker.submit(self._jobs.run, message.request, message.scenes, tell, stopped)
            running = asyncio.wrap_future(queued)
            while not running.done():
                await asyncio.wait([running], timeout=0.2)
                if stopped.is_set() and queued.cancel():  # its turn has not come yet
                    raise Cancelled
            return running.result()
        except asyncio.CancelledError:  # the client has gone
            stopped.set()
            queued.cancel()
            raise
        finally:
            self._waiting -= 1


# HTTP


def make_app(explorer: Explorer, *, token: str = "", hosts: Sequence[str] = ()) -> Starlette:
    """The application.

    Args:
        explorer: what it serves.
        token: asked for where it is not empty: `/?token=...` once, then a cookie.
        hosts: names by which it may be called, beside those of this machine; ("*",) for any, behind a proxy.
    """
    files = _static()
    receiving, decoding = asyncio.Semaphore(_RECEIVED), asyncio.Semaphore(_DECODED)

    async def page(request: Request) -> Response:
        if token and "token" in request.query_params:
            answer = RedirectResponse("/", 303)
            if hmac.compare_digest(request.query_params["token"].encode(), token.encode()):
                answer.set_cookie(_cookie(request), token, httponly=True, samesite="lax")  # links lead here
            return answer
        return _sent(*files["index.html"])

    async def static(request: Request) -> Response:
        found = files.get(request.path_params["name"])
        return _sent(*found) if found else PlainTextResponse("there is no such file", 404)

    async def upload(request: Request) -> Response:
        if request.headers.get("x-jaxgan") != "upload":  # what no other site's page can send unasked
            return JSONResponse({"error": "an upload comes from this page"}, 403)
        shape = tuple(explorer.renderer.model.gan.generator.image_shape)
        try:
            async with asyncio.timeout(_UPLOAD_SECONDS), receiving:
                data = bytearray()
                async for part in request.stream():
                    data += part
                    if len(data) > MOST_BYTES:
                        return JSONResponse({"error": f"pictures of {MOST_BYTES >> 20} MB at most are taken"}, 413)
                async with decoding:
                    image = await asyncio.to_thread(read_upload, bytes(data), shape)
            name = explorer.photos.put(image, image.nbytes)
        except TimeoutError:
            return JSONResponse({"error": "the upload took too long; try again, or a smaller picture"}, 408)
        except UserError as error:
            return JSONResponse({"error": str(error)}, 400)
        return JSONResponse({"photo": name})

    async def fetch(request: Request) -> Response:
        try:
            data, media, name = explorer.files.get(request.path_params["name"])
        except UserError as error:
            return PlainTextResponse(str(error), 404)
        return Response(data, media_type=media, headers={"content-disposition": f'attachment; filename="{name}"'})

    async def health(request: Request) -> Response:
        return JSONResponse({"clients": explorer.clients, "answered": explorer.batcher.answered})

    async def socket(websocket: WebSocket) -> None:
        if explorer.clients >= MOST_CLIENTS:
            words = "this server has as many visitors as it takes; it opens again when you go on, later"
            await websocket.accept()
            await websocket.send_bytes(packed({"type": "bye", "message": words}))
            await websocket.close(1013)
            return
        explorer.clients += 1
        try:
            await websocket.accept()
            wrapped = _Socket(websocket)
            session = Session(wrapped, explorer.renderer.facts, explorer.batcher, explorer, explorer.idle)
            await session.serve(explorer.hello())
            if websocket.client_state == websocket.application_state == WebSocketState.CONNECTED:
                await websocket.close()
        finally:
            explorer.clients -= 1

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette):
        tasks = [asyncio.create_task(run) for run in (explorer.batcher.run(), explorer.forget())]
        yield
        for task in tasks:
            task.cancel()

    routes = [
        Route("/", page),
        Route("/static/{name}", static),
        Route("/upload", upload, methods=["POST"]),
        Route("/file/{name}", fetch),
        Route("/health", health),
        WebSocketRoute("/socket", socket),
    ]
    guard = Middleware(Guard, token=token, hosts=tuple(hosts))
    return Starlette(routes=routes, middleware=[guard], lifespan=lifespan)


class Guard:
    """Refuses who calls by another host's name (a page elsewhere that points its name here), from another site, or
    without the token; and says in every answer what the page may do.
    """

    def __init__(self, app: Any, token: str, hosts: tuple[str, ...]):
        self._app, self._token, self._hosts = app, token, hosts

    async def __call__(self, scope: Any, receive: Any, send: Callable[[Any], Awaitable[None]]) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        refused = self._refused(HTTPConnection(scope))

        async def with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                given = {name for name, _ in message["headers"]}
                more = [(k.encode(), v.encode()) for k, v in _HEADERS.items() if k.encode() not in given]
                message["headers"] = [*message["headers"], *more]
            await send(message)

        if not refused:
            await self._app(scope, receive, with_headers)
        elif scope["type"] == "http":
            await PlainTextResponse(refused, 403)(scope, receive, with_headers)
        else:
            await receive()
            await send({"type": "websocket.close", "code": 1008})

    def _refused(self, asked: HTTPConnection) -> str:
        """Why, or nothing."""
        host = asked.headers.get("host", "")
        if "*" not in self._hosts and _bare(host) not in ("localhost", "127.0.0.1", "[::1]", *self._hosts):
            return "this server is not called by that name; see --allow_host"
        origin = asked.headers.get("origin")
        if origin is not None and origin.partition("://")[2] != host:
            return "pages of other sites may not ask this server"
        if self._token and not self._knows_token(asked):
            return "this server asks for a token: open /?token=... with what it printed"
        return ""

    def _knows_token(self, asked: HTTPConnection) -> bool:
        if asked.url.path == "/" and "token" in asked.query_params:
            return True  # the page compares it and sets the cookie
        return hmac.compare_digest(asked.cookies.get(_cookie(asked), "").encode(), self._token.encode())


class _Socket:
    """A WebSocket as a session sees it."""

    def __init__(self, websocket: WebSocket):
        self._websocket = websocket

    async def receive_text(self) -> str:
        try:
            message = await self._websocket.receive()
        except (WebSocketDisconnect, RuntimeError) as error:
            raise Gone from error
        if message["type"] != "websocket.receive":
            raise Gone
        text = message.get("text")
        return text if text is not None and len(text) <= MOST_CHARACTERS else ""

    async def send_bytes(self, data: bytes) -> None:
        try:
            await self._websocket.send_bytes(data)
        except (WebSocketDisconnect, RuntimeError, OSError) as error:
            raise Gone from error


def _cookie(asked: HTTPConnection) -> str:
    """Its name: ports of a host share their cookies."""
    return f"{_COOKIE}_{asked.url.port or 0}"


def _bare(host: str) -> str:
    """A host without its port."""
    return host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host


def _static() -> dict[str, tuple[bytes, str]]:
    """{name: (bytes, media type)} of the page's files: what is served is in memory, and no path is looked up."""
    found = {}
    for file in resources.files("jaxgan.explorer").joinpath("static").iterdir():
        suffix = file.name[file.name.rfind(".") :]
        if suffix in _TYPES:
            found[file.name] = (file.read_bytes(), _TYPES[suffix])
    return found


def _sent(data: bytes, media: str) -> Response:
    return Response(data, media_type=media)
