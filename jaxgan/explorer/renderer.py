"""Pictures of scenes, any number in one call: latents first, which are kept, then images of them."""

import functools
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxgan import compiler
from jaxgan.errors import UserError, shown
from jaxgan.experiment import Model, seeds_to_keys, seeds_to_z
from jaxgan.explorer.arcs import code_dim, moved_by
from jaxgan.explorer.directions import rows_of
from jaxgan.explorer.scene import GRID, MOST_PARTS, MOST_REGIONS, Facts, Part, Region, Scene
from jaxgan.latent.attributes import Direction
from jaxgan.latent.edit import cells_of, feathered, moved_part, on_canvas
from jaxgan.latent.space import Statistics
from jaxgan.latent.spaces import statistics
from jaxgan.metrics.fakes import quantised
from jaxgan.networks import attention, heatmaps
from jaxgan.networks.gan import call, extras, extras_dim, image_box, one_hot, truncate
from jaxgan.ops.sphere import arc

_PLACED = 4  # dimensions of a latent that differs from place to place
_KEPT = 256  # latents, and bytes of them
_ROOM = 512 * 2**20


class Latent(NamedTuple):
    """Of one picture: ws [num_ws, ..., w_dim] on the device, and numbers beside it [D] or None."""

    ws: jax.Array
    extras: np.ndarray | None


class Renderer:
    """A model and its directions, ready to show scenes; safe to use from several threads.

    Args:
        model: with a generator, and a discriminator for `attention`.
        directions: by name.
        batch: pictures a call at most, a power of two.
    """

    def __init__(self, model: Model, directions: Mapping[str, Direction], batch: int = 8):
        generator = model.gan.generator
        self.model, self.batch = model, batch
        self._rows = {name: rows_of(d, generator.num_ws) for name, d in directions.items()}
        self._kept: OrderedDict[bytes, Latent] = OrderedDict()
        self._lock = threading.Lock()
        of_maps = hasattr(generator, "window_z")
        self._grid = generator.grid if of_maps else (GRID, GRID)
        judged = not of_maps and model.variables.get("discriminator") is not None
        self.facts = Facts(
            num_ws=generator.num_ws,
            w_dim=generator.w_dim,
            classes=generator.num_classes,
            extras=extras_dim(generator),
            code=generator.z_dim if judged else 0,
            photo_code=code_dim(generator) if judged else 0,
            moves=tuple(directions),
            coded=not of_maps,
            maps=hasattr(generator, "demodulation"),
        )

    def warm(self) -> None:
        """Compiles every size of what is asked for most, and the rest for one picture."""
        for count in _sizes(self.batch):
            self.pictures(self.latents([Scene(seed=i) for i in range(count)]))
        (plain,) = self.latents([Scene()])
        self.pictures([plain], noise=False)
        if self.facts.maps:
            self.pictures(self.latents([Scene(parts=(Part((0.0, 0.0, 1.0, 1.0), (0.0, 0.0)),))]))
        if self.facts.extras:
            self.heat(plain, 0)
        for feature in self.features:
            self.attention(Scene(), plain, feature, attention.EVIDENCE[0])

    # Latents

    def latents(self, scenes: Sequence[Scene]) -> list[Latent]:
        """Of scenes, those that are not kept in one call."""
        keys = [scene.key() for scene in scenes]
        with self._lock:
            have = {key: self._kept[key] for key in keys if key in self._kept}
        missing = {key: scene for key, scene in zip(keys, scenes) if key not in have}
        for placed in (False, True):
            chosen = [(key, scene) for key, scene in missing.items() if scene.placed == placed]
            most = 1 if placed else self.batch  # few are, and they are compiled for one
            for first in range(0, len(chosen), most):
                some = chosen[first : first + most]
                for (key, _), latent in zip(some, self._made([scene for _, scene in some])):
                    have[key] = latent
        with self._lock:
            for key in keys:
                self._kept[key] = have[key]
                self._kept.move_to_end(key)
            while len(self._kept) > _KEPT or sum(latent.ws.nbytes for latent in self._kept.values()) > _ROOM:
                self._kept.popitem(last=False)
        return [_at(have[key], scene) for key, scene in zip(keys, scenes)]

    def _made(self, scenes: list[Scene]) -> list[Latent]:
        generator, variables = self.model.gan.generator, self.model.variables["generator"]
        count = len(scenes)
        scenes = scenes + [scenes[-1]] * (_size(count, self.batch) - count)
        z = np.stack([self.z(scene) for scene in scenes])
        mixes = [s.mix.seed if s.mix else s.seed for s in scenes]
        given = {
            "z": z,
            "labels": self._labels([s.seed for s in scenes], scenes),
            "psi": np.array([scene.psi for scene in scenes], np.float32),
            "mix_z": seeds_to_z(mixes, generator) if any(s.mix for s in scenes) else z,
            "mix_labels": self._labels(mixes, scenes),
            "mixed": np.stack([_between(s.mix and s.mix[1:], generator.num_ws) for s in scenes]),
            "delta": np.stack([self._delta(s.moves, s.layers) + self._along(s) for s in scenes]),
        }
        if self.facts.coded:
            none = np.zeros((generator.num_ws, generator.w_dim), np.float32)
            given["code"] = np.stack([none if s.ws is None else s.ws for s in scenes])
            given["coded"] = np.array([s.ws is not None for s in scenes])
        if scenes[0].placed:
            given |= self._places(scenes)
        ws = _latents(generator, self._grid, variables, self.model.w_avg, given)
        beside = self._extras(scenes)
        return [Latent(ws[i], None if beside is None else beside[i]) for i in range(count)]

    def z(self, scene: Scene) -> np.ndarray:
        """The generator's input, of a scene that is not a photograph's."""
        if scene.realism is not None and scene.ws is None:
            return np.asarray(_arc(*scene.realism))
        return seeds_to_z([scene.seed], self.model.gan.generator)[0]

    def _labels(self, seeds: Sequence[int], scenes: Sequence[Scene]) -> np.ndarray | None:
        """As `jaxgan sample` has it: a seed's own class is the seed modulo the classes."""
        if not self.facts.classes:
            return None
        chosen = [seed % self.facts.classes if s.label is None else s.label for seed, s in zip(seeds, scenes)]
        return np.asarray(one_hot(np.asarray(chosen), self.facts.classes, len(chosen)))

    def _delta(self, moves: Mapping[str, float], layers: tuple[int, int] | None) -> np.ndarray:
        total = np.zeros((self.facts.num_ws, self.facts.w_dim), np.float32)
        for name, strength in moves.items():
            total += np.float32(strength) * self._rows[name]
        return total if layers is None else total * _between(layers, len(total))[:, None]

    def _along(self, scene: Scene) -> np.ndarray | float:
        """What the realism direction moves a photograph's rows by, [w_dim]."""
        if scene.ws is None or scene.realism is None:
            return 0.0
        return np.asarray(_moved_by(self.model.gan.generator, self.statistics, *scene.realism))

    @functools.cached_property
    def statistics(self) -> Statistics:
        """Of the generator's latents."""
        return statistics(self.model.gan.generator, self.model.variables["generator"])

    def _extras(self, scenes: list[Scene]) -> np.ndarray | None:
        generator = self.model.gan.generator
        if not self.facts.extras:
            return None
        drawn = np.array(_draw_extras(generator, seeds_to_keys([s.seed for s in scenes])))
        rest = np.asarray(generator.rest_extras(1))[0]
        for row, scene in enumerate(scenes):
            if scene.ws is not None:
                drawn[row] = rest if scene.extras is None else scene.extras
        return drawn

    def _places(self, scenes: list[Scene]) -> dict[str, Any]:
        """Masks on the maps' grid, what regions show, and where parts go; filled up with regions that cover nothing."""
        generator = self.model.gan.generator
        nothing = Region(np.zeros((GRID, GRID), np.float32), None, {})
        regions = [[*s.regions, *[nothing] * (MOST_REGIONS - len(s.regions))] for s in scenes]
        seeds = [[s.seed if r.seed is None else r.seed for r in row] for s, row in zip(scenes, regions)]
        flat = [seed for row in seeds for seed in row]
        repeated = [s for s in scenes for _ in range(MOST_REGIONS)]
        left, cells, shifts = zip(*(self._parts(scene) for scene in scenes))
        z = seeds_to_z(flat, generator)
        labels = self._labels(flat, repeated)
        return {
            "region_z": z.reshape(len(scenes), MOST_REGIONS, *z.shape[1:]),
            "region_labels": None if labels is None else labels.reshape(len(scenes), MOST_REGIONS, -1),
            "region_cells": cells_of(
                np.stack([[r.mask for r in row] for row in regions]), self._grid, image_box(generator)
            ),
            "region_other": np.array([[r.seed is not None for r in row] for row in regions]),
            "region_delta": np.stack([[self._delta(r.moves, None) for r in row] for row in regions]),
            "part_left": np.stack(left),
            "part_cells": np.stack(cells),
            "part_shifts": np.stack(shifts),
        }

    def _parts(self, scene: Scene) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """([MOST_PARTS, h, w, 1] where each moved part was, where each part lies, [MOST_PARTS, 2] by how many cells
        it was carried)."""
        left, cells = (np.zeros((MOST_PARTS, *self._grid, 1), np.float32) for _ in range(2))
        shifts = np.zeros((MOST_PARTS, 2), np.int32)
        canvas = image_box(self.model.gan.generator)
        for number, part in enumerate(scene.parts):
            box, to = on_canvas(part.box, canvas), on_canvas(part.to, canvas)
            shifts[number], cells[number] = moved_part(box, to, self._grid)
            cells[number] *= part.blend
            if part.moved:
                left[number] = feathered(box, self._grid)
        return left, cells, shifts

    # Pictures

    def pictures(self, latents: Sequence[Latent], noise: bool = True) -> np.ndarray:
        """uint8 [N, H, W, C]; latents of vectors and of maps may stand beside each other."""
        found: dict[int, np.ndarray] = {}
        for ndim in sorted({latent.ws.ndim for latent in latents}):
            chosen = [i for i, latent in enumerate(latents) if latent.ws.ndim == ndim]
            most = 1 if ndim == _PLACED and self.facts.coded else self.batch
            for first in range(0, len(chosen), most):
                some = chosen[first : first + most]
                for i, picture in zip(some, self._drawn([latents[i] for i in some], noise)):
                    found[i] = picture
        return np.stack([found[i] for i in range(len(latents))])

    def _drawn(self, latents: list[Latent], noise: bool) -> np.ndarray:
        filled = latents + [latents[-1]] * (_size(len(latents), self.batch) - len(latents))
        beside = None if filled[0].extras is None else np.stack([latent.extras for latent in filled])
        generator, variables = self.model.gan.generator, self.model.variables["generator"]
        made = _pictures(generator, "const" if noise else "none", variables, tuple(x.ws for x in filled), beside)
        return np.asarray(made)[: len(latents)]

    def heat(self, latent: Latent, level: int) -> np.ndarray:
        """uint8 [H, W]: the heatmaps of a level, 0 the coarsest.

        Raises:
            UserError: the generator has none, or no such level.
        """
        if latent.extras is None or not 0 <= level < len(heatmaps.CENTRES):
            raise UserError("there is no such heatmap; an eqgan has three levels")
        maps = _heat(self.model.gan.generator, latent.extras[None])[level]
        return _as_uint8(np.asarray(maps)[0])

    def attention(self, scene: Scene, latent: Latent, feature: str, evidence: str) -> np.ndarray:
        """uint8 [H, W]: GradCAM of the discriminator on the picture of a scene and its latent, of one of `features`.

        Raises:
            UserError: there is no discriminator, feature or evidence of that name.
        """
        if feature not in self.features or evidence not in attention.EVIDENCE:
            raise UserError(f"there is no attention of {shown(feature)}, {shown(evidence)}; see what the server offers")
        image = self.pictures([latent], scene.noise).astype(np.float32) / 127.5 - 1
        labels = self._labels([scene.seed], [scene])
        gan, variables = self.model.gan, self.model.variables["discriminator"]
        return _as_uint8(np.asarray(_attention(gan.discriminator, feature, evidence, variables, image, labels))[0])

    @functools.cached_property
    def features(self) -> tuple[str, ...]:
        """Names of the discriminator's maps; none without one."""
        if self.model.variables.get("discriminator") is None:
            return ()
        shape = (1, *self.model.gan.generator.image_shape)
        labels = np.zeros((1, self.facts.classes), np.float32) if self.facts.classes else None
        gan, variables = self.model.gan, self.model.variables["discriminator"]
        shapes = attention.feature_shapes(gan.discriminator, variables, np.zeros(shape, np.float32), labels)
        return tuple(name for name, s in shapes.items() if len(s) == 4 and min(s[1:3]) > 1)


def _at(latent: Latent, scene: Scene) -> Latent:
    return latent if scene.place is None else latent._replace(extras=scene.place)


def _size(count: int, most: int) -> int:
    """The size of a call for so many pictures."""
    return next(size for size in _sizes(most) if size >= count)


def _sizes(most: int) -> list[int]:
    return [2**k for k in range(most.bit_length()) if 2**k <= most]


def _between(rows: tuple[int, int] | None, count: int) -> np.ndarray:
    """[count]: 1 in a range of rows, which None makes empty."""
    first, last = rows or (0, 0)
    return ((np.arange(count) >= first) & (np.arange(count) < last)).astype(np.float32)


def _as_uint8(maps: np.ndarray) -> np.ndarray:
    return np.round(np.clip(maps, 0, 1) * 255).astype(np.uint8)


# Compiled


def _make(generator: nn.Module, grid: tuple[int, int], variables: Any, w_avg: jax.Array, given: Any) -> jax.Array:
    def mapped(z: jax.Array, labels: jax.Array | None, psi: jax.Array) -> jax.Array:
        ws = call(generator, variables, z, labels, method="map")
        return truncate(generator, w_avg, ws, psi.reshape(-1, *(1,) * (ws.ndim - 1)))

    ws = mapped(given["z"], given["labels"], given["psi"])
    if "code" in given:
        coded = given["coded"][:, None, None]
        # A photograph is drawn towards the mean as samples are.
        code = truncate(generator, w_avg, given["code"], given["psi"][:, None, None])
        ws = jnp.where(coded, code, ws)
    other = mapped(given["mix_z"], given["mix_labels"], given["psi"])
    ws = jnp.where(_shaped(given["mixed"], ws) > 0, other, ws)
    ws = ws + _shaped(given["delta"], ws)
    if "region_cells" not in given:
        return ws
    if ws.ndim == 3:
        ws = jnp.broadcast_to(ws[:, :, None, None], (*ws.shape[:2], *grid, ws.shape[2]))
    for k in range(MOST_REGIONS):
        labels = None if given["region_labels"] is None else given["region_labels"][:, k]
        shown = mapped(given["region_z"][:, k], labels, given["psi"])
        shown = shown if shown.ndim == 5 else shown[:, :, None, None]
        inside = jnp.where(given["region_other"][:, k].reshape(-1, 1, 1, 1, 1), shown, ws)
        inside = inside + _shaped(given["region_delta"][:, k], ws)
        ws = ws + given["region_cells"][:, k][:, None] * (inside - ws)
    for k in range(MOST_PARTS):
        shifted = jax.vmap(lambda x, by: jnp.roll(x, by, (1, 2)))(ws, given["part_shifts"][:, k])
        ws = ws + given["part_left"][:, k][:, None] * (truncate(generator, w_avg, ws, 0.0) - ws)
        ws = ws + given["part_cells"][:, k][:, None] * (shifted - ws)
    return ws


def _shaped(numbers: jax.Array, ws: jax.Array) -> jax.Array:
    """Numbers for each row [B, num_ws], or for each of its numbers [B, num_ws, w_dim], to broadcast against ws."""
    return numbers.reshape(*numbers.shape[:2], *(1,) * (ws.ndim - 3), -1)


def _draw(generator: nn.Module, noise: str, variables: Any, ws: tuple[jax.Array, ...], beside: Any) -> jax.Array:
    more = extras(generator, beside)
    return quantised(call(generator, variables, jnp.stack(ws), noise, method="synthesize", **more))


def _look(discriminator: nn.Module, name: str, evidence: str, variables: Any, images: Any, labels: Any) -> jax.Array:
    out, weights = attention.look(discriminator, variables, images, labels, (name,), evidence=(evidence,), group_size=1)
    return attention.cam_map(out.features[name], weights[evidence][name], images.shape[1:3])


def _render_heat(generator: nn.Module, beside: jax.Array) -> list[jax.Array]:
    return [maps.max(-1) for maps in generator.heat(beside)]


_latents = compiler.jit(_make, static_argnums=(0, 1))
_pictures = compiler.jit(_draw, static_argnums=(0, 1))
_attention = compiler.jit(_look, static_argnums=(0, 1, 2))
_heat = jax.jit(_render_heat, static_argnums=0)
_draw_extras = jax.jit(lambda generator, keys: generator.draw_extras(keys), static_argnums=0)
_arc = jax.jit(arc)
_moved_by = jax.jit(moved_by, static_argnums=0)
