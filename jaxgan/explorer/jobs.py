"""What takes longer than a frame: photographs into latents, scribbles, the realism direction, films. One at a time.

A job runs in a thread of its own and tells of its progress; between the chunks of its loop it lets frames go first.
"""

import functools
import io
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan import config as configs
from jaxgan import movie
from jaxgan.errors import UserError
from jaxgan.explorer.arcs import code_of
from jaxgan.explorer.photos import encode, read_drawing
from jaxgan.explorer.renderer import Latent, Renderer
from jaxgan.explorer.scene import Scene, code_size, encoded
from jaxgan.explorer.store import Store
from jaxgan.features.trunks import load_trunk
from jaxgan.latent.invert import Inversion, invert
from jaxgan.latent.realism import Search
from jaxgan.latent.space import has_mapping
from jaxgan.ops.interpolate import spline
from jaxgan.report import encode_png, to_uint8

CANDIDATES = 4  # pictures of a scribble to choose from
MOST_KEYS = 32  # of a film
MOST_FRAMES = 600
FILMS = {"gif": "image/gif", "mp4": "video/mp4"}
_ROOM = 400 * 2**20  # bytes of a film's frames

Tell = Callable[[Mapping[str, Any], bytes], None]  # news of a job: a header, and a picture or nothing


class Cancelled(Exception):
    """The client has cancelled the job, or gone."""


class Jobs:
    """The work of jobs; one thread calls it.

    Args:
        renderer: see there.
        photos, files: where uploads are, and where results are put to be fetched.
        busy: whether frames are waiting.
    """

    def __init__(self, renderer: Renderer, photos: Store, files: Store, busy: Callable[[], bool] = lambda: False):
        self._renderer, self._photos, self._files, self._busy = renderer, photos, files, busy
        self._model = renderer.model
        self._searches: dict[str, Search] = {}

    def run(self, request: Mapping[str, Any], scenes: list[Scene], tell: Tell, stopped: threading.Event) -> dict:
        """The result of a checked request (`jaxgan.explorer.messages.Job`), JSON.

        Raises:
            Cancelled: `stopped` was set.
            UserError: what was asked for cannot be had.
        """

        def progress(done: int, total: int) -> None:
            if stopped.is_set():
                raise Cancelled
            tell({"done": done, "total": max(total, 1)}, b"")
            waited = time.monotonic() + 0.5
            while self._busy() and time.monotonic() < waited:
                time.sleep(0.002)

        if stopped.is_set():
            raise Cancelled
        work = {"invert": self._invert, "scribble": self._scribble, "realism": self._realism, "film": self._film}
        return work[request["kind"]](request, scenes, progress, tell)

    def _found(self, images: np.ndarray, config: Any, progress: Any, **more: Any) -> Inversion:
        gan, variables = self._model.gan, self._model.variables
        if config.weights.conv and not _has_trunk(config.trunk, tuple(config.convs), config.trunk_weights or None):
            config.weights.conv = 0.0
        critic = variables.get("discriminator")
        if critic is None:
            config.weights.realism = 0.0
        return invert(
            gan,
            variables["generator"],
            critic,
            images,
            config.to_dict(),
            stats=self._renderer.statistics,
            progress=progress,
            **more,
        )

    def _invert(self, request: Mapping[str, Any], scenes: list[Scene], progress: Any, tell: Tell) -> dict:
        """A photograph's latent."""
        image = self._photos.get(request["photo"])
        config = configs.load("invert")
        steps = request["steps"]
        changes = {"steps": steps, "chunk": 20, "batch": 1, "candidates": 128, "weights.prior": 0.02}
        changes |= {"weights.spread": 0.01, "snapshots": tuple(range(0, steps, 20))}
        configs.override(config, [f"{name}={value}" for name, value in changes.items()])
        label = _label(self._model, scenes)
        found = self._found(image[None], config, progress, labels=label, watch=_shown(tell))
        difference = float(np.abs(found.images[0] - (image.astype(np.float32) / 127.5 - 1)).mean() / 2)
        return {"latents": [_latent(found, 0, label)], "note": f"mean difference {difference:.1%} of the range"}

    def _scribble(self, request: Mapping[str, Any], scenes: list[Scene], progress: Any, tell: Tell) -> dict:
        """Pictures that have what is drawn: of random latents, or near the picture that was drawn on."""
        shape = tuple(self._model.gan.generator.image_shape)
        colours, mask = read_drawing(request["drawing"], shape)
        name = "scribble" if request["likely"] else "scribble_plain"
        start, beside, count, steps = None, None, CANDIDATES, request["steps"]
        changes = {"steps": steps, "chunk": 20, "batch": CANDIDATES, "snapshots": tuple(range(0, steps, 20))}
        changes |= {"start": "candidates", "candidates": 16}
        if request["near"]:
            name, count = "scribble_photo", 1
            changes |= {"batch": 1, "weights.delta_squared": 0.02 if request["likely"] else 0.0}
            latent = self._renderer.latents(scenes)[0]
            if latent.ws.ndim != 2:
                raise UserError("a scene with regions or parts cannot be drawn on yet; clear them first")
            start = np.asarray(latent.ws)[None]
            beside = None if latent.extras is None else latent.extras[None]
        config, label = configs.load(name), _label(self._model, scenes)
        configs.override(config, [f"{key}={value}" for key, value in changes.items()])
        found = self._found(
            np.repeat(colours[None], count, 0),
            config,
            progress,
            masks=np.repeat(mask[None], count, 0),
            labels=label,
            start=start,
            extras=beside,
            watch=_shown(tell),
        )
        order = np.argsort(np.where(np.isfinite(found.loss), found.loss, np.inf), kind="stable")
        for place, row in enumerate(order):
            tell({"candidate": place}, encode(to_uint8(found.images[row]), moving=False)[0])
        return {"latents": [_latent(found, row, label) for row in order], "note": f"{count} to choose from"}

    def _realism(self, request: Mapping[str, Any], scenes: list[Scene], progress: Any, tell: Tell) -> dict:
        """The arc of a scene's own latent, from it to its prototype: of z, or of a photograph's code."""
        renderer, generator, scene = self._renderer, self._model.gan.generator, scenes[0]
        photo = scene.ws is not None
        code_size(renderer.facts, photo)
        search = self._search("w" if photo and has_mapping(generator) else "z", progress)
        label = _label(self._model, scenes)
        if photo:
            code = np.asarray(code_of(generator, renderer.statistics, scene.ws))
            found = search.find(code[None], label, coded=True, progress=progress)
        else:
            found = search.find(renderer.z(scene)[None], label, progress=progress)
        if found.degenerate[0]:
            raise UserError("the inversion came back to the same code: this picture has no direction")
        share = round(float(found.share[0]), 3)
        return {
            "realism": {"x": encoded(found.x[0]), "p": encoded(found.p[0]), "share": share},
            "note": f"the arc to its prototype has {found.whole[0]:.0f} degrees; {share:.0%} of it was chosen",
        }

    def _search(self, space: str, progress: Any) -> Search:
        if space not in self._searches:
            config = configs.load("realism")
            configs.override(config, ["batch=50", "chunk=10", f"space={space}"])
            gan, variables = self._model.gan, self._model.variables
            networks = variables["generator"], variables["discriminator"]
            stats = self._renderer.statistics
            self._searches[space] = Search(gan, *networks, config.to_dict(), stats=stats, progress=progress)
        return self._searches[space]

    def _film(self, request: Mapping[str, Any], scenes: list[Scene], progress: Any, tell: Tell) -> dict:
        """A smooth walk through the latents of scenes, as a file."""
        latents, closed, batch = self._renderer.latents(scenes), request["closed"], self._renderer.batch
        times = np.arange((len(scenes) - (not closed)) * request["frames"] + (not closed)) / request["frames"]
        height, width, channels = self._model.gan.generator.image_shape
        most = min(MOST_FRAMES, _ROOM // (height * width * channels))
        if len(times) > most:
            raise UserError(f"{len(times)} frames of {width}x{height}; {most} at most, take fewer a step")
        frames = []
        for first in range(0, len(times), batch):
            chosen = between(latents, times[first : first + batch], closed=closed)
            frames.append(self._renderer.pictures(chosen, scenes[0].noise))
            progress(min(first + batch, len(times)), len(times))
        pictures = np.concatenate(frames)
        scale = max(1, 256 // pictures.shape[1])
        timing = round(1000 / request["fps"])
        if request["format"] == "gif":
            data = movie.encode_gif(pictures, timing, ping_pong=False, scale=scale)
        else:
            data = movie.encode_mp4(pictures, request["fps"], scale)
        return self._file(data, FILMS[request["format"]], f"walk.{request['format']}", len(times))

    def _file(self, data: bytes, kind: str, name: str, frames: int) -> dict:
        kept = self._files.put((data, kind, name), len(data))
        return {"file": kept, "name": name, "note": f"{frames} frames, {len(data) / 1000:.0f} kB"}


def still(renderer: Renderer, scenes: list[Scene], kind: str, files: Store) -> dict:
    """A picture (png) or the latents (npz, as `jaxgan walk --latents` takes them) of scenes, as a file to fetch."""
    latents = renderer.latents(scenes)
    if kind == "png":
        data, media = encode_png(renderer.pictures(latents[:1], scenes[0].noise)[0]), "image/png"
    else:
        ws = [np.asarray(latent.ws) for latent in latents]
        if len({w.ndim for w in ws}) > 1:
            raise UserError("latents with a place and without cannot be in one file; export them one by one")
        arrays: dict[str, Any] = {"ws": np.stack(ws), "names": np.array([f"scene{i}" for i in range(len(ws))])}
        if latents[0].extras is not None:
            arrays["extras"] = np.stack([latent.extras for latent in latents])
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        data, media = buffer.getvalue(), "application/octet-stream"
    name = {"png": "picture.png", "npz": "latents.npz"}[kind]
    return {"file": files.put((data, media, name), len(data)), "name": name, "note": f"{len(data) / 1000:.0f} kB"}


def between(latents: list[Latent], times: np.ndarray, *, closed: bool) -> list[Latent]:
    """A spline through latents at times: 0 is the first, 1 the second, and so on; `closed` goes on to the first again.

    Raises:
        UserError: they are of different kinds.
    """
    if len(latents) == 1:
        return latents * len(times)
    if len({latent.ws.shape for latent in latents}) > 1:
        raise UserError("scenes with regions or parts and scenes without cannot be walked between")
    t = jnp.asarray(times, jnp.float32)
    ws = _spline(jnp.stack([x.ws for x in latents]), t, closed)
    beside = [x.extras for x in latents]
    walked = None
    if beside[0] is not None:  # which a spline must not swing beyond: widths of heatmaps
        ends = np.stack(beside)
        walked = np.clip(_spline(jnp.asarray(ends), t, closed), ends.min(0), ends.max(0))
    return [Latent(row, None if walked is None else walked[i]) for i, row in enumerate(ws)]


_spline = jax.jit(spline, static_argnums=2)


def _shown(tell: Tell) -> Callable[[int, np.ndarray], None]:
    """Sends the pictures of a snapshot side by side."""

    def watch(step: int, pictures: np.ndarray) -> None:
        tell({"step": step}, encode(np.concatenate(list(pictures), axis=1), moving=True)[0])

    return watch


def _latent(found: Inversion, row: int, label: int | None) -> dict[str, Any]:
    """As a scene holds it, which keeps the class that it was found with."""
    more = {} if found.extras is None else {"extras": encoded(found.extras[row])}
    return {"ws": encoded(found.ws[row]), "label": label} | more


def _label(model: Any, scenes: list[Scene]) -> int | None:
    if not model.gan.generator.num_classes:
        return None
    return scenes[0].seed % model.gan.generator.num_classes if scenes[0].label is None else scenes[0].label


@functools.cache
def _has_trunk(*asked: Any) -> bool:
    """Whether a trunk of a perceptual loss is installed; without it pixels alone are compared."""
    try:
        load_trunk(*asked)
    except UserError:
        return False
    return True
