"""The realism direction: from a generator's own image to a more realistic one, without labels.

"Diamond in the rough" (arXiv 2104.05518): a code x is drawn and its image inverted, which gives another code y of
almost the same image; beyond y, on the great circle of the two, lies a prototype p; between x and p the most convincing
point is chosen. The networks stay as they are. `configs/realism.py` has every setting; the stages are

* candidates: random codes, of which the one whose features are nearest to the image's is where the inversion begins,
* recover: y, by the discriminator's features and the pixels,
* prototype: p, by the released recursion, or as a search for one angle: the same circle, and much cheaper,
* select: the share s of the arc from x to p, in a box, whose image's score is nearest to a target.

All of it works on codes of length sqrt(D), and G(x) is the image of x as it lies there.
"""

import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan import checkpoint, compiler, memory, parallel
from jaxgan.errors import UserError
from jaxgan.latent import realism_stages
from jaxgan.latent.critic import Bank, Critic, banked, pictured, to_codes, to_ws, variables_of
from jaxgan.latent.direction import Angle
from jaxgan.latent.invert import batch_size
from jaxgan.latent.realism_settings import calibrate, check_config
from jaxgan.latent.realism_stages import Problem
from jaxgan.latent.space import Statistics
from jaxgan.latent.spaces import statistics
from jaxgan.latent.stages import Stages
from jaxgan.latent.stream import Progress, batches, digest
from jaxgan.networks.gan import Gan, one_hot
from jaxgan.ops.sphere import angle_between, arc, to_sphere

_BANK_KEY = 0x0BA2  # folded into the seed's key
_HOW = ("batch", "chunk", "checkpoint_seconds", "mean_of")  # settings that change nothing of the results
_STAGES = ("recover", "prototype", "select")


class Realism(NamedTuple):
    """Results for N codes, NumPy.

    Attributes:
        x, y, p: codes [N, D] of length sqrt(D): drawn, recovered, prototype. Without a direction y and p are x.
        code: [N, D], the chosen ones.
        share: [N], where on the arc from x to p it lies.
        theta, whole, angle: [N], from x to y, to p and to the chosen code, in degrees.
        features, pixels: [N], mean absolute differences of the recovered image.
        objective: [N], what the prototype minimises, at p.
        logits: {"original", "recovered", "prototype", "chosen"} -> [N], raw.
        degenerate: [N], the recovered code was x again (less than `min_angle` away) or met numbers that are not finite:
            there is no direction, and the image is left as it is.
        steps: {"recover", "prototype", "select"} -> [N], steps with a gradient.
        evaluations: the same of evaluations without one.
        losses: [steps, N] of the inversion before each step, NaN after a stop.
        calibration: the critic's "offset", "scale" and "target" (in those units).
        seconds: {stage: wall time}, see `jaxgan.latent.stages.Stages`.
    """

    x: np.ndarray
    y: np.ndarray
    p: np.ndarray
    code: np.ndarray
    share: np.ndarray
    theta: np.ndarray
    whole: np.ndarray
    angle: np.ndarray
    features: np.ndarray
    pixels: np.ndarray
    objective: np.ndarray
    logits: dict[str, np.ndarray]
    degenerate: np.ndarray
    steps: dict[str, np.ndarray]
    evaluations: dict[str, np.ndarray]
    losses: np.ndarray
    calibration: dict[str, float]
    seconds: dict[str, float]


class Search:
    """A realism direction being looked for: the networks on the devices, the critic's scale, the bank of candidates.

    Args:
        gan: the modules.
        generator, discriminator: their variables.
        config: as `configs/realism.py` describes it.
        real_logits: the discriminator's raw scores of real images, [R], or None where there are none at hand.
        stats: of the generator's latents, for the space w; made here if None.
        classes: those that will be asked for; all if None.
        progress: called with (candidates made, in all).

    Attributes:
        critic, variables: what every stage computes with.
        calibration: see `Realism`.
        note: how the critic's scale was found, in words.
        bank: the candidates.

    Raises:
        UserError: the config does not fit, or the scores are not finite.
    """

    def __init__(
        self,
        gan: Gan,
        generator: Any,
        discriminator: Any,
        config: Mapping[str, Any],
        *,
        real_logits: np.ndarray | None = None,
        stats: Statistics | None = None,
        classes: Sequence[int] | None = None,
        progress: Progress = lambda done, total: None,
    ):
        self._classes = np.arange(max(gan.generator.num_classes, 1)) if classes is None else np.unique(classes)
        self.critic, self.config = check_config(config, gan, discriminator), config
        self._mesh = parallel.make_mesh()
        if stats is None and self.critic.space.name == "w":
            stats = statistics(gan.generator, generator)
        weights = {
            "pixels": config["recover"]["pixels"],
            "radius": config["recover"]["radius"],
            "away": config["prototype"]["away"],
            "sign": config["prototype"]["sign"],
            "target": 0.0,
        }
        variables = variables_of(self.critic, generator, discriminator, stats, weights)
        self.variables = jax.device_put(variables, parallel.replicated(self._mesh))
        self.bank, logits = self._make_bank(progress)
        self.calibration, self.note = calibrate(config, logits, real_logits)
        numbers = {name: jnp.float32(value) for name, value in self.calibration.items()}
        numbers = jax.device_put(numbers, parallel.replicated(self._mesh))
        self.variables["critic"] = {name: numbers[name] for name in ("offset", "scale")}
        self.variables["weights"]["target"] = numbers["target"]

    def place(self, tree: Any) -> Any:
        """Rows split over all devices."""
        return jax.device_put(tree, parallel.by_batch(self._mesh))

    def labels(self, labels: Any, count: int) -> np.ndarray | None:
        """Labels of codes as rows; None where there are no classes.

        Raises:
            UserError: the generator has classes and none are given.
        """
        classes = self.critic.space.generator.num_classes
        if classes and labels is None:
            raise UserError(f"this generator has {classes} classes; give the class of each code")
        if classes and np.setdiff1d(labels, self._classes).size:
            raise UserError(
                f"there are candidates of the classes {self._classes.tolist()} only; give `classes` to Search"
            )
        return None if not classes else np.asarray(one_hot(jnp.broadcast_to(labels, (count,)), classes, count))

    def find(
        self,
        z: np.ndarray,
        labels: Any = None,
        *,
        coded: bool = False,
        start: np.ndarray | Callable[[np.ndarray], np.ndarray] | None = None,
        folder: Path | None = None,
        identity: Mapping[str, Any] | None = None,
        progress: Progress = lambda done, total: None,
    ) -> Realism:
        """The whole method for codes of z [N, z_dim].

        Args:
            z: random latents.
            labels: classes, [N] or one for all.
            coded: z are codes [N, D] instead, put onto their sphere here, such as those of photographs' latents.
            start: where the inversion begins instead of at a candidate: codes [N, D] or an encoder, images -> codes.
            folder: of the work that can be continued; None: not kept. A stage's work of other codes, networks, starts
                or settings of it or of an earlier stage is refused; of another encoder where `identity` says so.
            identity: what else the results depend on, as in `jaxgan.latent.stream.Job`.
            progress: called with (steps and evaluations of codes done, in all).

        Raises:
            UserError: labels are missing, the batch does not fit the device's memory, or work was begun otherwise.
        """
        begun = {} if start is None or callable(start) else {"start": digest(start)}
        begun |= {"coded": coded} | dict(identity or {})
        stages = self._stages(z, labels, _STAGES, folder, begun, progress)
        x = np.asarray(to_sphere(jnp.asarray(z, jnp.float32))) if coded else self.codes(z, labels)
        recovered = realism_stages.recovered(self._problem(), stages, x, start)
        degenerate = self._same(recovered["theta"]) | recovered["failed"]
        y = np.where(degenerate[:, None], x, recovered["y"])
        found = realism_stages.prototypes(self._problem(), stages, x, y)
        degenerate |= self._same(np.asarray(angle_between(x, found["p"]))) | found.get("failed", False)
        p = np.where(degenerate[:, None], x, found["p"])
        return self._chosen(stages, x, y, p, degenerate, recovered, found)

    def towards(
        self,
        prototype: np.ndarray,
        z: np.ndarray,
        labels: Any = None,
        *,
        folder: Path | None = None,
        identity: Mapping[str, Any] | None = None,
        progress: Progress = lambda done, total: None,
    ) -> Realism:
        """The method's cheap variant: prototypes [N, D] (or one, [D]) that are known, instead of each code's own.

        Nothing is inverted; what is recovered is x itself. See `mean_prototype`.
        """
        begun = {"prototype": digest(prototype)} | dict(identity or {})
        stages = self._stages(z, labels, ("select",), folder, begun, progress)
        x = self.codes(z, labels)
        p = np.broadcast_to(np.asarray(to_sphere(jnp.asarray(prototype, jnp.float32))), x.shape)
        degenerate = self._same(np.asarray(angle_between(x, p)))
        return self._chosen(stages, x, x, np.where(degenerate[:, None], x, p), degenerate, {}, {})

    def _same(self, angle: np.ndarray) -> np.ndarray:
        """Whether codes at an angle [N] (radians) from x are too near to it for a direction, or no numbers."""
        return ~(angle >= math.radians(self.config["min_angle"]))

    @functools.cached_property
    def _identities(self) -> dict[str, dict[str, Any]]:
        """What the results of each stage depend on: its own settings and those of the stages before it.

        The batch is no part of it, and scores are alike on every device but for bits.
        """
        settings = {name: value for name, value in self.config.items() if name not in (*_HOW, *_STAGES, "critic")}
        networks = {name: self.variables[name] for name in ("generator", "discriminator")}
        scale = {name: f"{value:.4g}" for name, value in self.calibration.items()}
        target = {"target": scale.pop("target")}
        known = {"config": settings, "networks": checkpoint.digest(networks)}
        found = {}
        for name, more in zip(_STAGES, ({}, {"critic": scale}, target)):
            known = known | {name: self.config[name]} | more
            found[name] = known
        return found | {"seen": known}

    def _stages(
        self,
        z: np.ndarray,
        labels: Any,
        names: tuple[str, ...],
        folder: Path | None,
        identity: Mapping[str, Any] | None,
        progress: Progress,
    ) -> Stages:
        config, count, rows = self.config, len(z), self.labels(labels, len(z))
        size = batch_size(config["batch"], count, self._mesh.size)
        identities = {}
        if folder is not None:  # or the networks would be hashed for nothing
            codes = digest(z, *([] if rows is None else [rows]))
            begun = dict(identity or {}) | {"codes": codes}
            identities = {name: own | begun for name, own in self._identities.items()}
        costs = {name: realism_stages.cost(config, name) for name in names} | {"seen": len(_SEEN)}
        return Stages(
            size,
            count,
            {} if rows is None else {"labels": rows},
            self.place,
            seed=config["seed"],
            folder=folder,
            identities=identities,
            every=config["checkpoint_seconds"],
            progress=progress,
            costs=costs,
        )

    def _chosen(
        self,
        stages: Stages,
        x: np.ndarray,
        y: np.ndarray,
        p: np.ndarray,
        degenerate: np.ndarray,
        recovered: Mapping[str, np.ndarray],
        found: Mapping[str, np.ndarray],
    ) -> Realism:
        """The last stage, and the numbers of all of them."""
        chosen = realism_stages.selected(self._problem(), stages, x, p)
        degenerate = degenerate | chosen.get("failed", False)
        share = np.where(degenerate, np.float32(0.0), chosen["number"])
        code = at_share(x, p, share)
        seen = stages.run(
            "seen",
            {"x": x, "y": y, "p": p, "code": code},
            lambda given: _scored(self.critic, self.variables, dict(given)),
        )
        by_stage = {"recover": recovered, "prototype": found, "select": chosen}
        zeros, none = np.zeros(len(x)), np.zeros(len(x), int)
        return Realism(
            x=x,
            y=y,
            p=p,
            code=code,
            share=share,
            theta=np.degrees(seen["theta"]),
            whole=np.degrees(seen["whole"]),
            angle=np.degrees(seen["angle"]),
            features=recovered.get("features", zeros),
            pixels=recovered.get("pixels", zeros),
            objective=seen["objective"],
            logits={name: seen[name] for name in _SEEN},
            degenerate=degenerate,
            steps={name: stage.get("used", none) for name, stage in by_stage.items()},
            evaluations={name: stage.get("evaluations", none) for name, stage in by_stage.items()},
            losses=recovered.get("losses", np.zeros((0, len(x)))),
            calibration=self.calibration,
            seconds=stages.seconds,
        )

    # The bank and the critic's scale

    def _make_bank(self, progress: Progress) -> tuple[Bank, np.ndarray]:
        """(bank, logits [K]); with classes `candidates` of each that is asked for."""
        generator = self.critic.space.generator
        count = self.config["candidates"] * len(self._classes)
        size = batch_size(self.config["batch"], count, self._mesh.size)
        key = jax.random.fold_in(jax.random.key(self.config["seed"]), _BANK_KEY)
        z = np.asarray(jax.random.normal(key, (count, generator.z_dim)))
        labels = (
            self.labels(self._classes[np.arange(count) % len(self._classes)], count) if generator.num_classes else None
        )
        parts = []
        with memory.explained(size):
            for number, rows, kept in batches(count, size):
                given = self.place({"z": z[rows]} | ({} if labels is None else {"labels": labels[rows]}))
                found = banked(self.critic, self.variables, given["z"], given.get("labels"))
                parts.append([np.asarray(parallel.to_host(a))[:kept] for a in found])
                progress(number * size + kept, count)
        codes, features, logits = (np.concatenate(arrays) for arrays in zip(*parts))
        whole = parallel.replicated(self._mesh)
        return Bank(*jax.device_put((codes, features, labels), whole)), logits

    def _problem(self) -> Problem:
        return Problem(self.critic, self.variables, self.config, self.bank, self.place)

    # Pictures and latents

    def pictures(self, codes: np.ndarray, labels: Any = None) -> Iterator[np.ndarray]:
        """uint8 images [n, H, W, C] of codes [N, D], batch by batch."""
        return self._each(pictured, codes, labels)

    def codes(self, z: np.ndarray, labels: Any = None) -> np.ndarray:
        """Codes [N, D] of z [N, z_dim]."""
        return np.concatenate(list(self._each(to_codes, z, labels)))

    def ws(self, codes: np.ndarray, labels: Any = None) -> np.ndarray:
        """ws [N, num_ws, w_dim] of codes [N, D]."""
        return np.concatenate(list(self._each(to_ws, codes, labels)))

    def _each(self, function: Callable[..., jax.Array], codes: np.ndarray, labels: Any) -> Iterator[np.ndarray]:
        """A function of the critic for rows and their labels, batch by batch."""
        rows_of = self.labels(labels, len(codes))
        size = batch_size(self.config["batch"], len(codes), self._mesh.size)
        for _, rows, count in batches(len(codes), size):
            code, label = self.place((codes[rows], None if rows_of is None else rows_of[rows]))
            yield parallel.to_host(function(self.critic, self.variables, code, label))[:count]


def at_share(x: np.ndarray, p: np.ndarray, share: np.ndarray | float) -> np.ndarray:
    """Codes [N, D] at shares [N] of their arcs; exactly x at 0 and p at 1."""
    share = np.broadcast_to(np.asarray(share, np.float32), x.shape[:1])
    code = np.asarray(_arc(x, p, share))
    return np.where((share == 0)[:, None], x, np.where((share == 1)[:, None], p, code))


def mean_prototype(found: Realism) -> np.ndarray:
    """[D]: N(mean of the prototypes of codes that have one), one for all new codes.

    Raises:
        UserError: no code has one.
    """
    if found.degenerate.all():
        raise UserError("no code has a direction, so there is no mean prototype; recover with fewer steps")
    return np.asarray(to_sphere(jnp.asarray(found.p[~found.degenerate].mean(0))))


_arc = jax.jit(arc)
_SEEN = {"original": "x", "recovered": "y", "prototype": "p", "chosen": "code"}  # what is scored at the end


def _scores(critic: Critic, variables: Any, given: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """Raw scores, angles, and the prototype's objective."""
    labels, units = given.get("labels"), variables["critic"]

    def raw(code: jax.Array) -> jax.Array:
        return critic.see(variables, code, labels).logits * units["scale"] + units["offset"]

    x = given["x"]
    angles = {"theta": "y", "whole": "p", "angle": "code"}
    return (
        {name: raw(given[key]) for name, key in _SEEN.items()}
        | {name: angle_between(x, given[key]) for name, key in angles.items()}
        | {"objective": Angle(critic).away(variables, given["p"], {"x": x, "labels": labels})}
    )


_scored = compiler.jit(_scores, static_argnums=0)
