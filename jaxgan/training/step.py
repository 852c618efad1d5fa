"""The training step: pure functions of (state, batch), one compiled program per static variant.

An iteration is a generator step (Gmain, every `pl_interval` iterations Greg, then the EMA) and a discriminator step
(Dmain, every `r1_interval` iterations Dreg), in the order of the official code; main and lazy terms are separate
optimiser updates that share one Adam state. Each phase draws its own latents.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxgan.networks.gan import Gan, call
from jaxgan.training import objectives, regularisers
from jaxgan.training.state import TrainState, ema_decay, optimizers

Batch = dict[str, jax.Array]
Metrics = dict[str, jax.Array]
Step = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]

_PHASES = {"Gmain": 0, "Greg": 1, "Dmain": 2, "Dreg": 3}


class Steps(NamedTuple):
    """The two halves of an iteration; `regularise` is static."""

    generator: Callable[[TrainState, bool], tuple[TrainState, Metrics]]
    discriminator: Callable[[TrainState, Batch, bool], tuple[TrainState, Metrics]]


class _Moving(NamedTuple):
    """What the phases carry besides gradients."""

    w_avg: jax.Array
    pl_mean: jax.Array


def make_steps(
    gan: Gan,
    config: Mapping[str, Any],
    label_weights: tuple[float, ...] | None = None,
    constrain: Callable[[jax.Array], jax.Array] = lambda x: x,
    gather: Callable[[Any], Any] = lambda tree: tree,
) -> Steps:
    """The pure steps of a config.

    Args:
        gan: the networks.
        config: a whole experiment's config, resolved (no value left to a rule).
        label_weights: share of each class in the training set, for the labels of generated images.
        constrain: puts the sharding of a batch on an array that leads with one.
        gather: makes variables whole that are split over devices. Without it the compiler lets their split spread to
            the activations, and exchanges those several times over.
    """
    generator, discriminator = gan
    loss, rounds = config["loss"], config["accumulate"]
    micro_batch = config["batch_size"] // rounds
    g_optimizer, d_optimizer = optimizers(config)

    def draw_latents(key, n):
        z_key, label_key = jax.random.split(key)
        z = constrain(jax.random.normal(z_key, (n, generator.z_dim)))
        if not generator.num_classes:
            return z, None
        logits = jnp.log(jnp.asarray(label_weights, jnp.float32))
        return z, constrain(jax.random.categorical(label_key, logits, shape=(n,)))

    def map_latents(params, buffers, moving, key, n):
        """ws of n fresh latents, styles mixed, their labels, and the moved w_avg."""
        z_key, mix_key, other_key = jax.random.split(key, 3)
        z, labels = draw_latents(z_key, n)
        variables = {"params": params, "buffers": buffers}
        ws = constrain(call(generator, variables, z, labels, method="map"))
        mean = jax.lax.stop_gradient(jnp.mean(ws[:, 0], axis=0))
        moving = moving._replace(w_avg=mean + config["w_avg_beta"] * (moving.w_avg - mean))
        if loss["style_mixing_prob"] > 0:
            # No optimisation passes the second code to w_avg; its labels are the first one's.
            other, _ = draw_latents(other_key, n)
            other = call(generator, variables, other, labels, method="map")
            ws = mix_styles(mix_key, ws, other, loss["style_mixing_prob"])
        return ws, labels, moving

    def fake_images(params, buffers, moving, key, n):
        map_key, noise_key = jax.random.split(key)
        ws, labels, moving = map_latents(params, buffers, moving, map_key, n)
        images = call(generator, {"params": params, "buffers": buffers}, ws, noise_key, method="synthesize")
        return images, labels, moving

    def g_main(params, state, moving, _, key):
        images, labels, moving = fake_images(params, state.generator["buffers"], moving, key, micro_batch)
        logits = call(discriminator, state.discriminator, images, labels).logits
        value = jnp.mean(objectives.generator_loss(logits))
        return value, (moving, {"G_loss": value})

    def g_reg(params, state, moving, _, key):
        map_key, noise_key, image_key = jax.random.split(key, 3)
        n = max(micro_batch // loss["pl_batch_shrink"], 1)
        buffers = state.generator["buffers"]
        ws, _, moving = map_latents(params, buffers, moving, map_key, n)

        def synthesize(ws):
            return call(generator, {"params": params, "buffers": buffers}, ws, noise_key, method="synthesize")

        height, width, channels = generator.image_shape
        noise = constrain(jax.random.normal(image_key, (n, height, width, channels))) / (height * width) ** 0.5
        lengths = regularisers.path_lengths(synthesize, ws, noise)
        penalty, mean = regularisers.path_length_penalty(lengths, moving.pl_mean, loss["pl_decay"])
        value = jnp.mean(penalty) * loss["pl_weight"]
        return value * loss["pl_interval"], (moving._replace(pl_mean=mean), {"G_path_penalty": value})

    def d_main(params, state, moving, batch, key):
        generated = state.generator
        images, labels, moving = fake_images(generated["params"], generated["buffers"], moving, key, micro_batch)
        variables = {"params": params, "buffers": state.discriminator["buffers"]}
        fake = call(discriminator, variables, jax.lax.stop_gradient(images), labels).logits
        real = call(discriminator, variables, batch["images"], _labels(generator, batch)).logits
        value = jnp.mean(objectives.discriminator_loss(real, fake))
        scores = {"D_real": jnp.mean(real), "D_fake": jnp.mean(fake), "D_real_sign": jnp.mean(jnp.sign(real))}
        return value, (moving, {"D_loss": value, **scores})

    def d_reg(params, state, moving, batch, key):
        variables = {"params": params, "buffers": state.discriminator["buffers"]}
        labels = _labels(generator, batch)
        penalty = regularisers.r1_penalty(
            lambda images: call(discriminator, variables, images, labels).logits, batch["images"]
        )
        value = jnp.mean(penalty) * (loss["r1_gamma"] / 2)
        return value * loss["r1_interval"], (moving, {"D_r1_penalty": jnp.mean(penalty)})

    def update(phase, name, optimizer, opt_state, params, state, batch=None):
        """One phase: its gradient over the accumulation rounds and one optimiser update."""
        key = jax.random.fold_in(jax.random.fold_in(state.key, state.step), _PHASES[name])
        moving = _Moving(state.w_avg, state.pl_mean)
        whole = state.replace(generator=gather(state.generator), discriminator=gather(state.discriminator))
        micro = None if batch is None else split_rounds(batch, rounds, config["model"]["mbstd_group"])
        gradients, moving, metrics = accumulate(
            lambda p, m, b, k: phase(gather(p), whole, m, b, k), params, moving, micro, key, rounds
        )
        gradients, bad = finite_gradients(gradients)
        updates, opt_state = optimizer.update(gradients, opt_state, params)
        params = optax.apply_updates(params, updates)
        metrics = metrics | {f"{name}_nonfinite": bad}
        return params, opt_state, state.replace(w_avg=moving.w_avg, pl_mean=moving.pl_mean), metrics

    def generator_step(state: TrainState, regularise: bool) -> tuple[TrainState, Metrics]:
        params, opt_state, metrics = state.generator["params"], state.g_opt, {}
        for name, phase in (("Gmain", g_main), ("Greg", g_reg))[: 1 + regularise]:
            params, opt_state, state, new = update(phase, name, g_optimizer, opt_state, params, state)
            metrics |= new
            state = state.replace(generator=state.generator | {"params": params}, g_opt=opt_state)
        ema = config["ema"]
        decay = ema_decay(state.images_seen, config["batch_size"], ema["kimg"], ema["rampup"])
        averaged = jax.tree.map(lambda old, new: new + decay * (old - new), state.ema["params"], params)
        return state.replace(ema={"params": averaged, "buffers": state.generator["buffers"]}), metrics

    def discriminator_step(state: TrainState, batch: Batch, regularise: bool) -> tuple[TrainState, Metrics]:
        batch = batch | {"images": batch["images"].astype(jnp.float32) / 127.5 - 1.0}
        params, opt_state, metrics = state.discriminator["params"], state.d_opt, {}
        for name, phase in (("Dmain", d_main), ("Dreg", d_reg))[: 1 + regularise]:
            params, opt_state, state, new = update(phase, name, d_optimizer, opt_state, params, state, batch)
            metrics |= new
            state = state.replace(discriminator=state.discriminator | {"params": params}, d_opt=opt_state)
        return state.replace(step=state.step + 1, images_seen=state.images_seen + config["batch_size"]), metrics

    return Steps(generator_step, discriminator_step)


def train_step(steps: Steps, state: TrainState, batch: Batch, *, greg: bool, dreg: bool) -> tuple[TrainState, Metrics]:
    """One whole iteration: `batch` holds images [B, H, W, C] uint8 and labels [B] int32."""
    state, g_metrics = steps.generator(state, greg)
    state, d_metrics = steps.discriminator(state, batch, dreg)
    return state, g_metrics | d_metrics


def plain_steps(steps: Steps, state: TrainState, batches: Batch) -> tuple[TrainState, Metrics]:
    """K iterations without lazy terms in one program; the batch's leaves lead with K, and so do the metrics."""
    return jax.lax.scan(functools.partial(_plain, steps), state, batches)


def _plain(steps, state, batch):
    return train_step(steps, state, batch, greg=False, dreg=False)


def _labels(generator, batch: Batch) -> jax.Array | None:
    return batch["labels"] if generator.num_classes else None


def mix_styles(key: jax.Array, ws: jax.Array, other: jax.Array, prob: float) -> jax.Array:
    """Rows from a random cut onwards come from `other`, with probability `prob`; one cut for the whole batch."""
    cut_key, prob_key = jax.random.split(key)
    num_ws = ws.shape[1]
    cut = jax.random.randint(cut_key, (), 1, num_ws)
    cut = jnp.where(jax.random.uniform(prob_key) < prob, cut, num_ws)
    return jnp.where(jnp.arange(num_ws)[None, :, None] < cut, ws, other)


def finite_gradients(gradients: Any) -> tuple[Any, jax.Array]:
    """nan -> 0 and +-inf -> +-1e5, as the official loop does before each update; and how many values that were."""
    bad = sum(jnp.sum(~jnp.isfinite(g)) for g in jax.tree.leaves(gradients))
    return jax.tree.map(lambda g: jnp.nan_to_num(g, nan=0.0, posinf=1e5, neginf=-1e5), gradients), bad


def split_rounds(batch: Batch, rounds: int, group: int) -> Batch:
    """[B, ...] -> [rounds, B / rounds, ...], minibatch-deviation groups kept whole and every row on its device."""

    def split(x):
        g = min(group, x.shape[0] // rounds)
        x = x.reshape(x.shape[0] // (rounds * g), rounds, g, *x.shape[1:]).swapaxes(0, 1)
        return x.reshape(rounds, -1, *x.shape[3:])

    return jax.tree.map(split, batch)


def accumulate(
    loss: Callable[..., tuple[jax.Array, tuple[Any, Metrics]]],
    params: Any,
    moving: Any,
    batches: Any,
    key: jax.Array,
    rounds: int,
) -> tuple[Any, Any, Metrics]:
    """Mean gradient of `loss(params, moving, batch, key) -> (value, (moving, metrics))` over the rounds.

    The official code sums rounds; the mean equals one large batch, and Adam does not see the difference.
    """
    gradient = jax.grad(loss, has_aux=True)

    def one(carry, xs):
        total, moving = carry
        batch, index = xs
        gradients, (moving, metrics) = gradient(params, moving, batch, jax.random.fold_in(key, index))
        return (jax.tree.map(jnp.add, total, gradients), moving), metrics

    zeros = jax.tree.map(jnp.zeros_like, params)
    if rounds == 1:
        batch = jax.tree.map(lambda x: x[0], batches)
        gradients, (moving, metrics) = gradient(params, moving, batch, jax.random.fold_in(key, 0))
        return gradients, moving, metrics
    (total, moving), metrics = jax.lax.scan(one, (zeros, moving), (batches, jnp.arange(rounds)))
    return (
        jax.tree.map(lambda g: g / rounds, total),
        moving,
        jax.tree.map(lambda m: jnp.mean(m, axis=0), metrics),
    )
