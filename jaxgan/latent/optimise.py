"""The one engine under everything that optimises latents: many images at once, each a problem of its own.

The objective gives a loss per image; losses are never averaged over images, and the optimiser is mapped over them, so
that image i's answer does not depend on its neighbours. Steps run in chunks of one compiled program (`lax.scan`), whose
shapes never change: the number of steps, weights, targets and network variables are arguments.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import NamedSharding, PartitionSpec

from jaxgan import compiler, memory
from jaxgan.latent.line_search import search
from jaxgan.latent.optimisers import Optimiser
from jaxgan.ops.rows import per_row
from jaxgan.parallel import to_host

Objective = Callable[..., tuple[jax.Array, dict[str, jax.Array]]]
"""`objective(variables, latent, target, keys, progress) -> (loss [B], terms {name: [B]})`; hashable; latent, target and
keys lead with B, and row i of the result depends on row i alone."""


@dataclasses.dataclass(frozen=True)
class Program:
    """What is compiled; everything else is an argument.

    Attributes:
        objective: see `Objective`.
        optimiser: of `jaxgan.latent.optimisers`.
        after_step: `after_step(variables, before, latent) -> latent`, projections and recursions after every step, on
            latents that lead with B; `before` is the latent that the step began from. Or None.
        chunk: steps a call.
    """

    objective: Objective
    optimiser: Optimiser
    after_step: Callable[[Any, Any, Any], Any] | None = None
    chunk: int = 50


@flax.struct.dataclass
class Settings:
    """Numbers of an optimisation that may change without compiling again.

    Attributes:
        steps: of the whole optimisation.
        rate: base learning rate.
        tolerance: an image stops when `patience` steps have not lowered its best loss by this share; 0: never.
        patience: see there.
        change: an image stops when its loss differs by less than this from the step before; 0: never.
    """

    steps: Any
    rate: Any = 0.1
    tolerance: Any = 0.0
    patience: Any = 100
    change: Any = 0.0


@flax.struct.dataclass
class Carry:
    """Everything that an optimisation needs to continue bit for bit.

    Attributes:
        latent: leaves [B, ...].
        optimiser: its state, leaves [B, ...].
        step: steps done.
        best, since: [B], the lowest loss and how many steps ago it was.
        last: [B], the loss of the step before, infinite at first.
        stopped, failed: [B]; a failed image met a number that is not finite and keeps its last latent.
        used, evaluations: [B], steps and evaluations of the objective that changed the latent.
    """

    latent: Any
    optimiser: Any
    step: jax.Array
    best: jax.Array
    since: jax.Array
    last: jax.Array
    stopped: jax.Array
    failed: jax.Array
    used: jax.Array
    evaluations: jax.Array


class Found(NamedTuple):
    """What an optimisation leaves: the last carry, and the losses [steps, B] before each step, NaN after a stop."""

    carry: Carry
    losses: np.ndarray


def start_carry(program: Program, latent: Any) -> Carry:
    """The carry before the first step."""
    count = jax.tree.leaves(latent)[0].shape[0]
    return Carry(
        latent=latent,
        optimiser=jax.vmap(program.optimiser.transform().init)(latent),
        step=jnp.int32(0),
        best=jnp.full(count, jnp.inf),
        since=jnp.zeros(count, jnp.int32),
        last=jnp.full(count, jnp.inf),
        stopped=jnp.zeros(count, bool),
        failed=jnp.zeros(count, bool),
        used=jnp.zeros(count, jnp.int32),
        evaluations=jnp.zeros(count, jnp.int32),
    )


def _run_chunk(
    program: Program, variables: Any, carry: Carry, target: Any, keys: jax.Array, settings: Settings
) -> tuple[Carry, jax.Array]:
    """`program.chunk` steps: (carry, losses [chunk, B])."""
    transform = program.optimiser.transform()

    def step(carry: Carry, _: None) -> tuple[Carry, jax.Array]:
        progress = carry.step / settings.steps
        folded = jax.vmap(jax.random.fold_in, (0, None))(keys, carry.step)

        def losses(latent):
            return program.objective(variables, latent, target, folded, progress)[0]

        # The gradient of the sum is every image's own, as no image's loss depends on another's latent.
        loss, pullback = jax.vjp(losses, carry.latent)
        (gradient,) = pullback(jnp.ones_like(loss))
        going = ~carry.stopped & (carry.step < settings.steps)
        moved = functools.partial(transform.update, progress=progress, rate=settings.rate)
        updates, state = jax.vmap(moved)(gradient, carry.optimiser, carry.latent)
        evaluations = jnp.ones_like(carry.used)
        if program.optimiser.line_search:
            updates, trials = _searched(
                losses, carry.latent, updates, gradient, loss, going, program.optimiser.line_search
            )
            evaluations += trials
        latent = optax.apply_updates(carry.latent, updates)
        if program.after_step is not None:
            latent = program.after_step(variables, carry.latent, latent)
        finite = jnp.isfinite(loss) & _all_finite(latent)
        change = functools.partial(_where, going & finite)
        better = loss < carry.best - settings.tolerance * jnp.abs(carry.best)
        since = jnp.where(going, jnp.where(better | ~jnp.isfinite(carry.best), 0, carry.since + 1), carry.since)
        failed = carry.failed | (going & ~finite)
        settled = ((settings.tolerance > 0) & (since >= settings.patience)) | (
            going & (jnp.abs(loss - carry.last) < settings.change)
        )
        return (
            Carry(
                latent=change(latent, carry.latent),
                optimiser=change(state, carry.optimiser),
                step=carry.step + 1,
                best=jnp.where(going & finite, jnp.minimum(loss, carry.best), carry.best),
                since=since,
                last=jnp.where(going, loss, carry.last),
                stopped=carry.stopped | failed | settled,
                failed=failed,
                used=carry.used + going,
                evaluations=carry.evaluations + jnp.where(going, evaluations, 0),
            ),
            jnp.where(going, loss, jnp.nan),
        )

    return jax.lax.scan(step, carry, length=program.chunk)


def _searched(
    losses: Callable[[Any], jax.Array],
    latent: Any,
    direction: Any,
    gradient: Any,
    loss: jax.Array,
    going: jax.Array,
    trials: int,
) -> tuple[Any, jax.Array]:
    """(updates along each image's direction, evaluations [B]); the gradient's where the direction does not descend."""
    slope = _dot(gradient, direction)
    downhill = slope < 0
    direction = _where(downhill, direction, jax.tree.map(jnp.negative, gradient))
    slope = jnp.where(downhill, slope, -_dot(gradient, gradient))

    def along(length: jax.Array) -> Any:
        return jax.tree.map(lambda d: per_row(length, d) * d, direction)

    length, used = search(lambda length: losses(optax.apply_updates(latent, along(length))), loss, slope, going, trials)
    return along(length), used


def _dot(a: Any, b: Any) -> jax.Array:
    """[B]: products of two trees, summed over all but the images."""
    products = jax.tree.map(lambda x, y: (x * y).reshape(x.shape[0], -1).sum(1), a, b)
    return functools.reduce(jnp.add, jax.tree.leaves(products))


run_chunk = compiler.jit(_run_chunk, static_argnums=0, donate_argnums=2)


def _all_finite(latent: Any) -> jax.Array:
    """[B]: whether every number of an image's latent is."""
    leaves = [jnp.isfinite(x).reshape(x.shape[0], -1).all(1) for x in jax.tree.leaves(latent)]
    return functools.reduce(jnp.logical_and, leaves)


def _where(rows: jax.Array, new: Any, old: Any) -> Any:
    """Leaves of `new` in the given rows, of `old` in the others."""
    return jax.tree.map(lambda a, b: jnp.where(per_row(rows, a), a, b), new, old)


def placement(carry: Carry, keys: jax.Array) -> Carry:
    """The shardings of a carry: what leads with B is split as the keys are, the rest is whole on every device."""
    return jax.tree.map(lambda x: keys.sharding if x.shape[:1] == keys.shape else whole(keys), carry)


def whole(keys: jax.Array) -> jax.sharding.Sharding:
    """The same on every device that the keys are split over."""
    rows = keys.sharding
    return NamedSharding(rows.mesh, PartitionSpec()) if isinstance(rows, NamedSharding) else rows


def compile_chunk(
    program: Program, variables: Any, start: Any, target: Any, keys: jax.Array, settings: Settings
) -> Callable[..., tuple[Carry, jax.Array]]:
    """The compiled chunk for arguments of these shapes (arrays or shapes), which `optimise` may be given.

    Raises:
        UserError: it does not fit the device's memory; the batch that would is named.
    """
    shapes = jax.eval_shape(functools.partial(start_carry, program), start)
    carry = jax.tree.map(
        lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), shapes, placement(shapes, keys)
    )
    settings = jax.tree.map(jnp.float32, settings)
    lowered = run_chunk.lower(program, variables, carry, target, keys, settings)
    return memory.compiled(lowered, keys.shape[0], getattr(keys.sharding, "num_devices", 1))


def optimise(
    program: Program,
    variables: Any,
    start: Any,
    target: Any,
    keys: jax.Array,
    settings: Settings,
    *,
    executable: Callable[..., tuple[Carry, jax.Array]] | None = None,
    after_chunk: Callable[[Carry, np.ndarray], None] = lambda carry, losses: None,
    resume: tuple[Carry, np.ndarray] | None = None,
) -> Found:
    """Runs an optimisation of B images to its end.

    Args:
        program: what is compiled.
        variables: of the networks and whatever else the objective reads.
        start: latents, leaves [B, ...]; not donated.
        target: leaves [B, ...].
        keys: [B], one an image; the step is folded in.
        settings: the number of steps and so on.
        executable: of `compile_chunk`, made once for many calls.
        after_chunk: called with the carry and all losses so far after each chunk, for checkpoints, pictures, bars.
        resume: a carry and the losses that led to it.

    Raises:
        UserError: the batch does not fit the device's memory.
    """
    steps = int(settings.steps)
    executable = executable or compile_chunk(program, variables, start, target, keys, settings)
    settings = jax.tree.map(jnp.float32, settings)
    if resume is None:
        carry = start_carry(program, jax.tree.map(jnp.copy, start))
        carry = jax.device_put(carry, placement(carry, keys))
        losses = np.zeros((0, carry.best.shape[0]), np.float32)
    else:
        carry, losses = resume
    while int(carry.step) < steps and not bool(carry.stopped.all()):
        carry, found = executable(variables, carry, target, keys, settings)
        losses = np.concatenate([losses, to_host(found)])[:steps]
        after_chunk(carry, losses)
    return Found(carry, losses)
