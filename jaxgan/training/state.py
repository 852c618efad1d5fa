"""Everything a run needs to continue bit for bit, in one pytree."""

from collections.abc import Mapping
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
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


def optimizer(config: Mapping[str, Any], lr: float, interval: int) -> optax.GradientTransformation:
    """Adam, rescaled for a lazy regulariser that runs every `interval` steps and shares its state (StyleGAN2, app. B).

    c = interval / (interval + 1); lr * c, beta^c. The rescaling stays where the term is off, as in the official code.
    """
    c = interval / (interval + 1)
    return optax.adam(lr * c, b1=config["beta1"] ** c, b2=config["beta2"] ** c, eps=config["eps"])


def optimizers(config: Mapping[str, Any]) -> tuple[optax.GradientTransformation, optax.GradientTransformation]:
    """The optimisers of generator and discriminator."""
    c = config["optimizer"]
    return optimizer(c, c["g_lr"], config["loss"]["pl_interval"]), optimizer(
        c, c["d_lr"], config["loss"]["r1_interval"]
    )


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
    )


def ema_decay(images_seen: jax.Array, batch_size: int, kimg: float, rampup: float) -> jax.Array:
    """Weight of the old average: 0.5 ^ (batch / half-life in images).

    The half-life is kimg * 1000, at most `rampup` times the images seen before this batch; rampup 0 means no limit.
    """
    half_life = jnp.float32(kimg * 1000)
    if rampup:
        half_life = jnp.minimum(half_life, images_seen.astype(jnp.float32) * rampup)
    return 0.5 ** (batch_size / jnp.maximum(half_life, 1e-8))
