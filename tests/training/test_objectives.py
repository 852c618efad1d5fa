"""Losses, penalties and every parameter's gradient against the official implementation, and what formulas promise."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.networks.build import build
from jaxgan.networks.gan import call
from jaxgan.training import objectives, regularisers
from tests import parity

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
        return jnp.mean(objectives.generator_loss(data.logits(data.d["params"], data.generate(params))))

    value, gradients = jax.jit(jax.value_and_grad(loss))(data.g["params"])
    np.testing.assert_allclose(value, data.arrays["loss_Gmain"], rtol=1e-4)
    assert_norms(gradients, data.arrays, "Gmain")


@files
def test_discriminator_loss(name):
    data = official(name)

    def loss(params):
        fake = data.logits(params, data.rows("image_noise_const"))
        return jnp.mean(objectives.discriminator_loss(data.logits(params, data.rows("real")), fake))

    value, gradients = jax.jit(jax.value_and_grad(loss))(data.d["params"])
    np.testing.assert_allclose(value, data.arrays["loss_Dmain"], rtol=1e-4)
    assert_norms(gradients, data.arrays, "Dmain")


@files
def test_r1(name):
    data = official(name)

    def loss(params):
        penalty = regularisers.r1_penalty(lambda images: data.logits(params, images), data.rows("real"))
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
    np.testing.assert_allclose(objectives.generator_loss(logits), [50, np.log(2), 0], atol=1e-6)
    np.testing.assert_allclose(objectives.discriminator_loss(-logits, logits), [0, 2 * np.log(2), 100], atol=1e-6)


def test_r1_of_a_linear_discriminator_is_its_squared_weight():
    rng = np.random.default_rng(0)
    w, images = rng.standard_normal((4, 6, 3)), rng.standard_normal((5, 4, 6, 3))
    penalty = regularisers.r1_penalty(lambda x: jnp.einsum("nhwc,hwc->n", x, w), jnp.asarray(images))
    np.testing.assert_allclose(penalty, np.full(5, np.sum(w**2)), rtol=1e-5)


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
