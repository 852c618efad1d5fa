"""Losses, penalties and every parameter's gradient against the official implementation, and what formulas promise."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import config as configs
from jaxgan.networks.build import build
from jaxgan.networks.gan import call
from jaxgan.training import regularisers
from jaxgan.training.objectives import OBJECTIVES, class_loss
from tests import parity

LOGISTIC = OBJECTIVES["nonsaturating"]

files = pytest.mark.parametrize("name", ["stylegan2_32_uncond", "stylegan2_16_cond_orig"])


@pytest.fixture(autouse=True)
def _full_precision():
    with jax.default_matmul_precision("highest"):
        yield


class Official:
    """A parity file with its rows in the order that makes the deviation groups contiguous."""

    def __init__(self, name):
        config, self.arrays = parity.load(name)
        self.gan = build(parity.model_config(config))
        self.g, _ = parity.variables(self.arrays, "G")
        self.d, _ = parity.variables(self.arrays, "D")
        self.order = parity.contiguous(len(self.arrays["z"]), config["mbstd_group"])
        self.labels = self.rows("labels_onehot") if config["c_dim"] else None

    def rows(self, name):
        return self.arrays[name][self.order]

    def generate(self, params):
        return call(self.gan.generator, self.g | {"params": params}, self.rows("z"), self.labels)

    def logits(self, params, images):
        return call(self.gan.discriminator, self.d | {"params": params}, images, self.labels).logits


official = functools.cache(Official)


def assert_norms(gradients, arrays, phase):
    """The norm of every parameter's gradient, all within 1e-4 of the official one."""
    leaves = jax.tree_util.tree_leaves_with_path(jax.device_get(gradients))
    ours = {".".join(key.key for key in path): np.linalg.norm(value.astype(np.float64)) for path, value in leaves}
    prefix = f"gradnorm_{phase}."
    theirs = {name.removeprefix(prefix): float(value) for name, value in arrays.items() if name.startswith(prefix)}
    assert set(ours) == set(theirs)
    # A gradient that is zero by construction (the last bias under R1) is zero here too.
    floor = 1e-6 * max(theirs.values())
    wrong = {
        n: (ours[n], theirs[n]) for n in ours if abs(ours[n] - theirs[n]) > 1e-4 * theirs[n] + floor * (theirs[n] == 0)
    }
    assert not wrong


@files
def test_generator_loss(name):
    data = official(name)

    def loss(params):
        return jnp.mean(LOGISTIC.generator(None, data.logits(data.d["params"], data.generate(params))))

    value, gradients = jax.jit(jax.value_and_grad(loss))(data.g["params"])
    np.testing.assert_allclose(value, data.arrays["loss_Gmain"], rtol=1e-4)
    assert_norms(gradients, data.arrays, "Gmain")


@files
def test_discriminator_loss(name):
    data = official(name)

    def loss(params):
        fake = data.logits(params, data.rows("image_noise_const"))
        return jnp.mean(LOGISTIC.discriminator(data.logits(params, data.rows("real")), fake))

    value, gradients = jax.jit(jax.value_and_grad(loss))(data.d["params"])
    np.testing.assert_allclose(value, data.arrays["loss_Dmain"], rtol=1e-4)
    assert_norms(gradients, data.arrays, "Dmain")


@files
def test_r1(name):
    data = official(name)

    def loss(params):
        penalty, _ = regularisers.squared_gradient(lambda x: (data.logits(params, x), None), data.rows("real"))
        return 10 / 2 * jnp.mean(penalty), penalty

    gradients, penalty = jax.jit(jax.grad(loss, has_aux=True))(data.d["params"])
    np.testing.assert_allclose(penalty, data.rows("r1_penalty_per_image"), rtol=1e-4)
    assert_norms(gradients, data.arrays, "R1_gamma10")


@files
def test_path_lengths(name):
    data = official(name)

    def synthesize(ws):
        return call(data.gan.generator, data.g, ws, method="synthesize")

    lengths = jax.jit(lambda ws, y: regularisers.path_lengths(synthesize, ws, y))
    ours = lengths(data.arrays["ws"], data.arrays["pl_image_noise"])
    np.testing.assert_allclose(ours, data.arrays["pl_lengths"], rtol=1e-4)


def test_logistic_losses():
    logits = jnp.array([-50.0, 0.0, 50.0])
    np.testing.assert_allclose(LOGISTIC.generator(None, logits), [50, np.log(2), 0], atol=1e-6)
    np.testing.assert_allclose(LOGISTIC.discriminator(-logits, logits), [0, 2 * np.log(2), 100], atol=1e-6)


def test_r1_of_a_linear_discriminator_is_its_squared_weight():
    rng = np.random.default_rng(0)
    w, images = rng.standard_normal((4, 6, 3)), rng.standard_normal((5, 4, 6, 3))
    penalty, (logits, aux) = regularisers.squared_gradient(
        lambda x: (jnp.einsum("nhwc,hwc->n", x, w), "beside"), jnp.asarray(images)
    )
    np.testing.assert_allclose(penalty, np.full(5, np.sum(w**2)), rtol=1e-5)
    np.testing.assert_allclose(logits, np.einsum("nhwc,hwc->n", images, w), rtol=1e-4)
    assert aux == "beside"


@pytest.mark.parametrize(
    ("name", "generator", "discriminator"),
    [
        # at D(real) = (2, -1, 0), D(fake) = (0.5, 3, 0)
        ("wgan", [-0.5, -3, 0], [-1.5, 4, 0]),
        ("lsgan", [0.125, 2, 0.5], [0.5 * (1 + 0.25), 0.5 * (4 + 9), 0.5]),
        ("hinge", [-0.5, -3, 0], [1.5, 2 + 4, 1 + 1]),
        ("relativistic", np.log1p(np.exp([1.5, -4, 0])), np.log1p(np.exp([-1.5, 4, 0]))),
    ],
)
def test_objectives(name, generator, discriminator):
    real, fake = jnp.array([2.0, -1.0, 0.0]), jnp.array([0.5, 3.0, 0.0])
    np.testing.assert_allclose(OBJECTIVES[name].generator(real, fake), generator, rtol=1e-6)
    np.testing.assert_allclose(OBJECTIVES[name].discriminator(real, fake), discriminator, rtol=1e-6)


def test_only_a_paired_objective_reads_the_reals_for_the_generator():
    for objective in OBJECTIVES.values():
        gradient = jax.grad(lambda real: jnp.sum(objective.generator(real, jnp.ones(2))))(jnp.zeros(2))  # noqa: B023
        assert np.any(gradient != 0) == objective.paired


def test_the_config_knows_every_objective():
    assert set(configs.OBJECTIVES) == set(OBJECTIVES)


def test_class_loss_is_the_cross_entropy():
    logits = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    labels = np.array([2, 0, 3])
    expected = [np.log(np.exp(row).sum()) - row[label] for row, label in zip(logits, labels)]
    np.testing.assert_allclose(class_loss(jnp.asarray(logits), jnp.asarray(labels)), expected, rtol=1e-5)


def test_gradient_penalty_of_a_linear_critic():
    """0 where the weight has the target's length, whatever the images; (3 - 1)^2 for a length of 3."""
    rng = np.random.default_rng(0)
    w = rng.standard_normal((4, 6, 3)).astype(np.float32)
    w /= np.linalg.norm(w)
    real, fake = (jnp.asarray(rng.standard_normal((5, 4, 6, 3)), jnp.float32) for _ in range(2))

    def penalty(scale, target):
        def logits(x):
            return jnp.einsum("nhwc,hwc->n", x, scale * w), None

        return regularisers.gradient_penalty(logits, real, fake, jax.random.key(0), target)

    np.testing.assert_allclose(penalty(1.0, 1.0), np.zeros(5), atol=1e-6)
    np.testing.assert_allclose(penalty(3.0, 1.0), np.full(5, 4.0), rtol=1e-4)
    np.testing.assert_allclose(penalty(1.0, 4.0), np.full(5, 9 / 16), rtol=1e-4)
    assert np.isfinite(jax.grad(lambda s: jnp.sum(penalty(s, 1.0)))(0.0))


def test_gradient_penalty_lies_between_real_and_generated_images():
    """For D(x) = |x|^2 / 2 the gradient is x itself: between a real 0 and a generated constant image."""
    fake = jnp.broadcast_to(jnp.arange(1.0, 65.0)[:, None, None, None], (64, 1, 1, 1))
    real = jnp.zeros((64, 1, 1, 1))
    squares = regularisers.gradient_penalty(
        lambda x: (jnp.sum(x**2, axis=(1, 2, 3)) / 2, None), real, fake, jax.random.key(0), 1.0
    )
    mix = np.asarray(1 + np.sign(np.asarray(fake[:, 0, 0, 0]) - 2) * np.sqrt(squares)) / np.asarray(fake[:, 0, 0, 0])
    assert 0 <= mix.min() < 0.1
    assert 0.9 < mix[8:].max() <= 1.0 + 1e-5
    assert len(np.unique(mix.round(4))) > 50  # one number an image


def test_orthogonal_penalty_is_zero_for_orthogonal_rows_only():
    rotation = np.linalg.qr(np.random.default_rng(0).standard_normal((4, 4)))[0].astype(np.float32)
    assert abs(float(regularisers.orthogonal_penalty({"weight": rotation}))) < 1e-5
    for shape in ((3, 3, 2, 5), (2, 7)):  # more inputs than outputs, and fewer
        w = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
        rows = w.reshape(-1, shape[-1]).T
        gram = rows @ rows.T
        expected = sum(gram[i, j] ** 2 for i, j in np.ndindex(gram.shape) if i != j) / 2
        tree = {"conv": {"weight": w, "bias": np.ones(5, np.float32)}, "embed": {"weight": w}}
        np.testing.assert_allclose(regularisers.orthogonal_penalty(tree), expected, rtol=1e-4)


def test_path_length_of_a_linear_generator():
    """|J^T y| with the root of the mean over the rows of ws: rows that do nothing count as zeros."""
    rng = np.random.default_rng(0)
    jacobian, y = (rng.standard_normal(s).astype(np.float32) for s in ((2 * 2 * 3, 8), (4, 2, 2, 3)))
    ws = jnp.zeros((4, 3, 8))
    lengths = regularisers.path_lengths(lambda ws: (ws[:, 1] @ jacobian.T).reshape(4, 2, 2, 3), ws, jnp.asarray(y))
    expected = np.linalg.norm(y.reshape(4, -1) @ jacobian, axis=1) / np.sqrt(3)
    np.testing.assert_allclose(lengths, expected, rtol=1e-5)


def test_path_length_has_a_gradient_where_it_is_zero():
    ws, y = jnp.zeros((1, 2, 3)), jnp.ones((1, 1, 1, 3))

    def total(scale):
        return jnp.sum(regularisers.path_lengths(lambda ws: scale * ws[:, :1, None], ws, y))

    assert np.isfinite(jax.grad(total)(0.0))


def test_path_length_penalty_passes_its_gradient_through_the_mean():
    lengths, old, decay = jnp.array([1.0, 2.0, 6.0]), jnp.float32(1.5), 0.01
    penalty, mean = regularisers.path_length_penalty(lengths, old, decay)
    expected_mean = 1.5 + 0.01 * (3.0 - 1.5)
    np.testing.assert_allclose(mean, expected_mean, rtol=1e-6)
    deviation = np.asarray(lengths) - expected_mean
    np.testing.assert_allclose(penalty, deviation**2, rtol=1e-5)

    gradient = jax.grad(lambda x: jnp.sum(regularisers.path_length_penalty(x, old, decay)[0]))(lengths)
    np.testing.assert_allclose(gradient, 2 * deviation - 2 * deviation.sum() * decay / 3, rtol=1e-5)
    # What is stored carries no gradient into the next step.
    stored = jax.grad(lambda x: regularisers.path_length_penalty(x, old, decay)[1])(lengths)
    np.testing.assert_array_equal(stored, 0)
