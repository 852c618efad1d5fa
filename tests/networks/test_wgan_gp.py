"""WGAN-GP against a NumPy formulation, the paper's layer tables, and what the house promises of every architecture."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.networks.build import init
from jaxgan.networks.gan import Gan, call
from jaxgan.networks.wgan_gp import Critic, ResnetCritic, ResnetGenerator
from tests import tiny

SMALL = {"resolution": 32, "channel_base": 96, "channel_max": 5}  # 5 maps up to 16 px, 3 at 32 px


def networks(*, norm="none", z_dim=6, **options):
    return Gan(ResnetGenerator(z_dim=z_dim, **options), ResnetCritic(norm=norm, **options))


def with_variables(gan):
    """(networks, random variables of both), the stored variances positive."""
    shapes = jax.eval_shape(functools.partial(init, gan), jax.random.key(0))
    trees = tiny.filled(shapes, scale=0.3)
    for path, value in jax.tree_util.tree_leaves_with_path(trees[0]["buffers"]):
        if path[-1].key == "variance":
            value[:] = np.square(value) + 0.1
    return gan, *trees


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def assert_close(ours, reference, tolerance=1e-4):
    assert ours.shape == reference.shape
    np.testing.assert_allclose(ours, reference, rtol=0, atol=tolerance * float(np.max(np.abs(reference))))


def count(tree):
    return sum(math.prod(x.shape) for x in jax.tree.leaves(tree))


# NumPy's version


def convolved(x, p):
    if len(p["weight"]) == 1:
        return x @ p["weight"][0, 0] + p["bias"]
    x = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(1, 2))
    return np.einsum("nhwiab,abio->nhwo", windows, p["weight"]) + p["bias"]


def up(x):
    return x.repeat(2, axis=1).repeat(2, axis=2)


def down(x):
    return (x[:, ::2, ::2] + x[:, 1::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, 1::2]) / 4


def batch_norm(x, p, buffers):
    return (x - buffers["mean"]) / np.sqrt(buffers["variance"] + 1e-5) * p["weight"] + p["bias"]


def layer_norm(x, p):
    axes = (1, 2, 3)
    x = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 1e-5)
    return x * p["weight"] + p["bias"]


def relu(x):
    return np.maximum(x, 0)


def generated(variables, z):
    """As the authors wrote it: the shortcut is upsampled before its convolution."""
    p, b = variables["params"], variables["buffers"]
    x = (z @ p["fc"]["weight"] + p["fc"]["bias"]).reshape(-1, 4, 4, 5)
    for name in ("b8", "b16", "b32"):
        y = convolved(up(relu(batch_norm(x, p[name]["norm0"], b[name]["norm0"]))), p[name]["conv0"])
        y = convolved(relu(batch_norm(y, p[name]["norm1"], b[name]["norm1"])), p[name]["conv1"])
        x = y + convolved(up(x), p[name]["shortcut"])
    return np.tanh(convolved(relu(batch_norm(x, p["norm"], b["norm"])), p["to_rgb"]))


def criticised(p, images, norm):
    """As the authors wrote it: the first block pools before its shortcut's convolution, the second after it."""

    def activated(x, p):
        return relu(layer_norm(x, p) if norm == "layer" else x)

    first = p["b32"]
    x = down(convolved(relu(convolved(images, first["conv0"])), first["conv1"]))
    x = x + convolved(down(images), first["shortcut"])
    features = {"b32": x}
    for name in ("b16", "b8_0", "b8_1"):
        y = convolved(activated(x, p[name].get("norm0")), p[name]["conv0"])
        y = convolved(activated(y, p[name].get("norm1")), p[name]["conv1"])
        x = down(y) + down(convolved(x, p[name]["shortcut"])) if name == "b16" else y + x
        features[name] = x
    return relu(x).mean((1, 2)) @ p["out"]["weight"] + p["out"]["bias"], features


def test_generator():
    gan, g, _ = with_variables(networks(**SMALL))
    z = normal(0, 3, 6)
    images = jax.jit(lambda g: call(gan.generator, g, z))(g)
    assert images.dtype == jnp.float32
    assert_close(images, generated(g, z.astype(np.float64)))


@pytest.mark.parametrize("norm", ["none", "layer"])
def test_critic(norm):
    gan, _, d = with_variables(networks(norm=norm, num_classes=2, **SMALL))
    assert d["buffers"] == {}
    images = normal(0, 3, 32, 32, 3)
    out = jax.jit(lambda d: call(gan.discriminator, d, images))(d)
    expected, features = criticised(d["params"], images.astype(np.float64), norm)
    assert_close(out.logits, expected[:, 0])
    assert_close(out.class_logits, expected[:, 1:])
    for name, value in features.items():
        assert_close(out.features[name], value)


def test_batch_moments_in_training():
    """Training normalises by the batch, whose moments a first call (count 0) stores as they are."""
    gan, g, _ = with_variables(networks(**SMALL | {"resolution": 8}))
    z = normal(0, 8, 6)
    _, buffers = jax.jit(lambda g: call(gan.generator, g, z, train=True))(g | {"buffers": fresh(g["buffers"])})
    p = g["params"]
    x = (z @ p["fc"]["weight"] + p["fc"]["bias"]).reshape(-1, 4, 4, 5)
    np.testing.assert_allclose(buffers["b8"]["norm0"]["mean"], x.mean((0, 1, 2)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(buffers["b8"]["norm0"]["variance"], x.var((0, 1, 2)), rtol=1e-4)
    moved = {"params": p, "buffers": buffers}
    trained = jax.jit(lambda g: call(gan.generator, g, z, train=True)[0])(g)
    # With the batch's own moments stored, the untrained call gives the training call's images.
    assert_close(jax.jit(lambda g: call(gan.generator, g, z))(moved), trained)


def fresh(buffers):
    return jax.tree.map(np.zeros_like, buffers)


# The paper's networks


def shapes(gan):
    return jax.eval_shape(functools.partial(init, gan), jax.random.key(0))


def test_parameter_totals_of_the_cifar_network():
    g, d = shapes(Gan(ResnetGenerator(32), ResnetCritic(32)))
    conv = 9 * 128 * 128 + 128
    shortcut = 128 * 128 + 128
    layers = {
        "dense 128 -> 4 * 4 * 128": 128 * 2048 + 2048,
        "three blocks: two norms, two convolutions, shortcut": 3 * (2 * 2 * 128 + 2 * conv + shortcut),
        "last norm": 2 * 128,
        "to RGB": 9 * 128 * 3 + 3,
    }
    assert count(g["params"]) == sum(layers.values()) == 1_204_483
    layers = {
        "first block, 32 to 16 px": 9 * 3 * 128 + 128 + conv + 3 * 128 + 128,
        "second block, 16 to 8 px": 2 * conv + shortcut,
        "two blocks at 8 px": 2 * 2 * conv,
        "dense": 128 + 1,
    }
    assert count(d["params"]) == sum(layers.values()) == 1_053_825
    assert {x.dtype for x in jax.tree.leaves((g, d))} == {jnp.dtype("float32")}
    # Ten classes: ten more inputs of the generator, ten more outputs of the critic.
    g10, d10 = shapes(Gan(ResnetGenerator(32, num_classes=10), ResnetCritic(32, num_classes=10)))
    assert count(g10["params"]) - count(g["params"]) == 10 * 2048
    assert count(d10["params"]) - count(d["params"]) == 10 * (128 + 1)


def test_parameter_totals_of_the_dcgan_critic_at_64_px():
    """The paper's widths there are 64 maps at 32 px to 512 at 4 px; every layer has a bias."""
    layers = [25 * 3 * 64 + 64, 25 * 64 * 128 + 128, 25 * 128 * 256 + 256, 25 * 256 * 512 + 512, 16 * 512 + 1]
    images = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    for options, norms in (({}, 0), ({"norm": "layer"}, 2 * (128 + 256 + 512))):
        critic = Critic(64, channel_base=2048, channel_max=512, **options)
        variables = jax.eval_shape(critic.init, jax.random.key(0), images)
        assert count(variables["params"]) == sum(layers) + norms
        assert "buffers" not in variables


def test_fresh_variables():
    """Uniform weights of variance 4 / (in + out) in the blocks' 3x3 convolutions and 2 / (in + out) elsewhere."""
    key = jax.random.key(0, impl="rbg")  # its draws compile several times faster
    gan = networks(resolution=8, channel_base=128, channel_max=20, norm="layer")
    g, d = jax.jit(functools.partial(init, gan))(key)
    for path, value in jax.tree_util.tree_leaves_with_path(jax.device_get((g["params"], d["params"]))):
        name = ".".join(str(getattr(key, "key", key)) for key in path)
        if "norm" in name or name.endswith("bias"):
            np.testing.assert_array_equal(value, float(name.endswith("weight")))
            continue
        ends = math.prod(value.shape[:-2]) * (value.shape[-2] + value.shape[-1])
        variance = (4 if ".conv" in name else 2) / ends
        assert np.max(np.abs(value)) <= math.sqrt(3 * variance) * 1.0001, name
        assert abs(np.mean(np.square(value)) / variance - 1) < 5 / value.size**0.5, name


# What is promised of every architecture


@pytest.mark.parametrize(
    ("resolution", "names"),
    [
        (8, {"b8": 4, "b4_0": 4, "b4_1": 4}),
        (16, {"b16": 8, "b8_0": 8, "b8_1": 8}),
        (128, {"b128": 64, "b64": 32, "b32": 16, "b16": 8, "b8_0": 8, "b8_1": 8}),
    ],
)
def test_other_resolutions(resolution, names):
    gan = networks(resolution=resolution, channels=1, num_classes=3, channel_base=512, channel_max=32)
    generator = gan.generator
    assert (generator.num_ws, generator.w_dim, generator.noise_shapes) == (1, 9, ())
    assert generator.image_shape == (resolution, resolution, 1)
    seen = []

    def run(g, d, z, labels):
        ws = call(generator, g, z, labels, method="map")
        images = call(generator, g, ws, "none", method="synthesize")
        out = call(gan.discriminator, d, images, labels)
        seen.extend(out.features)
        return ws, images, out

    g, d = shapes(gan)
    arguments = jax.ShapeDtypeStruct((2, 6), jnp.float32), jax.ShapeDtypeStruct((2,), jnp.int32)
    ws, images, out = jax.eval_shape(run, g, d, *arguments)
    assert (ws.shape, images.shape) == ((2, 1, 9), (2, resolution, resolution, 1))
    assert (out.logits.shape, out.class_logits.shape) == ((2,), (2, 3))
    assert seen == list(names)
    sizes = {name: value.shape[:3] for name, value in out.features.items()}
    assert sizes == {name: (2, size, size) for name, size in names.items()}
    # A feature has the width of the resolution that it is at.
    assert all(value.shape[3] == min(512 // value.shape[1], 32) for value in out.features.values())


@pytest.mark.parametrize("critic", [ResnetCritic, Critic])
@pytest.mark.parametrize("norm", ["none", "layer"])
def test_a_score_depends_on_its_own_image_alone_also_in_training(norm, critic):
    module = critic(16, channel_base=96, channel_max=5, norm=norm)
    images = normal(0, 3, 16, 16, 3)
    d = {"params": tiny.filled(jax.eval_shape(module.init, jax.random.key(0), images)["params"], scale=0.3)}
    gradient = jax.jit(jax.grad(lambda x: call(module, d, x, train=True)[0].logits[1]))(images)
    sizes = np.abs(gradient).max((1, 2, 3))
    assert sizes[1] > 0
    np.testing.assert_array_equal(sizes[[0, 2]], 0)


def test_taps():
    gan, _, d = with_variables(networks(**SMALL))
    images = normal(0, 2, 32, 32, 3)
    run = jax.jit(lambda taps: call(gan.discriminator, d, images, taps=taps, group_size=1))
    plain = run(None)
    zeros = jax.tree.map(np.zeros_like, jax.device_get(dict(plain.features)))
    gradient = jax.jit(jax.grad(lambda taps: jnp.sum(run(taps).logits)))(zeros)
    # After the last block there are only ReLU, mean and dense layer.
    weight = d["params"]["out"]["weight"][:, 0]
    assert_close(gradient["b8_1"], (plain.features["b8_1"] > 0) * weight / 64)
    norm = np.linalg.norm(gradient["b32"])
    ends = [run({"b32": sign * gradient["b32"] / norm}) for sign in (0.1, -0.1)]
    np.testing.assert_allclose(jnp.sum(ends[0].logits - ends[1].logits) / 0.2, norm, rtol=0.05)


def test_bfloat16_is_close_to_float32():
    gan, g, d = with_variables(networks(**SMALL))
    low = networks(dtype=jnp.bfloat16, **SMALL)
    z = normal(0, 3, 6)

    def run(gan):
        images = call(gan.generator, g, z)
        return images, call(gan.discriminator, d, images)

    (images, out), (exact, exact_out) = (jax.jit(functools.partial(run, gan))() for gan in (low, gan))
    assert (images.dtype, out.logits.dtype, out.features["b32"].dtype) == (jnp.float32, jnp.float32, jnp.bfloat16)
    assert_close(images, exact, 0.1)
    assert_close(out.logits, exact_out.logits, 0.1)
