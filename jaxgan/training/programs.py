"""The compiled programs of a run: one for each static variant of the step, compiled side by side before work starts."""

import functools
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from jaxgan import compiler, parallel
from jaxgan.checkpoint import state_template
from jaxgan.networks.gan import Gan, call, draw_extras, draw_z
from jaxgan.networks.normalization import has_batch_moments, without_count
from jaxgan.training.gradients import Metrics
from jaxgan.training.growth import Fade, grow
from jaxgan.training.state import TrainState, create_state
from jaxgan.training.step import Batch, Steps, draw_latents, make_steps, plain_steps


class Layout(NamedTuple):
    """Where a run's arrays live."""

    mesh: Mesh
    shapes: TrainState
    shardings: TrainState

    @property
    def template(self) -> TrainState:
        """What a checkpoint is restored to."""
        return state_template(self.shapes, self.shardings)


def layout(gan: Gan, config: Mapping[str, Any], mesh: Mesh | None = None) -> Layout:
    """The mesh (default: of all devices) and the state's place on it."""
    mesh = mesh or parallel.make_mesh(config["fsdp"])
    key = jax.eval_shape(lambda: jax.random.key(0))
    shapes = jax.eval_shape(functools.partial(create_state, gan, config), key)
    return Layout(mesh, shapes, parallel.state_shardings(mesh, shapes))


def fresh_state(gan: Gan, config: Mapping[str, Any], place: Layout) -> TrainState:
    """A new run's state, made where it lives."""
    make = jax.jit(lambda: create_state(gan, config, jax.random.key(config["seed"])), out_shardings=place.shardings)
    return make()


def batch_template(config: Mapping[str, Any], image_shape: tuple[int, int, int], place: Layout) -> Batch:
    """The shapes of a batch on the devices."""
    rows, split = config["batch_size"], parallel.by_batch(place.mesh)
    return {
        "images": jax.ShapeDtypeStruct((rows, *image_shape), jnp.uint8, sharding=split),
        "labels": jax.ShapeDtypeStruct((rows,), jnp.int32, sharding=split),
    }


def compile_growth(gan: Gan, config: Mapping[str, Any], old: Layout, new: Layout) -> Callable[[TrainState], TrainState]:
    """The compiled program that makes the state of the next network out of the one before it."""

    def make(state):
        # The new leaves depend on the run's seed and on the network alone, not on when it grew.
        return grow(
            state,
            create_state(gan, config, jax.random.key(config["seed"])),
            keep_moments=config["growth"]["optimizer"] == "keep",
        )

    return jax.jit(make, out_shardings=new.shardings).lower(old.template).compile()


def schedule(step: int, config: Mapping[str, Any]) -> tuple[bool, bool, int]:
    """(Greg?, Dreg?, iterations) of the dispatch that starts at an iteration.

    Iterations without lazy terms are joined up to `steps_per_dispatch`, counted from the last lazy one, so that the
    cuts depend on the iteration alone and a resumed run makes the same ones.
    """
    loss, joined = config["loss"], config["steps_per_dispatch"]
    pl = loss["pl_interval"] if loss["pl_weight"] > 0 else 0
    r1 = loss["r1_interval"] if loss["r1_gamma"] > 0 and loss["r1_interval"] > 1 else 0
    greg, dreg = pl > 0 and step % pl == 0, r1 > 0 and step % r1 == 0
    if greg or dreg:
        return greg, dreg, 1
    intervals = [interval for interval in (pl, r1) if interval]
    first = max((step - step % interval + 1 for interval in intervals), default=0)  # of this run of plain iterations
    until_cut = joined - (step - first) % joined
    return False, False, min([until_cut, *(interval - step % interval for interval in intervals)])


def step_at(images: int, step: int, images_seen: int, config: Mapping[str, Any]) -> int:
    """The iteration at which a run that is at `step` has seen so many images."""
    images_per_step = config["batch_size"] * config["loss"]["critic_steps"]
    while images_seen < images:
        count = schedule(step, config)[2]
        step, images_seen = step + count, images_seen + count * images_per_step
    return step


def program_names(greg: bool, dreg: bool, count: int) -> list[tuple]:
    """The programs of a dispatch: ("plain", K), or ("G", regularise) and then ("D", regularise)."""
    return [("plain", count)] if count > 1 else [("G", greg), ("D", dreg)]


class Programs:
    """Runs iterations on compiled programs; nothing is compiled twice, nothing after `compile`."""

    def __init__(
        self,
        gan: Gan,
        config: Mapping[str, Any],
        place: Layout,
        label_weights: tuple[float, ...] | None = None,
        fade: Fade | None = None,
    ):
        self._config, self._place = config, place
        whole = parallel.replicated(place.mesh)
        steps = make_steps(
            gan,
            config,
            label_weights,
            fade,
            constrain=parallel.constrain_batch(place.mesh),
            gather=lambda tree: jax.lax.with_sharding_constraint(tree, whole),
        )
        self._jits = _jits(steps, config["loss"]["critic_steps"], place)
        self._compiled: dict[tuple, Any] = {}

    def variants(self, start: int = 0) -> set[tuple]:
        """Names of the programs that the schedule calls for from an iteration on.

        ("G", regularise), ("D", regularise), ("plain", K). A run that is continued with another `steps_per_dispatch`
        may start inside a cut, which a walk from 0 would not meet.
        """
        loss = self._config["loss"]
        end = start + loss["pl_interval"] * loss["r1_interval"] * self._config["steps_per_dispatch"]
        names: set[tuple] = set()
        while start < end:
            greg, dreg, count = schedule(start, self._config)
            names |= set(program_names(greg, dreg, count))
            start += count
        return names

    def compile(self, batch: Batch, start: int = 0, note: Callable[[str], None] = lambda text: None) -> None:
        """Compiles, several at a time, what a run from iteration `start` on needs for batches like this one."""
        shape = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), batch)
        names = sorted(self.variants(start) - set(self._compiled))
        note(f"compiling {len(names)} programs")
        with ThreadPoolExecutor(max_workers=4) as pool:
            self._compiled |= dict(zip(names, pool.map(lambda name: self.lower(*name, shape).compile(), names)))

    def lower(self, kind: str, variant: bool | int, batch: Batch) -> jax.stages.Lowered:
        """A program, not yet compiled, for batches of these shapes and shardings."""
        state, critic_steps = self._place.template, self._config["loss"]["critic_steps"]
        if kind == "plain":
            return self._jits["plain"].lower(state, (batch,) * (variant * critic_steps))
        return self._jits[kind].lower(state, (batch,) * critic_steps, variant)

    def executable(self, kind: str, variant: bool | int) -> Any:
        """A compiled program, for its cost analysis."""
        return self._compiled[kind, variant]

    def run(self, step: int, state: TrainState, batches: tuple[Batch, ...]) -> tuple[TrainState, Metrics]:
        """The dispatch that starts at `step`; donates the state.

        `batches` are `critic_steps` for each of the iterations that `schedule` says.
        """
        greg, dreg, count = schedule(step, self._config)
        if count > 1:
            return self._compiled["plain", count](state, batches)
        state, g_metrics = self._compiled["G", greg](state, batches)
        state, d_metrics = self._compiled["D", dreg](state, batches)
        return state, g_metrics | d_metrics


def _jits(steps: Steps, critic_steps: int, place: Layout) -> dict[str, Any]:
    out = (place.shardings, parallel.replicated(place.mesh))

    def stacked(batches):
        return jax.tree.map(lambda *x: jnp.stack(x), *batches)

    def generator(state, batches, regularise):
        return steps.generator(state, stacked(batches), regularise)

    def discriminator(state, batches, regularise):
        return steps.discriminator(state, stacked(batches), regularise)

    def plain(state, batches):
        iterations = [stacked(batches[i : i + critic_steps]) for i in range(0, len(batches), critic_steps)]
        return plain_steps(steps, state, stacked(iterations))

    return {
        "G": compiler.jit(generator, static_argnums=2, donate_argnums=0, out_shardings=out),
        "D": compiler.jit(discriminator, static_argnums=2, donate_argnums=0, out_shardings=out),
        "plain": compiler.jit(plain, donate_argnums=0, out_shardings=out),
    }


def sampler(gan: Gan, place: Layout, images: int) -> compiler.jit:
    """A jitted `ema -> images` of the average: latents from a fixed seed, constant noise, classes in turn."""
    generator = gan.generator

    def sample(ema: Any) -> jax.Array:
        z = draw_z(generator, jax.random.key(0), images)
        labels = jnp.arange(images) % generator.num_classes if generator.num_classes else None
        return call(generator, ema, z, labels, **draw_extras(generator, jax.random.split(jax.random.key(0), images)))

    return compiler.jit(sample, out_shardings=parallel.replicated(place.mesh))


def calibrator(
    gan: Gan, place: Layout, batch_size: int, label_weights: tuple[float, ...] | None, batches: int = 32
) -> compiler.jit | None:
    """A jitted `ema -> ema` with batch moments of its own, estimated over generated batches; None where it has none.

    The moments that training leaves in the buffers belong to the raw weights. Batches are as large as those that
    training normalises, labels drawn as it draws them; always the same latents.
    """
    generator = gan.generator
    constrain = parallel.constrain_batch(place.mesh)
    if not has_batch_moments(place.shapes.ema["buffers"]):
        return None

    def estimate(ema: Any) -> Any:
        def one(buffers, key):
            z, labels = draw_latents(generator, label_weights, constrain, key, batch_size)
            _, buffers = call(generator, {"params": ema["params"], "buffers": buffers}, z, labels, train=True)
            return buffers, None

        buffers, _ = jax.lax.scan(one, without_count(ema["buffers"]), jax.random.split(jax.random.key(1), batches))
        return {"params": ema["params"], "buffers": buffers}

    return compiler.jit(estimate, out_shardings=place.shardings.ema)
