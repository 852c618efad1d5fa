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
from jaxgan.networks.gan import Gan, call
from jaxgan.training.state import TrainState, create_state
from jaxgan.training.step import Batch, Metrics, Steps, make_steps, plain_steps


class Layout(NamedTuple):
    """Where a run's arrays live."""

    mesh: Mesh
    shapes: TrainState
    shardings: TrainState

    @property
    def template(self) -> TrainState:
        """What a checkpoint is restored to."""
        return state_template(self.shapes, self.shardings)


def layout(gan: Gan, config: Mapping[str, Any]) -> Layout:
    """The mesh of all devices and the state's place on it."""
    mesh = parallel.make_mesh(config["fsdp"])
    key = jax.eval_shape(lambda: jax.random.key(0))
    shapes = jax.eval_shape(functools.partial(create_state, gan, config), key)
    return Layout(mesh, shapes, parallel.state_shardings(mesh, shapes))


def fresh_state(gan: Gan, config: Mapping[str, Any], place: Layout) -> TrainState:
    """A new run's state, made where it lives."""
    make = jax.jit(lambda: create_state(gan, config, jax.random.key(config["seed"])), out_shardings=place.shardings)
    return make()


def schedule(step: int, config: Mapping[str, Any]) -> tuple[bool, bool, int]:
    """(Greg?, Dreg?, iterations) of the dispatch that starts at an iteration.

    Iterations without lazy terms are joined up to `steps_per_dispatch`, counted from the last lazy one, so that the
    cuts depend on the iteration alone and a resumed run makes the same ones.
    """
    loss, joined = config["loss"], config["steps_per_dispatch"]
    greg = _due(step, loss["pl_interval"], loss["pl_weight"])
    dreg = _due(step, loss["r1_interval"], loss["r1_gamma"])
    if greg or dreg:
        return greg, dreg, 1
    terms = ((loss["pl_weight"], loss["pl_interval"]), (loss["r1_gamma"], loss["r1_interval"]))
    intervals = [interval for weight, interval in terms if weight > 0]
    first = max((step - step % interval + 1 for interval in intervals), default=0)  # of this run of plain iterations
    until_cut = joined - (step - first) % joined
    return False, False, min([until_cut, *(interval - step % interval for interval in intervals)])


def program_names(greg: bool, dreg: bool, count: int) -> list[tuple]:
    """The programs of a dispatch: ("plain", K), or ("G", regularise) and then ("D", regularise)."""
    return [("plain", count)] if count > 1 else [("G", greg), ("D", dreg)]


def _due(step: int, interval: int, weight: float) -> bool:
    return weight > 0 and step % interval == 0


class Programs:
    """Runs iterations on compiled programs; nothing is compiled twice, nothing after `compile`."""

    def __init__(
        self, gan: Gan, config: Mapping[str, Any], place: Layout, label_weights: tuple[float, ...] | None = None
    ):
        self._config, self._place = config, place
        whole = parallel.replicated(place.mesh)
        steps = make_steps(
            gan,
            config,
            label_weights,
            constrain=parallel.constrain_batch(place.mesh),
            gather=lambda tree: jax.lax.with_sharding_constraint(tree, whole),
        )
        self._jits = _jits(steps, place)
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

        def build(name: tuple) -> Any:
            kind, variant = name
            state = self._place.template
            if kind == "plain":
                return self._jits["plain"].lower(state, (shape,) * variant).compile()
            arguments = (state,) if kind == "G" else (state, shape)
            return self._jits[kind].lower(*arguments, variant).compile()

        note(f"compiling {len(names)} programs")
        with ThreadPoolExecutor(max_workers=4) as pool:
            self._compiled |= dict(zip(names, pool.map(build, names)))

    def executable(self, kind: str, variant: bool | int) -> Any:
        """A compiled program, for its cost analysis."""
        return self._compiled[kind, variant]

    def run(self, step: int, state: TrainState, batches: tuple[Batch, ...]) -> tuple[TrainState, Metrics]:
        """The dispatch that starts at `step`; donates the state. `batches` are as many as `schedule` says."""
        greg, dreg, count = schedule(step, self._config)
        if count > 1:
            return self._compiled["plain", count](state, batches)
        state, g_metrics = self._compiled["G", greg](state)
        state, d_metrics = self._compiled["D", dreg](state, batches[0])
        return state, g_metrics | d_metrics


def _jits(steps: Steps, place: Layout) -> dict[str, Any]:
    out = (place.shardings, parallel.replicated(place.mesh))

    def plain(state, batches):
        return plain_steps(steps, state, jax.tree.map(lambda *x: jnp.stack(x), *batches))

    return {
        "G": compiler.jit(steps.generator, static_argnums=1, donate_argnums=0, out_shardings=out),
        "D": compiler.jit(steps.discriminator, static_argnums=2, donate_argnums=0, out_shardings=out),
        "plain": compiler.jit(plain, donate_argnums=0, out_shardings=out),
    }


def sampler(gan: Gan, place: Layout, images: int) -> Callable[[TrainState], jax.Array]:
    """A jitted `state -> images` of the EMA generator: latents from a fixed seed, constant noise, classes in turn."""
    generator = gan.generator

    def sample(ema: Any) -> jax.Array:
        z = jax.random.normal(jax.random.key(0), (images, generator.z_dim))
        labels = jnp.arange(images) % generator.num_classes if generator.num_classes else None
        return call(generator, ema, z, labels)

    jitted = compiler.jit(sample, out_shardings=parallel.replicated(place.mesh))
    return lambda state: jitted(state.ema)
