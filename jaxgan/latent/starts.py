"""Where an optimisation of latents begins: the mean, the best of some random candidates, or given ws."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.errors import UserError
from jaxgan.latent.losses import normalise_noise
from jaxgan.latent.objectives import Objective
from jaxgan.networks.gan import EXTRAS_KEY, extras_dim, one_hot

START_KEY, NOISE_KEY = 1, 2  # folded into an image's key; the steps of the optimisation use the key itself


def noise_maps(objective: Objective, keys: jax.Array) -> tuple[jax.Array, ...]:
    """Random maps [B, H, W, 1] of mean 0 and rms 1, one a noisy layer; none where the objective does not move them."""
    if not objective.noise_maps:
        return ()

    def one(key: jax.Array) -> list[jax.Array]:
        key = jax.random.fold_in(key, NOISE_KEY)
        shapes = objective.space.generator.noise_shapes
        return [jax.random.normal(jax.random.fold_in(key, i), (*shape, 1)) for i, shape in enumerate(shapes)]

    return tuple(normalise_noise(tuple(jax.vmap(one)(keys))))


def latent_of(objective: Objective, variables: Any, code: jax.Array, keys: jax.Array) -> dict[str, Any]:
    """A latent from codes [B, *shape] of the space."""
    return {"code": objective.coordinates(variables, code)} | _beside(objective, keys)


def _beside(objective: Objective, keys: jax.Array) -> dict[str, Any]:
    """What a latent has beside its code: noise maps and the generator's extras, where there are some."""
    noise, generator = noise_maps(objective, keys), objective.space.generator
    found: dict[str, Any] = {"noise": noise} if noise else {}
    return found | ({"extras": generator.rest_extras(len(keys))} if extras_dim(generator) else {})


def at_mean(objective: Objective, variables: Any, keys: jax.Array) -> dict[str, Any]:
    """Every image at the mean of its space."""
    mean = objective.space.mean(variables["statistics"])
    return latent_of(objective, variables, jnp.broadcast_to(mean, (keys.shape[0], *mean.shape)), keys)


def from_ws(objective: Objective, variables: Any, ws: jax.Array, keys: jax.Array) -> dict[str, Any]:
    """Every image at given ws [B, num_ws, w_dim], or maps of them, such as an encoder's or an earlier result's.

    Raises:
        UserError: the space is z, or they are not those of this generator.
    """
    generator = objective.space.generator
    if ws.ndim not in (3, 5) or (ws.shape[1], ws.shape[-1]) != (generator.num_ws, generator.w_dim):
        raise UserError(
            f"the start's ws have shape {ws.shape[1:]} and this generator takes {(generator.num_ws, generator.w_dim)}"
        )
    space, ws = objective.space, jnp.asarray(ws)
    code = space.begin(variables["generator"], ws) if space.styled else space.from_ws(ws)
    return latent_of(objective, variables, code, keys)


@functools.partial(jax.jit, static_argnums=(0, 4))
def _candidates(objective: Objective, variables: Any, target: Any, keys: jax.Array, count: int) -> tuple[Any, ...]:
    """(codes [count, B, ...], extras [count, B, D] or None, losses [count, B]) of random latents, an image its own."""
    generator = objective.space.generator
    own = jax.vmap(lambda key: jax.random.fold_in(key, START_KEY))(keys)
    beside = _beside(objective, keys)
    labels = target.get("labels")

    def candidate(_: None, number: jax.Array) -> tuple[None, Any]:
        drawn = jax.vmap(jax.random.fold_in, (0, None))(own, number)

        def one(key: jax.Array, label: jax.Array | None) -> jax.Array:
            row = _random_label(generator, key) if label is None else label
            return objective.space.sample(variables["generator"], key, 1, None if row is None else row[None])[0]

        code = jax.vmap(one, (0, None if labels is None else 0))(drawn, labels)
        extras = _drawn_extras(generator, drawn)
        latent = {"code": objective.coordinates(variables, code)} | beside
        latent |= {} if extras is None else {"extras": extras}
        shown = target | ({"start": latent["code"]} if "start" in target else {})
        return None, (code, extras, objective(variables, latent, shown, drawn, jnp.float32(1.0))[0])

    return jax.lax.scan(candidate, None, jnp.arange(count))[1]


def _drawn_extras(generator: nn.Module, keys: jax.Array) -> jax.Array | None:
    """What a random image takes beside its ws, for keys [B]."""
    if not extras_dim(generator):
        return None
    return generator.draw_extras(jax.vmap(lambda key: jax.random.fold_in(key, EXTRAS_KEY))(keys))


def _random_label(generator: nn.Module, key: jax.Array) -> jax.Array | None:
    """The code of a random class, where there are classes."""
    classes = generator.num_classes
    return jax.nn.one_hot(jax.random.randint(key, (), 0, classes), classes) if classes else None


def best_candidates(objective: Objective, variables: Any, target: Any, keys: jax.Array, count: int) -> dict[str, Any]:
    """The best of `count` random latents for each image."""
    codes, extras, losses = _candidates(objective, variables, target, keys, count)
    best = (jnp.where(jnp.isfinite(losses), losses, jnp.inf).argmin(0), jnp.arange(len(keys)))
    latent = latent_of(objective, variables, codes[best], keys)
    return latent | ({} if extras is None else {"extras": extras[best]})


def check_labels(objective: Objective, labels: Any, count: int) -> jax.Array | None:
    """Labels as codes [count, num_classes], or None where nothing reads them.

    Raises:
        UserError: z is mapped with a label and none is given.
    """
    generator = objective.space.generator
    if not generator.num_classes:
        return None
    if labels is None:
        if objective.space.name in ("z", "sz") or "realism" in objective.terms:
            raise UserError(
                f"this generator has {generator.num_classes} classes; give --label=0..{generator.num_classes - 1}, "
                "or use --space=w+ without realism"
            )
        return None
    return one_hot(jnp.broadcast_to(jnp.asarray(labels), (count,)), generator.num_classes, count)
