"""The training step: its parts, its order, its random numbers. Most of it with networks of one number, run eagerly."""

import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgan import config as configs
from jaxgan.networks.build import build
from jaxgan.networks.gan import DOut, Gan
from jaxgan.training import growth, regularisers, step
from jaxgan.training.programs import Programs, schedule
from jaxgan.training.state import (
    TrainState,
    create_state,
    ema_decay,
    learning_rate_factor,
    optimizer,
    optimizers,
    scale_by_per_leaf_adam,
)
from tests import tiny

# The phases' parts


def test_mix_styles_cuts_once_for_the_batch():
    ws, other = np.zeros((2, 4, 3), np.float32), np.ones((2, 4, 3), np.float32)
    keys = jax.random.split(jax.random.key(0), 64)
    mixed = np.asarray(jax.vmap(lambda key: step.mix_styles(key, ws, other, 1.0))(keys))
    rows = mixed[:, 0, :, 0]
    np.testing.assert_array_equal(mixed, np.broadcast_to(rows[:, None, :, None], mixed.shape))
    np.testing.assert_array_equal(np.sort(rows, axis=1), rows)  # ws first, then other
    assert set(rows.sum(axis=1)) == {1, 2, 3}  # a cut at 1..num_ws - 1


def test_mix_styles_with_its_cut_at_the_end_leaves_ws_untouched():
    ws, other = np.zeros((2, 4, 3), np.float32), np.ones((2, 4, 3), np.float32)
    keys = jax.random.split(jax.random.key(0), 200)
    mix = jax.vmap(lambda key, prob: step.mix_styles(key, ws, other, prob), in_axes=(0, None))
    np.testing.assert_array_equal(mix(keys, 0.0), np.zeros((200, 2, 4, 3)))
    share = np.mean(np.asarray(mix(keys, 0.9))[:, 0, -1, 0])
    assert 0.83 < share < 0.96


@pytest.mark.parametrize(
    ("images_seen", "kimg", "rampup", "half_life"),
    [
        (10**6, 10, 0.0, 10_000),
        (0, 10, 0.0, 10_000),
        (10**6, 10, 0.05, 10_000),
        (64_000, 10, 0.05, 3_200),
        (0, 10, 0.05, 0),
    ],
)
def test_ema_decay(images_seen, kimg, rampup, half_life):
    decay = ema_decay(jnp.int32(images_seen), 32, {"decay": 0.0, "kimg": kimg, "rampup": rampup})
    np.testing.assert_allclose(decay, 0.5 ** (32 / half_life) if half_life else 0.0, rtol=1e-6)


def test_lazy_regularisation_rescales_adam():
    """c = k / (k + 1): lr * c and beta2^c, seen in the first two updates."""
    config = {"beta1": 0.0, "beta2": 0.99, "eps": 1e-8, "l2": 0.0}
    for interval, lr, beta2 in ((4, 0.002, 0.991992), (16, 0.00235294, 0.990585)):
        adam = optimizer(config, 0.0025, interval)
        first, state = adam.update(jnp.float32(1.0), adam.init(jnp.float32(0.0)))
        np.testing.assert_allclose(first, -lr, rtol=1e-5)
        second, _ = adam.update(jnp.float32(2.0), state)
        # beta1 stays 0; the corrected second moment of gradients 1 and 2 is (beta2 + 4) / (1 + beta2).
        np.testing.assert_allclose(second, -2 * lr / ((beta2 + 4) / (1 + beta2)) ** 0.5, rtol=1e-5)


def test_optimizers_belong_to_their_intervals():
    config = tiny.config("optimizer.g_lr=0.0025", "optimizer.d_lr=0.005").to_dict()
    for adam, lr in zip(optimizers(config), (0.002, 2 * 0.00235294)):
        update, _ = adam.update(jnp.float32(3.0), adam.init(jnp.float32(0.0)))
        np.testing.assert_allclose(update, -lr, rtol=1e-5)


def test_ema_by_a_decay_of_its_own():
    config = {"decay": 0.999, "start_kimg": 1.0, "kimg": 1.0, "rampup": 0.05}
    assert float(ema_decay(jnp.int32(1000), 32, config)) == np.float32(0.999)
    assert float(ema_decay(jnp.int32(999), 32, config)) == 0  # until then it is a copy


def test_learning_rates_fall_linearly():
    falling = {"decay_kimg": 2.0, "rampup_kimg": 0.0}
    rates = [float(learning_rate_factor(jnp.int32(n), falling)) for n in (0, 500, 2000, 3000)]
    np.testing.assert_allclose(rates, [1, 0.75, 0, 0])
    assert learning_rate_factor(jnp.int32(500), {"decay_kimg": 0.0, "rampup_kimg": 0.0}) == 1


def test_learning_rates_rise_at_the_start():
    rising = {"decay_kimg": 0.0, "rampup_kimg": 40.0}
    rates = [float(learning_rate_factor(jnp.int32(n), rising)) for n in (0, 20_000, 40_000, 10**6)]
    np.testing.assert_allclose(rates, [np.exp(-5), np.exp(-1.25), 1, 1], rtol=1e-5)


def test_weight_decay_is_added_to_the_gradient():
    config = {"beta1": 0.0, "beta2": 0.99, "eps": 1e-8, "l2": 0.5}
    adam = optimizer(config, 0.1, 1)
    # A gradient of 1 at a parameter of -2 is cancelled.
    update, _ = adam.update(jnp.float32(1.0), adam.init(jnp.float32(-2.0)), jnp.float32(-2.0))
    np.testing.assert_allclose(update, 0.0, atol=1e-6)


def test_per_leaf_adam_equals_adam_and_counts_for_each_leaf():
    rng = np.random.default_rng(0)
    params = {"a": jnp.zeros(3), "b": jnp.zeros(2)}
    ours, theirs = scale_by_per_leaf_adam(0.5, 0.9, 1e-8), optax.scale_by_adam(0.5, 0.9, 1e-8)
    mine, other = ours.init(params), theirs.init(params)
    for _ in range(3):
        gradient = jax.tree.map(lambda x: jnp.asarray(rng.standard_normal(x.shape), jnp.float32), params)
        left, mine = ours.update(gradient, mine)
        right, other = theirs.update(gradient, other)
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5), left, right)
    late = {tree: getattr(mine, tree) | {"b": ours.init(params)._asdict()[tree]["b"]} for tree in mine._fields}
    update, _ = ours.update({"a": jnp.ones(3), "b": jnp.full(2, 3.0)}, mine._replace(**late))
    np.testing.assert_allclose(update["b"], 1.0, rtol=1e-5)  # a first step of Adam, whatever the gradient


# The order of dispatches


def dispatches(config, start, stop):
    """[(first iteration, Greg?, Dreg?, iterations)] from `start` up to at least `stop`."""
    out = []
    while start < stop:
        greg, dreg, count = schedule(start, config)
        out.append((start, greg, dreg, count))
        start += count
    return out


def lazy(steps_per_dispatch, pl_weight=2.0, gamma=1.0):
    loss = {"pl_interval": 4, "pl_weight": pl_weight, "r1_interval": 16, "r1_gamma": gamma}
    return {"steps_per_dispatch": steps_per_dispatch, "loss": loss}


def test_schedule_of_single_steps():
    for first, greg, dreg, count in dispatches(lazy(1), 0, 64):
        assert (greg, dreg, count) == (first % 4 == 0, first % 16 == 0, 1)


@pytest.mark.parametrize(
    ("config", "lengths"),
    [
        (lazy(8), [1, 3] * 4),
        (lazy(2), [1, 2, 1] * 4),
        (lazy(8, pl_weight=0.0), [1, 8, 7]),
        (lazy(8, pl_weight=0.0, gamma=0.0), [8, 8]),
        (lazy(5, gamma=0.0), [1, 3] * 4),
    ],
)
def test_schedule_joins_what_lies_between_lazy_terms(config, lengths):
    plan = dispatches(config, 0, 64)
    assert [count for *_, count in plan] == lengths * 4
    for first, greg, dreg, count in plan:
        assert greg == (config["loss"]["pl_weight"] > 0 and first % 4 == 0)
        assert dreg == (config["loss"]["r1_gamma"] > 0 and first % 16 == 0)
        assert count == 1 or not (greg or dreg)
    # Wherever a run is taken up, it makes the cuts that the rest of the plan makes.
    for start in range(64):
        rest = dispatches(config, start, 64)
        assert rest[1:] == [entry for entry in plan if entry[0] > start]
        assert sum(count for *_, count in rest) == 64 - start


@pytest.mark.parametrize("config", [lazy(1), lazy(8), lazy(5, pl_weight=0.0), lazy(8, 0.0, 0.0), lazy(1, 0.0, 0.0)])
def test_variants_are_those_that_the_schedule_calls_for(config):
    for start in (0, 2, 5):
        used = set()
        for _, greg, dreg, count in dispatches(config, start, 500):
            used |= {("plain", count)} if count > 1 else {("G", greg), ("D", dreg)}
        assert Programs.variants(types.SimpleNamespace(_config=config), start) == used


# Whole steps


class Scripted:
    """Stands in for a network: one number, `value`, and a record of what it is called with."""

    z_dim, w_dim, num_ws, image_shape = 2, 2, 4, (1, 2, 3)

    def __init__(self, num_classes=0):
        self.num_classes = num_classes
        self.calls = []

    def apply(self, variables, x, labels=None, method=None, train=False, mutable=()):
        out = self.output(variables["params"]["value"], x, labels, method)
        return (out, {}) if mutable else out

    def output(self, value, x, labels, method):
        self.calls.append((method, x, labels))
        if method == "map":
            return jnp.broadcast_to(value * x[:, None], (len(x), self.num_ws, self.w_dim))
        if method == "synthesize":
            return value * jnp.broadcast_to(jnp.mean(x, axis=(1, 2))[:, None, None, None], (len(x), *self.image_shape))
        return DOut(value * jnp.sum(x, axis=(1, 2, 3)), {})

    def latents(self):
        return [np.asarray(x) for method, x, _ in self.calls if method == "map"]


def scripted(*overrides, num_classes=0, label_weights=None):
    config = tiny.config("loss.pl_weight=2.0", *overrides).to_dict()
    gan = Gan(Scripted(num_classes), Scripted(num_classes))
    g_opt, d_opt = step.optimizers(config)
    generator, discriminator = ({"params": {"value": jnp.float32(x)}, "buffers": {}} for x in (0.5, -0.3))
    state = TrainState(
        step=jnp.int32(0),
        images_seen=jnp.int32(0),
        key=jax.random.key(1),
        generator=generator,
        discriminator=discriminator,
        ema=generator,
        g_opt=g_opt.init(generator["params"]),
        d_opt=d_opt.init(discriminator["params"]),
        w_avg=jnp.zeros(2),
        pl_mean=jnp.float32(0),
        augment_p=jnp.float32(0),
        augment_signs=jnp.zeros(2),
    )
    return gan, step.make_steps(gan, config, label_weights), state


@pytest.fixture
def plain_descent(monkeypatch):
    """Gradient descent with rate 1 in place of Adam, so that what a step subtracts is its gradient."""
    monkeypatch.setattr(step, "optimizers", lambda config: (optax.sgd(1.0), optax.sgd(1.0)))


def batch_of(*values, labels=None):
    images = np.broadcast_to(np.array(values, np.uint8)[:, None, None, None], (len(values), 1, 2, 3))
    return {"images": jnp.asarray(images)[None], "labels": jnp.asarray(labels or [0] * len(values))[None]}


def test_every_phase_draws_its_own_latents():
    gan, steps, state = scripted("loss.style_mixing_prob=0.9")
    for _ in range(2):
        state, _ = step.train_step(steps, state, batch_of(0, 1, 2, 3), greg=True, dreg=True)
    # Gmain, Greg (half the batch) and Dmain map twice, for the mixed styles; Dreg draws none.
    drawn = gan.generator.latents()
    assert [len(z) for z in drawn] == [4, 4, 2, 2, 4, 4] * 2
    rows = np.concatenate(drawn)
    assert len(np.unique(rows, axis=0)) == len(rows)


def test_w_avg_after_one_step():
    """.005 of the batch's mean w from a start of zero; the mixed styles' second code does not count."""
    gan, steps, state = scripted("loss.style_mixing_prob=0.9")
    state, _ = steps.generator(state, batch_of(0, 1, 2, 3), False)
    expected = 0.005 * 0.5 * gan.generator.latents()[0].mean(axis=0)
    np.testing.assert_allclose(state.w_avg, expected, rtol=1e-5)
    # The discriminator's phase moves it too, with the generator as it is by then.
    value = float(state.generator["params"]["value"])
    state, _ = steps.discriminator(state, batch_of(0, 1, 2, 3), False)
    expected = 0.995 * expected + 0.005 * value * gan.generator.latents()[2].mean(axis=0)
    np.testing.assert_allclose(state.w_avg, expected, rtol=1e-5)


def test_no_second_code_without_style_mixing():
    gan, steps, state = scripted("loss.style_mixing_prob=0.0")
    steps.generator(state, batch_of(0, 1, 2, 3), True)
    assert [len(z) for z in gan.generator.latents()] == [4, 2]


def test_generated_labels_follow_the_training_set():
    gan, steps, state = scripted("loss.style_mixing_prob=0.9", num_classes=3, label_weights=(0.0, 0.7, 0.3))
    state, _ = step.train_step(steps, state, batch_of(0, 1, 2, 3, labels=[0, 0, 2, 0]), greg=True, dreg=True)
    drawn = [np.asarray(labels) for method, _, labels in gan.generator.calls if method == "map"]
    assert set(np.concatenate(drawn)) == {1, 2}
    # A mixed image keeps the first code's label, and the discriminator is told the same one.
    np.testing.assert_array_equal(drawn[0], drawn[1])
    judged = [np.asarray(labels) for _, _, labels in gan.discriminator.calls]
    np.testing.assert_array_equal(judged[0], drawn[0])
    np.testing.assert_array_equal(judged[1], drawn[4])
    np.testing.assert_array_equal(judged[2:], [[0, 0, 2, 0]] * 2)


def test_one_iteration_counts_and_averages():
    gan, steps, state = scripted("ema.kimg=10.0", "ema.rampup=0.05")
    state, metrics = step.train_step(steps, state, batch_of(0, 255, 0, 255), greg=True, dreg=True)
    assert (int(state.step), int(state.images_seen)) == (1, 4)
    assert [int(opt[0].count) for opt in (state.g_opt, state.d_opt)] == [2, 2]  # one Adam for main and lazy term
    assert float(state.ema["params"]["value"]) == float(state.generator["params"]["value"])  # the ramp starts at none
    assert {name for name in metrics if name.endswith("nonfinite")} == {
        f"{phase}_nonfinite" for phase in ("Gmain", "Greg", "Dmain", "Dreg")
    }
    assert {"G_loss", "G_path_penalty", "D_loss", "D_r1_penalty", "D_real", "D_fake"} < set(metrics)
    # Images are uint8 / 127.5 - 1.
    assert set(np.unique(gan.discriminator.calls[2][1])) == {-1.0, 1.0}

    old = state
    state, metrics = step.train_step(steps, state, batch_of(0, 255, 0, 255), greg=False, dreg=False)
    assert (int(state.step), int(state.images_seen)) == (2, 8)
    assert [int(opt[0].count) for opt in (state.g_opt, state.d_opt)] == [3, 3]
    assert not {"G_path_penalty", "D_r1_penalty", "Greg_nonfinite", "Dreg_nonfinite"} & set(metrics)
    decay = 0.5 ** (4 / (0.05 * 4))
    new, average = (tree["params"]["value"] for tree in (state.generator, old.ema))
    np.testing.assert_allclose(state.ema["params"]["value"], decay * average + (1 - decay) * new, rtol=1e-5)


@pytest.mark.parametrize("rounds", [1, 2])
def test_lazy_r1_is_multiplied_by_its_interval(plain_descent, rounds):
    """And, as a mean over the images, not by the rounds of accumulation."""
    _, steps, state = scripted("loss.r1_gamma=0.01", "loss.r1_interval=16", f"accumulate={rounds}")
    batch = batch_of(0, 1, 2, 3)
    main, _ = steps.discriminator(state, batch, False)
    both, metrics = steps.discriminator(state, batch, True)
    # D is `value` times the sum of an image's 6 numbers, so the penalty is 6 value^2.
    value = float(main.discriminator["params"]["value"])
    np.testing.assert_allclose(metrics["D_r1_penalty"], 6 * value**2, rtol=1e-5)
    subtracted = value - float(both.discriminator["params"]["value"])
    np.testing.assert_allclose(subtracted, 16 * 0.01 / 2 * 12 * value, rtol=1e-4)


def test_lazy_path_length_is_multiplied_by_its_interval(plain_descent, monkeypatch):
    def lengths(synthesize, ws, noise):
        """Twice and four times the generator's number."""
        value = synthesize(jnp.ones((2, 1, 2)))[0, 0, 0, 0]
        return value * jnp.array([2.0, 4.0])

    monkeypatch.setattr(regularisers, "path_lengths", lengths)
    _, steps, state = scripted("loss.style_mixing_prob=0.0")
    main, _ = steps.generator(state, batch_of(0, 1, 2, 3), False)
    both, metrics = steps.generator(state, batch_of(0, 1, 2, 3), True)
    value = float(main.generator["params"]["value"])
    mean = 0.01 * 3 * value
    np.testing.assert_allclose(both.pl_mean, mean, rtol=1e-5)
    deviation = value * np.array([2.0, 4.0]) - mean
    np.testing.assert_allclose(metrics["G_path_penalty"], 2 * np.mean(deviation**2), rtol=1e-5)
    gradient = 4 * 2 * np.mean(2 * deviation * (np.array([2.0, 4.0]) - 0.03))
    np.testing.assert_allclose(value - float(both.generator["params"]["value"]), gradient, rtol=1e-4)


def test_joined_steps_equal_single_steps():
    _, steps, state = scripted("loss.style_mixing_prob=0.9")
    images = np.random.default_rng(0).integers(0, 256, (3, 1, 4, 1, 2, 3), np.uint8)
    batches = {"images": images, "labels": np.zeros((3, 1, 4), np.int32)}
    joined, metrics = jax.jit(functools.partial(step.plain_steps, steps))(state, batches)
    single = jax.jit(functools.partial(step.train_step, steps, greg=False, dreg=False))
    for i in range(3):
        state, row = single(state, jax.tree.map(lambda x, i=i: x[i], batches))
        for name in row:
            np.testing.assert_allclose(metrics[name][i], row[name], rtol=1e-5, atol=1e-6, err_msg=name)
    assert (int(joined.step), int(joined.images_seen)) == (3, 12)
    assert joined.key == state.key
    for a, b in zip(*(jax.tree.leaves(s.replace(key=None)) for s in (joined, state))):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_p_follows_the_signs_of_the_real_logits(monkeypatch):
    """Up where all are positive, adjusted every second iteration only; never below 0."""
    monkeypatch.setattr(step, "ada", lambda images, key, p, pipeline: images)
    asked = ("augment.kind=ada", "augment.interval=2", "augment.kimg=0.1")
    _, steps, state = scripted(*asked)
    found = []
    for _ in range(4):  # D is -0.3 times the sum of six pixels of -1
        state, metrics = steps.discriminator(state, batch_of(0, 0, 0, 0), False)
        found.append(float(state.augment_p))
    np.testing.assert_allclose(found, [0, 0.08, 0.08, 0.16], rtol=1e-5)
    np.testing.assert_array_equal(state.augment_signs, 0)
    assert float(metrics["augment_p"]) == found[2]  # what this step was made with
    for _ in range(6):
        state, _ = steps.discriminator(state, batch_of(255, 255, 255, 255), False)
    assert float(state.augment_p) == 0
    _, steps, state = scripted(*asked, "augment.target=0", "augment.p=0.5")
    state = state.replace(augment_p=jnp.float32(0.5))
    for _ in range(2):
        state, _ = steps.discriminator(state, batch_of(0, 0, 0, 0), False)
    assert float(state.augment_p) == 0.5


def test_class_terms_on_real_and_on_generated_images_have_weights_of_their_own():
    """The critic of WGAN-GP learns classes from real images alone, as the authors' code does."""
    assert configs.load("wgan_gp").loss.class_weight_d_fakes == 0

    def change(d, fakes):
        """How far one step moves the class head of the discriminator."""
        small = {"z_dim": 4, "channel_base": 32, "channel_max": 4, "kernel": 4}
        weights = (f"loss.class_weight_d={d}", f"loss.class_weight_d_fakes={fakes}", "loss.critic_steps=1")
        config = configs.load("fashion_wgan_gp")
        configs.override(config, [*(f"model.{k}={v}" for k, v in small.items()), *weights, "data.use_labels=True"])
        config = configs.resolve(config, num_images=9, image_shape=(8, 8, 1), num_classes=3, devices=1).to_dict()
        gan = build(config["model"])
        state = create_state(gan, config, jax.random.key(0))
        steps = step.make_steps(gan, config, label_weights=(0.3, 0.3, 0.4))
        images = np.random.default_rng(0).integers(0, 256, (1, 16, 8, 8, 1), np.uint8)
        batch = {"images": images, "labels": np.arange(16, dtype=np.int32)[None] % 3}
        after, _ = jax.jit(steps.discriminator, static_argnums=2)(state, batch, False)
        weights = [s.discriminator["params"]["out"]["weight"][:, 1:] for s in (state, after)]
        return float(jnp.abs(weights[1] - weights[0]).max())

    assert change(0.0, 0.0) == 0
    assert change(1.0, 0.0) > 0
    assert change(0.0, 1.0) > 0


def test_critic_steps_take_a_batch_each():
    _, steps, state = scripted("loss.critic_steps=3", "loss.style_mixing_prob=0.0")
    batches = [batch_of(*values) for values in ((0, 0, 0, 0), (255, 255, 255, 255), (51, 51, 51, 51))]
    together = jax.tree.map(lambda *x: jnp.concatenate(x), *batches)
    after, metrics = steps.discriminator(state, together, False)
    assert (int(after.step), int(after.images_seen)) == (1, 12)
    assert int(after.d_opt[0].count) == 3
    # The same as three iterations of one step, but for the latents that those would draw anew.
    assert float(metrics["D_real"]) == pytest.approx(np.mean([1.8, -1.8, 1.8 * 0.6]) * 1, abs=0.1)


def test_the_generators_batch_can_be_a_multiple():
    gan, steps, state = scripted("loss.g_batch_multiple=2")
    steps.generator(state, batch_of(0, 0, 0, 0), False)
    assert [len(x) for method, x, _ in gan.generator.calls if method == "synthesize"] == [8]
    gan, steps, state = scripted("loss.g_batch_multiple=2")
    steps.discriminator(state, batch_of(0, 0, 0, 0), False)
    assert [len(x) for method, x, _ in gan.generator.calls if method == "synthesize"] == [4]


def test_a_joined_penalty_is_part_of_the_main_loss(plain_descent):
    """With r1_interval 1 one update has the gradients of both, R1's without the interval's factor."""
    value = -0.3
    _, steps, state = scripted("loss.r1_gamma=0.0", "loss.r1_interval=1")
    without, _ = steps.discriminator(state, batch_of(0, 1, 2, 3), False)
    _, steps, state = scripted("loss.r1_gamma=0.01", "loss.r1_interval=1")
    joined, metrics = steps.discriminator(state, batch_of(0, 1, 2, 3), False)
    np.testing.assert_allclose(metrics["D_r1_penalty"], 6 * value**2, rtol=1e-5)
    difference = float(without.discriminator["params"]["value"] - joined.discriminator["params"]["value"])
    np.testing.assert_allclose(difference, 0.01 / 2 * 12 * value, rtol=1e-3)


def test_a_paired_objective_sees_the_reals_in_the_generators_step():
    gan, steps, state = scripted("loss.objective=relativistic")
    steps.generator(state, batch_of(0, 255, 0, 255), False)
    assert len(gan.discriminator.calls) == 2
    assert set(np.unique(gan.discriminator.calls[1][1])) == {-1.0, 1.0}
    gan, steps, state = scripted()
    steps.generator(state, batch_of(0, 255, 0, 255), False)
    assert len(gan.discriminator.calls) == 1


def test_reals_fade_with_alpha():
    """At alpha 0 they are means over 2x2 squares, at 1 as they are; the networks' buffers hold alpha."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (1, 2, 4, 4, 3), np.uint8)
    config = tiny.config().to_dict()
    _, _, state = scripted()
    fade = growth.Fade(100, 50)
    floats = images[0] / 127.5 - 1
    means = np.repeat(np.repeat(floats.reshape(2, 2, 2, 2, 2, 3).mean(axis=(2, 4)), 2, axis=1), 2, axis=2)
    for seen, alpha in ((100, 0.0), (125, 0.5), (150, 1.0)):
        state = state.replace(images_seen=jnp.int32(seen))
        faded = step._as_floats({"images": jnp.asarray(images), "labels": None}, state, config, fade)["images"][0]
        np.testing.assert_allclose(faded, alpha * floats + (1 - alpha) * means, atol=1e-5)
        assert float(step._faded(state, fade).ema["buffers"]["alpha"]) == alpha


def test_blocks_that_are_computed_anew_give_the_same_step():
    """With path length and R1, whose gradients are of gradients."""

    def stepped(remat):
        config = tiny.config(f"remat={remat}", "loss.pl_weight=2.0", "loss.r1_gamma=1.0")
        config = config.to_dict()
        gan = build(config["model"])
        state = create_state(gan, config, jax.random.key(0))
        images = np.random.default_rng(0).integers(0, 256, (1, 4, 8, 8, 1), np.uint8)
        batch = {"images": images, "labels": np.zeros((1, 4), np.int32)}
        whole = functools.partial(step.train_step, step.make_steps(gan, config), greg=True, dreg=True)
        return jax.jit(whole)(state, batch), str(jax.make_jaxpr(whole)(state, batch))

    (expected, plain), (found, anew) = stepped("none"), stepped("blocks")
    assert "policy=" not in plain
    assert "policy=" in anew
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-5), _numbers(found), _numbers(expected))


def _numbers(tree):
    return [np.asarray(x) for x in jax.tree.leaves(tree) if not jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)]
