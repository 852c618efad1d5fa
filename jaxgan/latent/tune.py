"""Pivotal tuning (Roich et al. 2021, PTI): a generator is changed until its image of a given latent is a photograph.

The pivot is what an inversion found and stays as it is; what it misses is learnt by the parameters, a generator a
photograph. Photographs are tuned to one after the other by one compiled program: a batch would need the parameters and
Adam's moments once an image, and grouped convolutions. Buffers (noise maps, moments of BatchNorm) are never changed,
and nor is a mapping network, through which no gradient of a given w goes.
"""

import dataclasses
import functools
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxgan import compiler, memory
from jaxgan.errors import UserError
from jaxgan.features.lpips import distance
from jaxgan.features.networks import apply
from jaxgan.features.networks import load as load_network
from jaxgan.latent import losses
from jaxgan.latent.invert import as_floats, check_images
from jaxgan.latent.stream import Job, Progress
from jaxgan.networks.gan import call, one_hot, truncate
from jaxgan.networks.gan import extras as extras_of


@dataclasses.dataclass(frozen=True)
class Program:
    """What is compiled; everything else is an argument.

    Attributes:
        generator: what is tuned.
        lpips: `Network.static()` of the perceptual distance.
        local: whether the generator is held near the one it was, around the pivot.
        chunk: steps a call, at most.
    """

    generator: nn.Module
    lpips: tuple
    local: bool = False
    chunk: int = 50


@flax.struct.dataclass
class Settings:
    """Numbers that may change without compiling again; see `configs/latent.py`.

    Attributes:
        steps: at most.
        rate: of Adam.
        threshold: the perceptual distance at which it ends.
        l2, lpips, locality: weights.
        radius, psi: of the latents of `locality`.
    """

    steps: Any
    rate: Any
    threshold: Any
    l2: Any
    lpips: Any
    locality: Any
    radius: Any
    psi: Any


@flax.struct.dataclass
class Carry:
    """A tuning under way.

    Attributes:
        params: of the generator.
        optimiser: Adam's state.
        step: changes made.
        stopped: it was near enough, or failed.
        failed: it met a number that is not finite; `params` are those before it.
    """

    params: Any
    optimiser: Any
    step: jax.Array
    stopped: jax.Array
    failed: jax.Array


class Tuned(NamedTuple):
    """Results for N photographs, NumPy.

    Attributes:
        images: of the pivots by their tuned generators, [N, H, W, C] in [-1, 1].
        losses: [steps, N] before each step, NaN after the end; with the term of locality, where there is one.
        l2, lpips: [N], terms of the result, unweighted.
        used: [N], changes made to the parameters.
        failed: [N], met a number that is not finite; what was before it is kept.
        seconds: [N], without compilation.
        compile_seconds: of the program, in this process.
    """

    images: np.ndarray
    losses: np.ndarray
    l2: np.ndarray
    lpips: np.ndarray
    used: np.ndarray
    failed: np.ndarray
    seconds: np.ndarray
    compile_seconds: float


def check_tuning(config: Mapping[str, Any], generator: nn.Module, label: Any = None) -> None:
    """Raises UserError for a config whose `tune` part cannot be run, before any work."""
    tune = config["tune"]
    if ":" in config["space"]:
        raise UserError(f"--tune_generator begins from vectors, and --space={config['space']} is one of maps; use w+")
    if tune["steps"] < 1:
        raise UserError(f"config.tune.steps={tune['steps']} must be 1 or more")
    for name in ("lr", "radius"):
        if not 0 < tune[name] < float("inf"):
            raise UserError(f"config.tune.{name}={tune[name]} must be above 0")
    for name in ("l2", "lpips", "locality", "threshold"):
        if not 0 <= tune[name] < float("inf"):
            raise UserError(f"config.tune.{name}={tune[name]} must be a number of 0 or more")
    if not np.isfinite(tune["psi"]):
        raise UserError(f"config.tune.psi={tune['psi']} is no number; 1 is no truncation, 0 the mean")
    if not tune["l2"] + tune["lpips"]:
        raise UserError("config.tune compares with nothing; give config.tune.l2 or config.tune.lpips a weight")
    if tune["locality"] and generator.num_classes and label is None:
        raise UserError(
            f"config.tune.locality draws latents and this generator has {generator.num_classes} classes; give "
            f"--label=0..{generator.num_classes - 1}"
        )


def tune(
    generator: nn.Module,
    variables: Any,
    images: np.ndarray,
    ws: np.ndarray,
    config: Mapping[str, Any],
    *,
    w_avg: jax.Array,
    noise: tuple[np.ndarray, ...] = (),
    extras: np.ndarray | None = None,
    labels: Any = None,
    keep: Callable[[int, Any], None] = lambda number, params: None,
    job: Job | None = None,
    progress: Progress = lambda done, total: None,
) -> Tuned:
    """Tunes a generator to each photograph at its pivot, every time from `variables`.

    Args:
        generator: the module.
        variables: {"params", "buffers"}; not changed.
        images: [N, H, W, C] of the generator's size, uint8 in [0, 255] or floats in [-1, 1].
        ws: the pivots, [N, num_ws, w_dim].
        config: as `configs/invert.py` describes it; `tune`, `lpips_network`, `lpips_weights`, `chunk` and `seed` count.
        w_avg: [w_dim], for the truncation of locality's latents.
        noise: maps [N, H, W, 1] that were found with the pivots; the constant ones without.
        extras: [N, D] that were found with the pivots, what the generator takes beside ws.
        labels: of the classes, [N] or one for all; for locality alone.
        keep: called with a photograph's number and its tuned parameters. Only once it has returned does the job count
            that photograph as done.
        job: keeps what is done so that it can be continued, or None.
        progress: called with (steps done, in all).

    Raises:
        UserError: the images are not of the generator's size, the perceptual network is not there, or the program does
            not fit the device's memory.
    """
    images, ws = check_images(generator, images), np.asarray(ws, np.float32)
    network = load_network(config["lpips_network"], config["lpips_weights"] or None)
    how, count = config["tune"], len(images)
    local = how["locality"] > 0
    program = Program(generator, network.static(), local, config["chunk"])
    given = {"generator": variables, "lpips": jax.tree.map(jnp.asarray, dict(network.params)), "w_avg": w_avg}
    settings = settings_of(how)
    codes = _codes(generator, labels, count) if local else None
    executable, compile_seconds, parts = None, 0.0, []
    for i in range(count):
        done = job.part(i) if job else None
        if done is None:
            row = slice(i, i + 1)
            beside = {"noise": tuple(m[row] for m in noise), "extras": _row(extras, row)}
            target = _target(program, given, as_floats(images[row]), ws[row], beside, _row(codes, row))
            key = jax.random.fold_in(jax.random.key(config["seed"]), i)
            if executable is None:
                began = time.perf_counter()
                executable = compile_chunk(program, given, target, key, settings)
                compile_seconds = time.perf_counter() - began
            before, total = i * how["steps"], count * how["steps"]
            carry, done = _one(
                executable, given, target, key, settings, lambda n, b=before, t=total: progress(b + n, t)
            )
            done |= jax.device_get(_finish(program, given, carry.params, target))
            keep(i, carry.params)
            if job:
                job.save_part(i, done)
        progress((i + 1) * how["steps"], count * how["steps"])
        parts.append(done)
    stacked = {name: np.stack([p[name] for p in parts]) for name in parts[0]}
    stacked["losses"] = stacked["losses"].T
    return Tuned(compile_seconds=compile_seconds, **stacked)


def settings_of(tune: Mapping[str, Any]) -> Settings:
    """The numbers of a config's `tune` part, as arguments of a program."""
    names = {field.name: field.name for field in dataclasses.fields(Settings)} | {"rate": "lr"}
    return Settings(**{field: jnp.float32(tune[name]) for field, name in names.items()})


def start_carry(params: Any) -> Carry:
    """The carry before the first step, with a copy of the parameters."""
    params = jax.tree.map(jnp.copy, params)
    return Carry(params, _adam().init(params), jnp.int32(0), jnp.bool_(False), jnp.bool_(False))


_start = jax.jit(start_carry)


def _adam() -> optax.GradientTransformation:
    return optax.scale_by_adam(0.9, 0.999, 1e-8)


def _codes(generator: nn.Module, labels: Any, count: int) -> jax.Array | None:
    """Labels, [count] or one for all, as codes [count, num_classes]; None where there are no classes."""
    classes = generator.num_classes
    return one_hot(jnp.broadcast_to(jnp.asarray(labels), (count,)), classes, count) if classes else None


def _row(codes: jax.Array | None, row: slice) -> jax.Array | None:
    return None if codes is None else codes[row]


def _one(
    executable: Callable[..., Any],
    variables: Any,
    target: Any,
    key: jax.Array,
    settings: Settings,
    progress: Callable[[int], None],
) -> tuple[Carry, dict[str, np.ndarray]]:
    """One photograph from the first step to its end: (carry, {"losses" [steps], "used", "failed", "seconds"})."""
    steps = int(settings.steps)
    carry, traces = _start(variables["generator"]["params"]), [np.zeros(0, np.float32)]
    began = time.perf_counter()
    while int(carry.step) < steps and not bool(carry.stopped):
        carry, trace = executable(variables, carry, target, key, settings)
        traces.append(np.asarray(trace))
        progress(int(carry.step))
    trace = np.concatenate(traces)[:steps]
    trace = np.concatenate([trace, np.full(steps - len(trace), np.nan, np.float32)])
    seconds = np.float64(time.perf_counter() - began)
    return carry, {
        "losses": trace,
        "used": np.asarray(carry.step),
        "failed": np.asarray(carry.failed),
        "seconds": seconds,
    }


def compile_chunk(program: Program, variables: Any, target: Any, key: jax.Array, settings: Settings) -> Any:
    """The compiled `run_chunk` for arguments of these shapes.

    Raises:
        UserError: it does not fit the device's memory.
    """
    carry = jax.eval_shape(start_carry, variables["generator"]["params"])
    return memory.compiled(run_chunk.lower(program, variables, carry, target, key, settings), 1)


def _run_chunk(
    program: Program, variables: Any, carry: Carry, target: Any, key: jax.Array, settings: Settings
) -> tuple[Carry, jax.Array]:
    """Up to `program.chunk` steps: (carry, losses [chunk] before each, NaN after the end)."""
    adam = _adam()

    def going(state: tuple[Carry, jax.Array, jax.Array]) -> jax.Array:
        carry, i, _ = state
        return (i < program.chunk) & (carry.step < settings.steps) & ~carry.stopped

    def step(state: tuple[Carry, jax.Array, jax.Array]) -> tuple[Carry, jax.Array, jax.Array]:
        carry, i, trace = state
        folded = jax.random.fold_in(key, carry.step)

        def loss(params: Any) -> tuple[jax.Array, jax.Array]:
            return objective(program, variables, params, target, folded, settings)

        (value, perceptual), gradient = jax.value_and_grad(loss, has_aux=True)(carry.params)
        updates, optimiser = adam.update(gradient, carry.optimiser)
        params = jax.tree.map(lambda p, u: p - settings.rate * u, carry.params, updates)
        finite = jnp.isfinite(value) & _all_finite(params)
        near = perceptual <= settings.threshold
        moved = finite & ~near
        change = functools.partial(jax.tree.map, lambda new, old: jnp.where(moved, new, old))
        after = Carry(
            change(params, carry.params),
            change(optimiser, carry.optimiser),
            carry.step + moved,
            ~moved,
            ~finite & ~near,
        )
        return after, i + 1, trace.at[i].set(value)

    start = (carry, jnp.int32(0), jnp.full(program.chunk, jnp.nan))
    carry, _, trace = jax.lax.while_loop(going, step, start)
    return carry, trace


run_chunk = compiler.jit(_run_chunk, static_argnums=0, donate_argnums=2)


def objective(
    program: Program, variables: Any, params: Any, target: Any, key: jax.Array, settings: Settings
) -> tuple[jax.Array, jax.Array]:
    """(loss, perceptual distance) of parameters: l2 * MSE + lpips * distance, and locality.

    Args:
        program: what is compared with.
        variables: {"generator": as it was, "lpips": of the network, "w_avg": [w_dim]}.
        params: of the generator, those that are tuned.
        target: of `make_target`.
        key: of locality's latent.
        settings: the weights.
    """
    _, l2, perceptual = compared(program, variables, params, target)
    loss = settings.l2 * l2 + settings.lpips * perceptual
    if program.local:
        loss += settings.locality * locality(program, variables, params, target, key, settings)
    return loss, perceptual


def compared(program: Program, variables: Any, params: Any, target: Any) -> tuple[jax.Array, jax.Array, jax.Array]:
    """(image [1, H, W, C] of the pivot, its mean squared difference, its perceptual distance), not clipped."""
    image = _synthesize(program, variables, params, target, target["ws"], target["noise"] or "const")
    perceptual = distance(_embed(program, variables, image), target["lpips"])[0]
    return image, losses.l2(image, target["image"])[0], perceptual


def locality(
    program: Program, variables: Any, params: Any, target: Any, key: jax.Array, settings: Settings
) -> jax.Array:
    """MSE + distance of the tuned from the original generator's image of one latent near the pivot, without noise.

    PTI's: w_r = w_p + radius * (w_z - w_p) / |w_z - w_p|, w_z a random latent truncated by psi, lengths those of all
    rows of ws together.
    """
    original = variables["generator"]
    z = jax.random.normal(key, (1, program.generator.z_dim))
    drawn = call(program.generator, original, z, target["labels"], method="map")
    way = truncate(program.generator, variables["w_avg"], drawn, settings.psi) - target["ws"]
    near = target["ws"] + settings.radius * way * jax.lax.rsqrt(jnp.square(way).sum() + 1e-12)
    was = _synthesize(program, variables, original["params"], target, near, "none")
    now = _synthesize(program, variables, params, target, near, "none")
    perceptual = distance(_embed(program, variables, now), _embed(program, variables, was))
    return losses.l2(now, was)[0] + perceptual[0]


def make_target(
    program: Program, variables: Any, image: jax.Array, ws: jax.Array, beside: dict[str, Any], labels: jax.Array | None
) -> dict[str, Any]:
    """What a photograph [1, H, W, C] and its pivot are to `objective`; the photograph is embedded once.

    `beside` holds "noise" and "extras" of the pivot.
    """
    embedded = _embed(program, variables, image)
    return {"image": image, "lpips": embedded, "ws": ws, "labels": labels} | beside


_target = compiler.jit(make_target, static_argnums=0)


def _final(program: Program, variables: Any, params: Any, target: Any) -> dict[str, jax.Array]:
    """What is reported of the result."""
    image, l2, perceptual = compared(program, variables, params, target)
    return {"images": image[0], "l2": l2, "lpips": perceptual}


_finish = compiler.jit(_final, static_argnums=0)


def _synthesize(program: Program, variables: Any, params: Any, target: Any, ws: jax.Array, noise: Any) -> jax.Array:
    """Images by parameters, with the buffers that the generator has always had and the pivot's extras."""
    generator, more = program.generator, extras_of(program.generator, target["extras"])
    return call(generator, variables["generator"] | {"params": params}, ws, noise, method="synthesize", **more)


def _embed(program: Program, variables: Any, images: jax.Array) -> list[jax.Array]:
    return apply(program.lpips, variables["lpips"], images * 127.5 + 127.5, clip=False)


def _all_finite(tree: Any) -> jax.Array:
    return functools.reduce(jnp.logical_and, [jnp.isfinite(x).all() for x in jax.tree.leaves(tree)])
