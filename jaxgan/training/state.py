"""Everything a run needs to continue bit for bit, in one pytree."""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxgan.networks.build import init
from jaxgan.networks.gan import Gan

Variables = dict[str, Any]


@flax.struct.dataclass
class TrainState:
    """The state of a run.

    Attributes:
        step: iterations done, int32.
        images_seen: real images shown to the discriminator, int32.
        key: the run's random key; each iteration folds its number into it.
        generator, discriminator: variables {"params", "buffers"}.
        ema: the generator's variables, parameters averaged.
        g_opt, d_opt: optimiser states.
        w_avg: running mean of w, [w_dim].
        pl_mean: running mean of the path lengths.
        augment_p: probability of adaptive augmentation.
        augment_signs: (sum of the signs of D(real), how many) since it was adjusted, [2].
    """

    step: jax.Array
    images_seen: jax.Array
    key: jax.Array
    generator: Variables
    discriminator: Variables
    ema: Variables
    g_opt: optax.OptState
    d_opt: optax.OptState
    w_avg: jax.Array
    pl_mean: jax.Array
    augment_p: jax.Array
    augment_signs: jax.Array


class PerLeafAdamState(NamedTuple):
    """Adam's moments, and a count of steps for each leaf."""

    count: optax.Params
    mu: optax.Params
    nu: optax.Params


def scale_by_per_leaf_adam(b1: float, b2: float, eps: float) -> optax.GradientTransformation:
    """`optax.scale_by_adam` with a step count for each leaf, so that leaves may join later.

    With one count, the first steps of a leaf that joins would be 1 / sqrt(1 - b2) times too large.
    """

    def init(params):
        zeros = functools.partial(jax.tree.map, jnp.zeros_like, params)
        return PerLeafAdamState(jax.tree.map(lambda _: jnp.zeros((), jnp.int32), params), zeros(), zeros())

    def update(gradients, state, params=None):
        count = jax.tree.map(lambda n: n + 1, state.count)
        mu = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.mu, gradients)
        nu = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g * g, state.nu, gradients)
        updates = jax.tree.map(lambda n, m, v: m / (1 - b1**n) / (jnp.sqrt(v / (1 - b2**n)) + eps), count, mu, nu)
        return updates, PerLeafAdamState(count, mu, nu)

    return optax.GradientTransformation(init, update)


def optimizer(
    config: Mapping[str, Any], lr: float, interval: int, *, per_leaf: bool = False
) -> optax.GradientTransformation:
    """Adam, rescaled for a lazy regulariser that runs every `interval` steps and shares its state (StyleGAN2, app. B).

    c = interval / (interval + 1); lr * c, beta^c; c = 1 where the interval is 1, which is no update of its own. The
    rescaling stays where the term is off, as in the official code. `per_leaf` counts steps for each parameter.
    """
    c = 1.0 if interval == 1 else interval / (interval + 1)
    b1, b2 = config["beta1"] ** c, config["beta2"] ** c
    adam = scale_by_per_leaf_adam(b1, b2, config["eps"]) if per_leaf else optax.scale_by_adam(b1, b2, config["eps"])
    l2 = [optax.add_decayed_weights(config["l2"])] if config["l2"] else []
    return optax.chain(*l2, adam, optax.scale_by_learning_rate(lr * c))


def optimizers(config: Mapping[str, Any]) -> tuple[optax.GradientTransformation, optax.GradientTransformation]:
    """The optimisers of generator and discriminator."""
    c, loss = config["optimizer"], config["loss"]
    per_leaf = config["growth"]["optimizer"] == "keep"
    return (
        optimizer(c, c["g_lr"], loss["pl_interval"], per_leaf=per_leaf),
        optimizer(c, c["d_lr"], loss["r1_interval"], per_leaf=per_leaf),
    )


def learning_rate_factor(images_seen: jax.Array, config: Mapping[str, Any]) -> jax.Array | float:
    """What the learning rates are multiplied by: a rise to `rampup_kimg`, a linear fall to 0 at `decay_kimg`.

    The rise is exp(-5 (1 - t)^2), as in the Theano code of Progressive GAN. Neither where its field is 0.
    """
    factor, kimg = 1.0, images_seen.astype(jnp.float32) / 1000
    if config["rampup_kimg"]:
        factor *= jnp.exp(-5.0 * jnp.square(1.0 - jnp.minimum(kimg / config["rampup_kimg"], 1.0)))
    if config["decay_kimg"]:
        factor *= jnp.clip(1.0 - kimg / config["decay_kimg"], 0.0, 1.0)
    return factor


def create_state(gan: Gan, config: Mapping[str, Any], key: jax.Array) -> TrainState:
    """A fresh state; run it under jit with output shardings so that it never sits on one device."""
    init_key, run_key = jax.random.split(key)
    generator, discriminator = init(gan, init_key)
    g_opt, d_opt = optimizers(config)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        images_seen=jnp.zeros((), jnp.int32),
        key=run_key,
        generator=generator,
        discriminator=discriminator,
        ema=jax.tree.map(jnp.copy, generator),
        g_opt=g_opt.init(generator["params"]),
        d_opt=d_opt.init(discriminator["params"]),
        w_avg=jnp.zeros((gan.generator.w_dim,), jnp.float32),
        pl_mean=jnp.zeros((), jnp.float32),
        augment_p=jnp.float32(config["augment"]["p"]),
        augment_signs=jnp.zeros((2,), jnp.float32),
    )


def adopted_state(
    gan: Gan,
    config: Mapping[str, Any],
    key: jax.Array,
    *,
    ema: Variables,
    generator: Variables | None,
    discriminator: Variables | None,
    w_avg: Any,
    images_seen: int,
) -> TrainState:
    """A state, on the host, that begins with weights made elsewhere; optimisers and statistics are fresh.

    Args:
        gan, config, key: as in `create_state`.
        ema: the averaged generator.
        generator: the raw one; None: the average stands in.
        discriminator: None: a fresh one.
        w_avg: mean of w, [w_dim].
        images_seen: by the discriminator.
    """
    init_key, run_key = jax.random.split(key)
    if discriminator is None:
        discriminator = jax.device_get(jax.jit(lambda key: init(gan, key)[1])(init_key))
    generator = ema if generator is None else generator
    fresh = jax.eval_shape(functools.partial(create_state, gan, config), key)
    # All of these begin at 0. NumPy's zeros take no memory before they are written to.
    zeros = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), fresh.replace(key=None))
    return zeros.replace(
        images_seen=np.asarray(images_seen, np.int32),
        key=run_key,
        generator=generator,
        discriminator=discriminator,
        ema=ema,
        w_avg=np.asarray(w_avg),
        augment_p=np.asarray(config["augment"]["p"], np.float32),
    )


def ema_decay(images_seen: jax.Array, images: int, config: Mapping[str, Any]) -> jax.Array:
    """Weight of the old average in an iteration of so many images: `decay` if given, else 0.5 ^ (images / half-life).

    The half-life is kimg * 1000, at most `rampup` times the images seen before; rampup 0 means no limit. With `decay`
    the average is the weights themselves until `start_kimg`.
    """
    if config["decay"]:
        return jnp.where(images_seen < 1000 * config["start_kimg"], 0.0, jnp.float32(config["decay"]))
    half_life = jnp.float32(config["kimg"] * 1000)
    if config["rampup"]:
        half_life = jnp.minimum(half_life, images_seen.astype(jnp.float32) * config["rampup"])
    return 0.5 ** (images / jnp.maximum(half_life, 1e-8))
