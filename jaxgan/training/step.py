"""The training step: pure functions of (state, batches), one compiled program per static variant.

An iteration is a generator step (Gmain, every `pl_interval` iterations Greg, then the EMA) and `critic_steps`
discriminator steps (Dmain, every `r1_interval` iterations Dreg), in the order of the official StyleGAN2 code; main and
lazy terms are separate optimiser updates that share one Adam state; with r1_interval 1, R1 is a part of Dmain. Each
phase draws its own latents.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jaxgan.networks import attention
from jaxgan.networks.gan import BLOCK, DOut, Gan, batch_extras, by_row, call, draw_z, extras
from jaxgan.ops.box import box_downsample, nearest_upsample
from jaxgan.ops.interpolate import lerp
from jaxgan.training import alignment, regularisers
from jaxgan.training.augment import ada, adjust
from jaxgan.training.diff_augment import diff_augment
from jaxgan.training.gradients import Metrics, accumulate, finite_gradients, split_rounds
from jaxgan.training.growth import Fade
from jaxgan.training.objectives import OBJECTIVES, class_loss
from jaxgan.training.state import TrainState, ema_decay, learning_rate_factor, optimizers

Batch = dict[str, jax.Array]

# What of a network's forward pass is kept for its gradients: a wrapper of its call.
REMAT: dict[str, Callable[[Callable], Callable]] = {
    "none": lambda run: run,  # everything that XLA does not see fit to compute anew
    "blocks": functools.partial(jax.checkpoint, policy=jax.checkpoint_policies.save_only_these_names(BLOCK)),
}

_PHASES = {"Gmain": 0, "Greg": 1, "Dmain": 2, "Dreg": 3}


class Steps(NamedTuple):
    """The two halves of an iteration; `regularise` is static, the batches' leaves lead with `critic_steps`."""

    generator: Callable[[TrainState, Batch, bool], tuple[TrainState, Metrics]]
    discriminator: Callable[[TrainState, Batch, bool], tuple[TrainState, Metrics]]


class _Moving(NamedTuple):
    """What the phases carry besides gradients; `signs` is (sum of the signs, count) of D(real) since p was adjusted."""

    w_avg: jax.Array
    pl_mean: jax.Array
    signs: jax.Array
    g_buffers: Any
    d_buffers: Any


def make_steps(
    gan: Gan,
    config: Mapping[str, Any],
    label_weights: tuple[float, ...] | None = None,
    fade: Fade | None = None,
    constrain: Callable[[jax.Array], jax.Array] = lambda x: x,
    gather: Callable[[Any], Any] = lambda tree: tree,
) -> Steps:
    """The pure steps of a config.

    Args:
        gan: the networks.
        config: a whole experiment's config, resolved (no value left to a rule).
        label_weights: share of each class in the training set, for the labels of generated images.
        fade: when a growing network's new layers come in; None while it is stable.
        constrain: puts the sharding of a batch on an array that leads with one.
        gather: makes variables whole that are split over devices. Without it the compiler lets their split spread to
            the activations, and exchanges those several times over.
    """
    generator, discriminator = gan
    loss, rounds = config["loss"], config["accumulate"]
    micro_batch = config["batch_size"] // rounds
    objective = OBJECTIVES[loss["objective"]]
    augment = _augmentation(config["augment"])
    g_optimizer, d_optimizer = optimizers(config)
    aligned = loss.get("align_weight", 0.0) > 0
    r1_in_main = loss["r1_gamma"] > 0 and loss["r1_interval"] == 1
    keep = REMAT[config["remat"]]

    draw = functools.partial(draw_latents, generator, label_weights, constrain)

    def map_latents(params, moving, key, n):
        """ws of n fresh latents, styles mixed, their labels, and the moved w_avg."""
        z_key, mix_key, other_key = jax.random.split(key, 3)
        z, labels = draw(z_key, n)
        variables = {"params": params, "buffers": moving.g_buffers}
        ws = constrain(call(generator, variables, z, labels, method="map"))
        mean = jax.lax.stop_gradient(jnp.mean(ws[:, 0], axis=range(ws.ndim - 2)))  # also over a map's positions
        moving = moving._replace(w_avg=mean + config["w_avg_beta"] * (moving.w_avg - mean))
        if loss["style_mixing_prob"] > 0:
            # No optimisation passes the second code to w_avg; its labels are the first one's.
            other, _ = draw(other_key, n)
            other = call(generator, variables, other, labels, method="map")
            ws = mix_styles(mix_key, ws, other, loss["style_mixing_prob"])
        return ws, labels, moving

    @keep
    def synthesize(params, buffers, ws, key, beside):
        """Images of ws with noise by a key and what the generator takes beside."""
        variables, more = {"params": params, "buffers": buffers}, extras(generator, beside)
        return call(generator, variables, ws, key, method="synthesize", train=True, **more)

    def fake_images(params, moving, key, n):
        """(images, labels, moved, buffers, what was drawn beside the latents).

        The generator's buffers move where its own parameters are trained only.
        """
        map_key, noise_key = jax.random.split(key)
        ws, labels, moving = map_latents(params, moving, map_key, n)
        beside = batch_extras(generator, noise_key, n)
        images, buffers = synthesize(params, moving.g_buffers, ws, noise_key, beside)
        return images, labels, moving, buffers, beside

    @keep
    def judge(params, buffers, images, labels, key, p, taps=None) -> tuple[DOut, Any]:
        """(what the discriminator says of augmented images, its buffers after that)."""
        images, more = augment(images, key, p), {} if taps is None else {"taps": taps}
        return call(discriminator, {"params": params, "buffers": buffers}, images, labels, train=True, **more)

    def aligning(judged, images, labels, d, beside) -> tuple[DOut, Metrics]:
        """(what `judged(taps)` says of generated images, losses of where it looks)."""
        shapes = attention.feature_shapes(discriminator, d, images, labels)
        looked_at = {name: shapes[name] for name in alignment.FEATURES}
        out, weights = attention.weighed(judged, looked_at, ("fake",))
        return out, alignment.losses(out.features, weights["fake"], generator.heat(beside))

    def class_term(out, labels):
        return 0.0 if out.class_logits is None else jnp.mean(class_loss(out.class_logits, labels))

    def g_main(params, state, moving, batch, key):
        latent_key, fake_key, real_key = jax.random.split(key, 3)
        count = micro_batch * loss["g_batch_multiple"]
        images, labels, moving, buffers, beside = fake_images(params, moving, latent_key, count)
        moving = moving._replace(g_buffers=buffers)
        d, p = state.discriminator, state.augment_p

        def judged(taps=None):
            return judge(d["params"], d["buffers"], images, labels, fake_key, p, taps)[0]

        def judged_as_they_are(taps):
            return call(discriminator, d, images, labels, taps=taps)

        if not aligned:
            fake, losses = judged(), {}
        elif config["augment"]["kind"] == "none":
            fake, losses = aligning(judged, images, labels, d, beside)
        else:  # heatmaps are not warped with the images, so the plain images are looked at
            fake, (_, losses) = judged(), aligning(judged_as_they_are, images, labels, d, beside)
        real_logits = None
        if objective.paired:
            real, _ = judge(d["params"], d["buffers"], batch["images"], _labels(generator, batch), real_key, p)
            real_logits = real.logits
        value = jnp.mean(objective.generator(real_logits, fake.logits))
        total = value + loss["class_weight_g"] * class_term(fake, labels)
        metrics = {"G_loss": value}
        if loss["orthogonal"]:
            total += loss["orthogonal"] * regularisers.orthogonal_penalty(params)
        total += sum(loss["align_weight"] * value for value in losses.values())
        metrics |= {f"G_align_{name}": value for name, value in losses.items()}
        return total, (moving, metrics)

    def g_reg(params, state, moving, _, key):
        map_key, noise_key, image_key = jax.random.split(key, 3)
        n = max(micro_batch // loss["pl_batch_shrink"], 1)
        ws, _, moving = map_latents(params, moving, map_key, n)
        height, width, channels = generator.image_shape
        noise = constrain(jax.random.normal(image_key, (n, height, width, channels))) / (height * width) ** 0.5
        beside = batch_extras(generator, noise_key, n)
        lengths = regularisers.path_lengths(
            lambda ws: synthesize(params, moving.g_buffers, ws, noise_key, beside)[0], ws, noise
        )
        penalty, mean = regularisers.path_length_penalty(lengths, moving.pl_mean, loss["pl_decay"])
        value = jnp.mean(penalty) * loss["pl_weight"]
        return value * loss["pl_interval"], (moving._replace(pl_mean=mean), {"G_path_penalty": value})

    def d_main(params, state, moving, batch, key):
        latent_key, fake_key, real_key, mix_key, between_key = jax.random.split(key, 5)
        generated, p = state.generator["params"], state.augment_p
        images, fake_labels, moving, _, _ = fake_images(generated, moving, latent_key, micro_batch)
        images, real_labels = jax.lax.stop_gradient(images), _labels(generator, batch)

        def penalised(x, labels, key, buffers, wanted):
            """(what is said of the images, buffers, squared gradient by the images where it is wanted)."""

            def logits(x):
                out, after = judge(params, buffers, x, labels, key, p)
                return out.logits, (out, after)

            if wanted:
                squares, (_, (out, after)) = regularisers.squared_gradient(logits, x)
                return out, after, jnp.mean(squares)
            return *logits(x)[1], 0.0

        fake, buffers, r2 = penalised(images, fake_labels, fake_key, moving.d_buffers, loss["r2_gamma"] > 0)
        real, buffers, r1 = penalised(batch["images"], real_labels, real_key, buffers, r1_in_main)
        moving = moving._replace(d_buffers=buffers, signs=moving.signs + _signs(real.logits))
        value = jnp.mean(objective.discriminator(real.logits, fake.logits))
        total = value + loss["class_weight_d"] * class_term(real, real_labels)
        total += loss["class_weight_d_fakes"] * class_term(fake, fake_labels)
        metrics = {"D_loss": value, "D_real": jnp.mean(real.logits), "D_fake": jnp.mean(fake.logits)}
        metrics["D_gap"] = metrics["D_real"] - metrics["D_fake"]
        metrics["D_real_sign"] = jnp.mean(jnp.sign(real.logits))
        if r1_in_main:
            total += loss["r1_gamma"] / 2 * r1
            metrics["D_r1_penalty"] = r1
        if loss["r2_gamma"] > 0:
            total += loss["r2_gamma"] / 2 * r2
            metrics["D_r2_penalty"] = r2
        if loss["gp_weight"] > 0:

            def between(x):
                out, _ = judge(params, moving.d_buffers, x, real_labels, between_key, p)
                return out.logits, None

            penalty = jnp.mean(
                regularisers.gradient_penalty(between, batch["images"], images, mix_key, loss["gp_target"])
            )
            total += loss["gp_weight"] * penalty
            metrics["D_gradient_penalty"] = penalty
        if loss["drift"] > 0:
            total += loss["drift"] * jnp.mean(jnp.square(real.logits))
        return total, (moving, metrics)

    def d_reg(params, state, moving, batch, key):
        def logits(images):
            out, _ = judge(params, moving.d_buffers, images, _labels(generator, batch), key, state.augment_p)
            return out.logits, None

        penalty, (real, _) = regularisers.squared_gradient(logits, batch["images"])
        value = jnp.mean(penalty) * (loss["r1_gamma"] / 2)
        moving = moving._replace(signs=moving.signs + _signs(real))
        return value * loss["r1_interval"], (moving, {"D_r1_penalty": jnp.mean(penalty)})

    def update(phase, name, optimizer, opt_state, params, state, batch, index=0):
        """One phase: its gradient over the accumulation rounds and one optimiser update."""
        key = jax.random.fold_in(jax.random.fold_in(state.key, state.step), _PHASES[name])
        key = jax.random.fold_in(key, index)
        whole = state.replace(generator=gather(state.generator), discriminator=gather(state.discriminator))
        moving = _Moving(
            state.w_avg,
            state.pl_mean,
            state.augment_signs,
            whole.generator["buffers"],
            whole.discriminator["buffers"],
        )
        micro = split_rounds(batch, rounds, config["model"]["mbstd_group"])
        gradients, moving, metrics = accumulate(
            lambda p, m, b, k: phase(gather(p), whole, m, b, k), params, moving, micro, key, rounds
        )
        gradients, bad = finite_gradients(gradients)
        updates, opt_state = optimizer.update(gradients, opt_state, params)
        factor = learning_rate_factor(state.images_seen, config["optimizer"])
        params = optax.apply_updates(params, jax.tree.map(lambda u: factor * u, updates))
        state = state.replace(
            w_avg=moving.w_avg,
            pl_mean=moving.pl_mean,
            augment_signs=moving.signs,
            generator=state.generator | {"buffers": moving.g_buffers},
            discriminator=state.discriminator | {"buffers": moving.d_buffers},
        )
        return params, opt_state, state, metrics | {f"{name}_nonfinite": bad}

    def generator_update(phase, name, state, batch):
        params, opt_state, state, metrics = update(
            phase, name, g_optimizer, state.g_opt, state.generator["params"], state, batch
        )
        return state.replace(generator=state.generator | {"params": params}, g_opt=opt_state), metrics

    def discriminator_update(phase, name, state, batch, index):
        params, opt_state, state, metrics = update(
            phase, name, d_optimizer, state.d_opt, state.discriminator["params"], state, batch, index
        )
        return state.replace(discriminator=state.discriminator | {"params": params}, d_opt=opt_state), metrics

    def generator_step(state: TrainState, batches: Batch, regularise: bool) -> tuple[TrainState, Metrics]:
        batch = jax.tree.map(lambda x: x[0], _as_floats(batches, state, config, fade))
        state = _faded(state, fade)
        state, metrics = generator_update(g_main, "Gmain", state, batch)
        if regularise:
            state, new = generator_update(g_reg, "Greg", state, batch)
            metrics |= new
        decay = ema_decay(state.images_seen, config["batch_size"] * loss["critic_steps"], config["ema"])
        averaged = jax.tree.map(
            lambda old, new: new + decay * (old - new), state.ema["params"], state.generator["params"]
        )
        return state.replace(ema={"params": averaged, "buffers": state.generator["buffers"]}), metrics

    def discriminator_step(state: TrainState, batches: Batch, regularise: bool) -> tuple[TrainState, Metrics]:
        batches = _as_floats(batches, state, config, fade)
        state = _faded(state, fade)
        main = functools.partial(discriminator_update, d_main, "Dmain")
        if loss["critic_steps"] == 1:
            state, metrics = main(state, jax.tree.map(lambda x: x[0], batches), 0)
        else:
            numbered = (batches, jnp.arange(loss["critic_steps"]))
            state, metrics = jax.lax.scan(lambda state, xs: main(state, *xs), state, numbered)
            metrics = {k: jnp.sum(v) if k.endswith("nonfinite") else jnp.mean(v) for k, v in metrics.items()}
        if regularise:
            state, new = discriminator_update(d_reg, "Dreg", state, jax.tree.map(lambda x: x[-1], batches), 0)
            metrics |= new
        images = config["batch_size"] * loss["critic_steps"]
        state = state.replace(step=state.step + 1, images_seen=state.images_seen + images)
        if config["augment"]["kind"] == "ada":
            metrics |= {"augment_p": state.augment_p}
            state = _adjusted(state, images, config["augment"])
        return state, metrics

    return Steps(generator_step, discriminator_step)


def train_step(
    steps: Steps, state: TrainState, batches: Batch, *, greg: bool, dreg: bool
) -> tuple[TrainState, Metrics]:
    """One whole iteration: `batches` holds images [critic_steps, B, H, W, C] uint8 and labels [.., B] int32."""
    state, g_metrics = steps.generator(state, batches, greg)
    state, d_metrics = steps.discriminator(state, batches, dreg)
    return state, g_metrics | d_metrics


def plain_steps(steps: Steps, state: TrainState, batches: Batch) -> tuple[TrainState, Metrics]:
    """K iterations without lazy terms in one program; the batches' leaves lead with K, and so do the metrics."""
    return jax.lax.scan(functools.partial(_plain, steps), state, batches)


def _plain(steps, state, batches):
    return train_step(steps, state, batches, greg=False, dreg=False)


def draw_latents(
    generator: nn.Module,
    label_weights: tuple[float, ...] | None,
    constrain: Callable[[jax.Array], jax.Array],
    key: jax.Array,
    n: int,
) -> tuple[jax.Array, jax.Array | None]:
    """(z [n, *z_shape], labels [n] by the classes' shares, or None without classes)."""
    z_key, label_key = jax.random.split(key)
    z = constrain(draw_z(generator, z_key, n))
    if not generator.num_classes:
        return z, None
    logits = jnp.log(jnp.asarray(label_weights, jnp.float32))
    return z, constrain(jax.random.categorical(label_key, logits, shape=(n,)))


def _labels(generator, batch: Batch) -> jax.Array | None:
    return batch["labels"] if generator.num_classes else None


def _signs(logits: jax.Array) -> jax.Array:
    return jnp.stack((jnp.sum(jnp.sign(jax.lax.stop_gradient(logits))), jnp.float32(logits.size)))


def _as_floats(batches: Batch, state: TrainState, config: Mapping[str, Any], fade: Fade | None) -> Batch:
    """uint8 images [critic_steps, B, H, W, C] as the discriminator sees real ones, in [-1, 1]."""
    images = batches["images"].astype(jnp.float32)
    if config["data"]["dequantise"]:  # stays below 1, which a tanh never reaches
        key = jax.random.fold_in(jax.random.fold_in(state.key, state.step), len(_PHASES))
        images = (images + jax.random.uniform(key, images.shape)) / 128.0 - 1.0
    else:
        images = images / 127.5 - 1.0
    if fade is not None:
        flat = images.reshape(-1, *images.shape[2:])
        coarse = nearest_upsample(box_downsample(flat)).reshape(images.shape)
        images = lerp(coarse, images, fade.alpha(state.images_seen))
    return batches | {"images": images}


def _faded(state: TrainState, fade: Fade | None) -> TrainState:
    """The state with the networks' alpha where the images seen say that it is."""
    if fade is None:
        return state
    alpha = {"alpha": fade.alpha(state.images_seen)}
    networks = {name: getattr(state, name) for name in ("generator", "discriminator", "ema")}
    return state.replace(**{k: v | {"buffers": v["buffers"] | alpha} for k, v in networks.items()})


def _augmentation(config: Mapping[str, Any]) -> Callable[[jax.Array, jax.Array, jax.Array], jax.Array]:
    """(images, key, p) -> images as the discriminator sees them."""
    if config["kind"] == "ada":
        return functools.partial(ada, pipeline=config["pipeline"])
    if config["kind"] == "diff":
        return lambda images, key, p: diff_augment(images, key, tuple(config["policy"]))
    return lambda images, key, p: images


def _adjusted(state: TrainState, images: int, config: Mapping[str, Any]) -> TrainState:
    """The state after an iteration of so many images: every few iterations p is adjusted and the signs start anew."""
    if not config["target"]:
        return state
    due = state.step % config["interval"] == 0
    p = adjust(
        state.augment_p,
        *state.augment_signs,
        images * config["interval"],
        target=config["target"],
        kimg=config["kimg"],
    )
    return state.replace(
        augment_p=jnp.where(due, p, state.augment_p), augment_signs=jnp.where(due, 0.0, state.augment_signs)
    )


def mix_styles(key: jax.Array, ws: jax.Array, other: jax.Array, prob: float) -> jax.Array:
    """Rows from a random cut onwards come from `other`, with probability `prob`; one cut for the whole batch."""
    cut_key, prob_key = jax.random.split(key)
    num_ws = ws.shape[1]
    cut = jax.random.randint(cut_key, (), 1, num_ws)
    cut = jnp.where(jax.random.uniform(prob_key) < prob, cut, num_ws)
    return jnp.where(by_row(jnp.arange(num_ws) < cut, ws), ws, other)
