"""Inversion: the latents whose images are given ones. Any number of images, in batches of one size, resumable.

Programs of `configs/invert.py`: pixel and perceptual losses in z, w or w+, and NVIDIA's StyleGAN2 projector.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxgan import compiler, memory, parallel
from jaxgan.errors import UserError
from jaxgan.latent import maps, starts
from jaxgan.latent.objectives import Objective, check_space, check_weights, make_objective
from jaxgan.latent.optimise import Program, Settings
from jaxgan.latent.optimisers import make_optimiser
from jaxgan.latent.space import Space, Statistics
from jaxgan.latent.spaces import make_space, prior, statistics
from jaxgan.latent.stream import Job, Progress, Runner, batches
from jaxgan.metrics.fakes import quantised
from jaxgan.networks.gan import Gan, call
from jaxgan.networks.stylegan2 import LATENT_FILTERS
from jaxgan.ops.modulation import DEMODULATIONS


class Inversion(NamedTuple):
    """Results for N images, NumPy.

    Attributes:
        ws: [N, num_ws, w_dim], or maps [N, num_ws, h, w, w_dim]; of styles, or maps that differ in size, the code.
        code: [N, *space.shape].
        noise: maps [N, H, W, 1] that were optimised, or ().
        extras: [N, D], what the generator takes beside ws (see `jaxgan.networks.gan`), or None.
        images: the images of ws, [N, H, W, C] in [-1, 1].
        losses: [steps, N] before each step, NaN after an image had stopped.
        loss: [N], of the result.
        terms: {name: [N]}, of the result, unweighted.
        prior: [N], mean squared whitened number of ws.
        logits: the discriminator's, [N], or None without one.
        used, evaluations: [N], steps and evaluations of the objective.
        failed: [N], met a number that is not finite; what it was before then is returned.
        snapshots: uint8 [S, N, H, W, C].
        seconds: [N], the wall time of an image's batch divided by the images in it, without compilation.
        compile_seconds: of the optimisation's program, in this process.
    """

    ws: np.ndarray
    code: np.ndarray
    noise: tuple[np.ndarray, ...]
    extras: np.ndarray | None
    images: np.ndarray
    losses: np.ndarray
    loss: np.ndarray
    terms: dict[str, np.ndarray]
    prior: np.ndarray
    logits: np.ndarray | None
    used: np.ndarray
    evaluations: np.ndarray
    failed: np.ndarray
    snapshots: np.ndarray | None
    seconds: np.ndarray
    compile_seconds: float


def invert(
    gan: Gan,
    generator: Any,
    discriminator: Any,
    images: np.ndarray,
    config: Mapping[str, Any],
    *,
    masks: np.ndarray | None = None,
    sketches: np.ndarray | None = None,
    labels: Any = None,
    start: np.ndarray | Callable[[np.ndarray], np.ndarray] | None = None,
    codes: np.ndarray | None = None,
    noise: tuple[np.ndarray, ...] = (),
    extras: np.ndarray | None = None,
    stats: Statistics | None = None,
    job: Job | None = None,
    progress: Progress = lambda done, total: None,
    watch: Callable[[int, np.ndarray], None] = lambda step, pictures: None,
) -> Inversion:
    """Finds latents of images.

    Args:
        gan: the modules.
        generator, discriminator: their variables; the discriminator's may be None where "realism" is not asked for.
        images: [N, H, W, C] of the generator's size, uint8 in [0, 255] or floats in [-1, 1]; a batch at a time is made
            floats.
        config: as `configs/invert.py` describes it.
        masks: [N, H, W, 1] in [0, 1], where the images count; everywhere if None.
        sketches: [N, H, W, 1], where their shape counts; as `masks` if None.
        labels: of the classes, [N] or one for all.
        start: ws [N, num_ws, w_dim], or an encoder, images -> ws; config["start"] if None.
        codes: [N, *space.shape] to start from, instead of ws.
        noise, extras: what latents have beside their code at the start, as an `Inversion` gives it.
        stats: of the generator, made here if None.
        job: keeps the work so that it can be continued.
        progress: called with (steps of images done, in all).
        watch: called with (step, pictures of the batch) at each of config["snapshots"], as it is reached.

    Raises:
        UserError: the images are not of the generator's size, the config does not fit, the batch does not fit the
            device's memory, or the job was begun in batches of another size.
    """
    images = check_images(gan.generator, images)
    gan = gan._replace(generator=with_maps_as(gan.generator, config["demodulation"], config["latent_filter"]))
    space = make_space(config["space"], gan.generator)
    stats = statistics(gan.generator, generator) if stats is None else stats
    objective, variables = make_objective(space, gan, config, generator, discriminator, stats, masked=masks is not None)
    given = {"mask": masks, "sketch": sketches, "labels": starts.check_labels(objective, labels, len(images))}
    mesh = parallel.make_mesh()
    size = batch_size(config["batch"], len(images), mesh.size)
    if job:
        job.check(size)
    whole = parallel.replicated(mesh)
    problem = _Problem(
        objective,
        jax.device_put(variables, whole),
        None if discriminator is None else gan.discriminator,
        None if discriminator is None else jax.device_put(discriminator, whole),
        config,
        lambda tree: jax.device_put(tree, parallel.by_batch(mesh)),
    )
    runner = Runner(
        Program(
            objective,
            make_optimiser(config["optimizer"]),
            objective.after_step if objective.projects else None,
            min(config["chunk"], config["steps"]),
        ),
        problem.variables,
        Settings(config["steps"], config["optimizer"]["lr"], config["tolerance"], config["patience"]),
        snapshots=tuple(config["snapshots"]),
        draw=functools.partial(_draw, objective, problem.variables),
        watch=watch,
        job=job,
        progress=progress,
        total=-(-len(images) // size) * size * config["steps"],
    )
    parts = []
    try:
        for number, rows, count in batches(len(images), size):
            done = job.part(number) if job else None
            if done is None:
                more = {name: np.asarray(v)[rows] for name, v in given.items() if v is not None}
                beside = {"noise": tuple(m[rows] for m in noise)} if noise and objective.noise_maps else {}
                beside |= {} if extras is None else {"extras": _rows_of(extras, rows)}
                begin = functools.partial(
                    _begin, problem, start=_rows_of(start, rows), codes=_rows_of(codes, rows), beside=beside
                )
                with memory.explained(size):  # also where candidates are tried, before the program is made
                    done = _one_batch(problem, runner, number, rows, as_floats(images[rows]), more, begin)
                done = {k: v[:, :count] if k in _BY_STEP else v[:count] for k, v in done.items()}
                done["seconds"] *= size / count  # the filled-up rows are nobody's
                if job:
                    job.save_part(number, done)
            parts.append(done)
    finally:
        runner.close()
    return _gathered(parts, runner.compile_seconds)


_BY_STEP = ("losses", "snapshots")  # results whose images come second


class _Problem(NamedTuple):
    """What all batches of an inversion share; the discriminator is for the report, `place` splits over devices."""

    objective: Objective
    variables: Any
    discriminator: nn.Module | None
    critic: Any
    config: Mapping[str, Any]
    place: Callable[[Any], Any]


def _one_batch(
    problem: _Problem,
    runner: Runner,
    number: int,
    rows: np.ndarray,
    images: np.ndarray,
    more: dict[str, np.ndarray],
    begin: Callable[..., tuple[Any, Any]],
) -> dict[str, np.ndarray]:
    """Everything found for a batch, rows as given; `begin(images, more, keys)` gives latents and targets."""
    place, seed = problem.place, problem.config["seed"]
    keys = place(jax.vmap(lambda i: jax.random.fold_in(jax.random.key(seed), i))(jnp.asarray(rows)))
    latent, target = place(begin(images, place(more), keys))
    carry, found = runner.run(number, latent, target, keys)
    final = _finish(
        problem.objective, problem.discriminator, problem.variables, problem.critic, carry.latent, target, keys
    )
    found["seconds"] = np.full(len(rows), found["seconds"] / len(rows))
    found |= {k: parallel.to_host(v) for k, v in final.items()}
    return found | {k: parallel.to_host(getattr(carry, k)) for k in ("used", "evaluations", "failed")}


def _begin(
    problem: _Problem,
    images: np.ndarray,
    more: dict[str, jax.Array],
    keys: jax.Array,
    *,
    start: np.ndarray | Callable[[np.ndarray], np.ndarray] | None,
    codes: np.ndarray | None,
    beside: Mapping[str, Any],
) -> tuple[Any, Any]:
    """(latents, targets) of a batch before the first step; what is given `beside` codes takes the place of its own."""
    objective, variables, config = problem.objective, problem.variables, problem.config
    given = start is not None or codes is not None
    if codes is not None:
        latent = starts.latent_of(objective, variables, jnp.asarray(codes), keys)
    elif start is not None:
        latent = starts.from_ws(objective, variables, start(images) if callable(start) else start, keys)
    else:
        latent = starts.at_mean(objective, variables, keys)
    latent |= jax.tree.map(jnp.asarray, dict(beside))
    target = _target(objective, variables, problem.place(images), problem.place(latent), more)
    if config["start"] == "candidates" and not given:
        latent = starts.best_candidates(objective, variables, target, keys, config["candidates"])
        target = target | ({"start": latent["code"]} if "start" in target else {})
    return latent, target


def _rows_of(values: Any, rows: np.ndarray) -> Any:
    """Some rows of an array; None and an encoder as they are."""
    return values if values is None or callable(values) else np.asarray(values)[rows]


def with_maps_as(generator: nn.Module, demodulation: str, latent_filter: str) -> nn.Module:
    """The generator that treats maps so (`jaxgan.networks.stylegan2.Spatial`); as it is where it takes none."""
    if not hasattr(generator, "demodulation"):
        return generator
    return generator.clone(demodulation=demodulation, latent_filter=latent_filter)


def check_config(config: Mapping[str, Any], generator: nn.Module) -> None:
    """Raises UserError for a config that cannot be run on this generator, before anything is read or compiled."""
    make_space(config["space"], generator)
    make_optimiser(config["optimizer"])
    for name in ("steps", "batch", "chunk", "candidates", "patience", "hog_cell"):
        if config[name] < 1:
            raise UserError(f"config.{name}={config[name]} must be 1 or more")
    numbers = {n: config[n] for n in ("tolerance", "perturbation", "prior_clamp", "prior_from", "checkpoint_seconds")}
    for name, number in (numbers | {"stages.equalise": config["stages"]["equalise"]}).items():
        if not 0 <= number < float("inf"):
            raise UserError(f"config.{name}={number} must be a number of 0 or more")
    rates = {"optimizer.lr": config["optimizer"]["lr"]}
    rates |= {f"stages.{name}": config["stages"][name] for name in ("w_lr", "wplus_lr", "lr")}
    for name, rate in rates.items():
        if not 0 < rate < float("inf"):
            raise UserError(f"config.{name}={rate} must be above 0")
    if not 0 <= config["stages"]["coarse"] < 0.5 or min(config["stages"][n] for n in ("w_steps", "wplus_steps")) < 0:
        raise UserError("config.stages: give steps of 0 or more, and a share coarse from 0 to below 0.5")
    if config["start"] not in ("mean", "candidates"):
        raise UserError(f"config.start={config['start']!r} is not known; use mean or candidates, or --start=FILE.npz")
    if config["demodulation"] not in DEMODULATIONS:
        raise UserError(
            f"config.demodulation={config['demodulation']!r} is not known; use {' or '.join(DEMODULATIONS)}"
        )
    if config["latent_filter"] not in LATENT_FILTERS:
        raise UserError(
            f"config.latent_filter={config['latent_filter']!r} is not known; use {' or '.join(LATENT_FILTERS)}"
        )
    check_space(make_space(config["space"], generator), check_weights(config["weights"]), config)


def check_images(generator: nn.Module, images: np.ndarray) -> np.ndarray:
    """Images as an array [N, H, W, C], uint8 or floats as they were given.

    Raises:
        UserError: there are none, or they are not of the generator's size, or of another type.
    """
    images = np.asarray(images)
    if images.dtype != np.uint8 and not jnp.issubdtype(images.dtype, jnp.floating):
        raise UserError(f"images of type {images.dtype}; give uint8 in [0, 255] or floats in [-1, 1]")
    if images.ndim != 4 or images.shape[1:] != tuple(generator.image_shape) or not len(images):
        raise UserError(
            f"images of shape {images.shape} do not fit this generator; give [N, "
            f"{', '.join(map(str, generator.image_shape))}]"
        )
    return images


def as_floats(images: np.ndarray) -> np.ndarray:
    """float32: uint8 from [0, 255] to [-1, 1], floats as they are."""
    floats = images.astype(np.float32)
    return floats / 127.5 - 1.0 if images.dtype == np.uint8 else floats


def batch_size(asked: int, count: int, devices: int) -> int:
    """Images a call: as asked, but no more than there are, and a multiple of the devices."""
    return -(-min(asked, count) // devices) * devices


@functools.partial(jax.jit, static_argnums=0)
def _target(objective: Objective, variables: Any, images: jax.Array, latent: Any, more: dict[str, jax.Array]) -> Any:
    return objective.make_target(variables, images, latent, **more)


@functools.partial(jax.jit, static_argnums=0)
def _draw(objective: Objective, variables: Any, latent: Any, target: Any) -> jax.Array:
    images = objective.render(variables, objective.ws(variables, latent, target), latent)
    return quantised(images)


def _kept(space: Space, ws: Any, code: jax.Array) -> jax.Array:
    """What a result's `ws` are: vectors, maps of one size, or the code of maps that are of several."""
    stacked = space.stacked(ws) if isinstance(ws, tuple) else ws
    return code if stacked is None else stacked


def _final(
    objective: Objective,
    discriminator: nn.Module | None,
    variables: Any,
    critic: Any,
    latent: Any,
    target: Any,
    keys: jax.Array,
) -> dict[str, jax.Array]:
    """What is reported of the results."""
    ws = objective.ws(variables, latent, target)
    images = objective.render(variables, ws, latent)
    loss, terms = objective(variables, latent, target, keys, jnp.float32(1.0))
    space, code = objective.space, objective.code(variables, latent["code"])
    if space.styled:  # of which no distribution is known
        likely = jnp.full(len(code), jnp.nan)
    else:
        likely = prior(space.generator, variables["statistics"], maps.rows(space, ws))
    found = {
        "ws": _kept(space, ws, code),
        "code": code,
        "images": images,
        "loss": loss,
        "prior": likely,
    }
    found |= {f"noise{i}": m for i, m in enumerate(latent.get("noise", ()))}
    found |= {"extras": latent["extras"]} if "extras" in latent else {}
    found |= {f"term_{name}": value for name, value in terms.items()}
    if discriminator is not None:
        found["logits"] = call(discriminator, critic, images, target.get("labels"), group_size=1).logits
    return found


_finish = compiler.jit(_final, static_argnums=(0, 1))


def _gathered(parts: list[dict[str, np.ndarray]], compile_seconds: float) -> Inversion:
    """The parts of all batches as one."""
    whole = {name: np.concatenate([p[name] for p in parts], axis=1 if name in _BY_STEP else 0) for name in parts[0]}
    noise = tuple(whole.pop(f"noise{i}") for i in range(sum(n.startswith("noise") for n in whole)))
    terms = {name.removeprefix("term_"): whole.pop(name) for name in list(whole) if name.startswith("term_")}
    optional = {name: whole.pop(name, None) for name in ("logits", "snapshots", "extras")}
    return Inversion(noise=noise, terms=terms, compile_seconds=compile_seconds, **optional, **whole)
