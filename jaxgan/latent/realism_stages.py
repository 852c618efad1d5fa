"""The stages of the realism direction, each over all codes of a `Stages`: recover, prototype, select.

What each of them looks for is in `jaxgan.latent.direction`, how they are strung together in `jaxgan.latent.realism`.
"""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan import compiler
from jaxgan.latent import grid
from jaxgan.latent.critic import Bank, Critic, nearest
from jaxgan.latent.direction import Angle, Prototype, Recover, Share, mean_abs
from jaxgan.latent.optimise import Program, Settings
from jaxgan.latent.optimisers import Adam
from jaxgan.latent.stages import Rows, Stages
from jaxgan.ops.sphere import across, angle_between, to_sphere, turned, walk

WALK = 8  # points of the plain walk
_ZOOM = 9  # points of a finer grid
_ZOOMS = {"prototype": 2, "select": 1}  # finer grids


class Problem(NamedTuple):
    """What all stages compute with; `place` splits rows over the devices."""

    critic: Critic
    variables: Any
    config: Mapping[str, Any]
    bank: Bank
    place: Callable[[Any], Any]


def cost(config: Mapping[str, Any], name: str) -> int:
    """Steps with a gradient, at most, or evaluations without one that a stage needs for a code."""
    how = config[name]
    match how.get("method"):
        case "grid":
            return grid.evaluations(_counts(config, name)) * (1 + how.get("both_sides", False))
        case "walk" | "fixed":
            return 0
    return how["steps"]


def _counts(config: Mapping[str, Any], name: str) -> tuple[int, ...]:
    """Points of a stage's grid and of the finer ones after it."""
    return (config[name]["points"], *(_ZOOM,) * _ZOOMS[name])


def recovered(problem: Problem, stages: Stages, x: np.ndarray, start: Any = None) -> dict[str, np.ndarray]:
    """Inverts the images of codes x [N, D].

    Args:
        problem, stages: see there.
        x: codes.
        start: codes [N, D], or an encoder, images -> codes; the nearest candidates if None.

    Returns:
        "y" [N, D] on the sphere, "theta" [N] in radians, "features", "pixels" [N] (mean absolute differences), and what
        `Stages.optimise` gives.
    """
    how = problem.config["recover"]
    codes = {} if start is None or callable(start) else {"start": np.asarray(start, np.float32)}

    def begin(given: Rows) -> tuple[Any, Any]:
        target = _target(problem.critic, problem.variables, given["x"], given.get("labels"))
        if callable(start):
            code = problem.place(np.asarray(start(np.asarray(target["images"])), np.float32))
        elif codes:
            code = given["start"]
        else:
            code = nearest(problem.bank, target["features"], given.get("labels"))
        return {"code": code}, target

    def finish(latent: Any, given: Rows) -> dict[str, jax.Array]:
        return _compared(problem.critic, problem.variables, latent["code"], dict(given))

    program = _program(problem, "recover", Recover(problem.critic), "staircase")
    return stages.optimise("recover", {"x": x} | codes, program, problem.variables, _settings(how), begin, finish)


def prototypes(problem: Problem, stages: Stages, x: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
    """ "p" [N, D] for codes and what was recovered of them, by the method of the config; and what `Stages` gives.

    A "failed" code met numbers that are not finite.
    """
    match problem.config["prototype"]["method"]:
        case "walk":
            largest = math.radians(problem.config["prototype"]["largest"])
            return stages.run("prototype", {"x": x, "y": y}, lambda g: {"p": _walk_end(g["x"], g["y"], largest)})
        case "recursion":
            return _recursion(problem, stages, x, y)
    found = _angles(problem, stages, x, y)
    return found | {"p": np.asarray(_on_circle(x, y, found["number"]))}


def selected(problem: Problem, stages: Stages, x: np.ndarray, p: np.ndarray) -> dict[str, np.ndarray]:
    """ "number" [N], the share of each arc from x to p whose image's score is nearest to the target."""
    how = problem.config["select"]

    def pose(given: Rows) -> Posed:
        low, start, high = (jnp.full_like(given["x"][:, 0], how[name]) for name in ("low", "start", "high"))
        return Posed({"x": given["x"], "p": given["p"], "labels": given.get("labels")}, low, start, high)

    return _one_number(problem, stages, "select", {"x": x, "p": p}, Share(problem.critic), pose, "halves")


def _recursion(problem: Problem, stages: Stages, x: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
    objective = Prototype(problem.critic)

    def begin(given: Rows) -> tuple[Any, Any]:
        latent = {"push": jnp.ones_like(given["x"]), "previous": given["x"], "current": given["y"]}
        return latent, {"x": given["x"], "labels": given.get("labels")}

    return stages.optimise(
        "prototype",
        {"x": x, "y": y},
        _program(problem, "prototype", objective, "staircase"),
        problem.variables,
        _settings(problem.config["prototype"]),
        begin,
        lambda latent, given: {"p": latent["current"]},
    )


def _angles(problem: Problem, stages: Stages, x: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
    how = problem.config["prototype"]

    def pose(given: Rows) -> Posed:
        high = jnp.full_like(given["x"][:, 0], math.radians(how["largest"]))
        low = jnp.minimum(angle_between(given["x"], given["y"]), high)
        target = {"x": given["x"], "across": across(given["x"], given["y"]), "labels": given.get("labels")}
        return Posed(target, low, low, high, how["both_sides"])

    return _one_number(problem, stages, "prototype", {"x": x, "y": y}, Angle(problem.critic), pose, "staircase")


class Posed(NamedTuple):
    """A search for one number a code: the objective's target, and [B] where it lies and begins.

    Mirrored, the opposite numbers are searched as well (by a grid).
    """

    target: Any
    low: jax.Array
    start: jax.Array
    high: jax.Array
    mirrored: bool = False


def _one_number(
    problem: Problem,
    stages: Stages,
    name: str,
    rows: Mapping[str, np.ndarray],
    objective: Angle | Share,
    pose: Callable[[Rows], Posed],
    schedule: str,
) -> dict[str, np.ndarray]:
    """ "number" [N] as given, by a grid ("evaluations" [N]), or by forward-mode steps, which store no activation."""
    if problem.config[name]["method"] == "fixed":
        return stages.run(name, rows, lambda given: {"number": pose(given).start})
    if problem.config[name]["method"] == "grid":
        counts, spent = _counts(problem.config, name), cost(problem.config, name)

        def searched(given: Rows) -> dict[str, Any]:
            posed = pose(given)
            look = functools.partial(grid.search, objective, counts, problem.variables, posed.target)
            number, least = look(posed.low, posed.high)
            if posed.mirrored:
                other, value = look(-posed.high, -posed.low)
                number = jnp.where(value < least, other, number)
                least = jnp.minimum(value, least)
            return {"number": number, "failed": ~jnp.isfinite(least), "evaluations": np.full(len(number), spent)}

        return stages.run(name, rows, searched)

    def begin(given: Rows) -> tuple[Any, Any]:
        posed = pose(given)
        return {"number": posed.start, "low": posed.low, "high": posed.high}, posed.target

    program, settings = _program(problem, name, objective, schedule), _settings(problem.config[name])
    return stages.optimise(
        name, rows, program, problem.variables, settings, begin, lambda latent, given: {"number": latent["number"]}
    )


def _program(problem: Problem, name: str, objective: Any, schedule: str) -> Program:
    chunk = min(problem.config["chunk"], problem.config[name]["steps"])
    return Program(objective, Adam(schedule=schedule), getattr(objective, "after_step", None), chunk)


def _settings(how: Mapping[str, Any]) -> Settings:
    return Settings(how["steps"], how["lr"], change=how["change"])


# Compiled


walked = jax.jit(functools.partial(walk, steps=WALK))
"""`walked(x, y)`: the plain walk [B, 8, D]."""


@jax.jit
def _walk_end(x: jax.Array, y: jax.Array, largest: float) -> jax.Array:
    """The last point of the plain walk no further than `largest` from x, but y at least: beyond half a circle the arc
    from x would lead to the other side, away from y."""
    points = walk(x, y, WALK)
    gone = jnp.cumsum(angle_between(points[:, :-1], points[:, 1:]), axis=1)
    last = jnp.maximum((gone <= largest).sum(1), 1)
    return jnp.take_along_axis(points, last[:, None, None], axis=1)[:, 0]


_on_circle = jax.jit(lambda x, y, angle: turned(x, across(x, y), angle))


def _target_of(critic: Critic, variables: Any, x: jax.Array, labels: jax.Array | None) -> dict[str, Any]:
    seen = critic.see(variables, x, labels)
    return {"images": seen.images, "features": seen.features, "labels": labels}


def _comparison(critic: Critic, variables: Any, code: jax.Array, given: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """What was recovered: its place on the sphere, and how near its image there is."""
    y, x, labels = to_sphere(code), given["x"], given.get("labels")
    ours, wanted = critic.see(variables, y, labels), critic.see(variables, x, labels)
    features = sum(mean_abs(ours.features[name] - wanted.features[name]) for name in wanted.features)
    return {
        "y": y,
        "theta": angle_between(x, y),
        "features": features,
        "pixels": mean_abs(ours.images - wanted.images),
    }


_target = compiler.jit(_target_of, static_argnums=0)
_compared = compiler.jit(_comparison, static_argnums=0)
