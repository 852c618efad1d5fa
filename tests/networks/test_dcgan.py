"""DCGAN against a NumPy formulation, the paper's layer table, and what the house promises of every architecture."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.networks.build import init
from jaxgan.networks.dcgan import Discriminator, Generator, doubling, halving
from jaxgan.networks.gan import Gan, call
from tests import tiny

SMALL = {"resolution": 16, "channel_base": 48, "channel_max": 8}  # 8 maps at 4 px, 6 at 8 px


def networks(*, norm="batch", z_dim=5, **options):
    return Gan(Generator(z_dim=z_dim, **options), Discriminator(norm=norm, **options))


def with_variables(gan):
    """(networks, random variables of both), the stored variances positive."""
    shapes = jax.eval_shape(functools.partial(init, gan), jax.random.key(0))
    trees = tiny.filled(shapes, scale=0.5)
    for tree in trees:
        for buffers in tree["buffers"].values():
            buffers["variance"] = np.square(buffers["variance"]) + 0.1
    return gan, *trees


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def assert_close(ours, reference, tolerance=1e-5):
    assert ours.shape == reference.shape
    np.testing.assert_allclose(ours, reference, rtol=0, atol=tolerance * float(np.max(np.abs(reference))))


def count(tree):
    return sum(math.prod(x.shape) for x in jax.tree.leaves(tree))


# NumPy's version


def strided(x, w):
    """Every second position of the convolution of padded images, window by window."""
    k = len(w)
    x = np.pad(x, ((0, 0), ((k - 1) // 2, k), ((k - 1) // 2, k), (0, 0)))
    n, size = len(x), (x.shape[1] - (k - 1) // 2 - k) // 2
    out = np.zeros((n, size, size, w.shape[3]))
    for i in range(size):
        for j in range(size):
            out[:, i, j] = np.einsum("nabi,abio->no", x[:, 2 * i : 2 * i + k, 2 * j : 2 * j + k], w)
    return out


def transposed(x, w):
    """Every pixel stamps its kernel on a canvas, two rows from the stamp before; the canvas is cropped."""
    k, (n, height, width, _) = len(w), x.shape
    out = np.zeros((n, 2 * height + k, 2 * width + k, w.shape[3]))
    for i in range(height):
        for j in range(width):
            stamp = np.einsum("ni,abio->nabo", x[:, i, j], w[::-1, ::-1])
            out[:, 2 * i : 2 * i + k, 2 * j : 2 * j + k] += stamp
    start = k - 1 - k // 2
    return out[:, start : start + 2 * height, start : start + 2 * width]


def batch_norm(x, variables, name, train):
    p, b = variables["params"][name], variables["buffers"][name]
    axes = tuple(range(x.ndim - 1))
    mean, variance = (x.mean(axes), x.var(axes)) if train else (b["mean"], b["variance"])
    return (x - mean) / np.sqrt(variance + 1e-8) * p["weight"] + p["bias"]


def generated(variables, z, train=False):
    p = variables["params"]
    x = np.maximum(batch_norm(z @ p["fc"]["weight"], variables, "norm4", train), 0).reshape(-1, 4, 4, 8)
    x = np.maximum(batch_norm(transposed(x, p["conv8"]["weight"]), variables, "norm8", train), 0)
    return np.tanh(transposed(x, p["conv16"]["weight"]))


def discriminated(variables, images, train=False):
    p = variables["params"]
    x = strided(images, p["conv16"]["weight"])
    x = b16 = np.maximum(x, 0.2 * x)
    x = batch_norm(strided(x, p["conv8"]["weight"]), variables, "norm8", train)
    x = b8 = np.maximum(x, 0.2 * x)
    return x.reshape(len(x), -1) @ p["out"]["weight"], {"b16": b16, "b8": b8}


@pytest.mark.parametrize("kernel", [2, 3, 4, 5, 6])
def test_resampling_convolutions(kernel):
    x, small, w = normal(0, 2, 6, 6, 3), normal(1, 2, 3, 3, 4), normal(2, kernel, kernel, 3, 4)
    down, up = jax.jit(lambda: (halving(x, w), doubling(small, w[::-1, ::-1].swapaxes(2, 3))))()
    assert_close(down, strided(x, w))
    assert_close(up, transposed(small, w[::-1, ::-1].swapaxes(2, 3)))
    np.testing.assert_allclose(np.sum(down * small), np.sum(x * up), rtol=1e-4)  # adjoints of each other


@pytest.mark.parametrize("train", [False, True], ids=["stored moments", "batch moments"])
@pytest.mark.parametrize("kernel", [5, 4])
def test_forward(kernel, train):
    gan, g, d = with_variables(networks(kernel=kernel, **SMALL))
    z = normal(0, 6, 5)

    def run(g, d, z):
        images = call(gan.generator, g, z, train=train)
        images, g_buffers = images if train else (images, None)
        out = call(gan.discriminator, d, images, train=train)
        out, d_buffers = out if train else (out, None)
        return images, out, g_buffers, d_buffers

    images, out, g_buffers, d_buffers = jax.jit(run)(g, d, z)
    assert_close(images, generated(g, z, train), 1e-4)
    logits, features = discriminated(d, np.asarray(images, np.float64), train)
    assert_close(out.logits, logits[:, 0], 1e-4)
    assert out.class_logits is None
    for name, expected in features.items():
        assert_close(out.features[name], expected, 1e-4)
    if train:
        assert jax.tree.structure(g_buffers) == jax.tree.structure(g["buffers"])
        assert jax.tree.structure(d_buffers) == jax.tree.structure(d["buffers"])
        assert g_buffers["norm4"]["mean"].shape == (4 * 4 * 8,)  # one for each unit of the dense layer


# The paper's network


def test_parameter_totals_at_64_px():
    gan = Gan(Generator(64), Discriminator(64))
    g, d = jax.eval_shape(functools.partial(init, gan), jax.random.key(0))
    layers = {
        "dense 100 -> 4 * 4 * 1024, gains and shifts": 100 * 16384 + 2 * 16384,
        "to 8 px, 1024 -> 512": 25 * 1024 * 512 + 2 * 512,
        "to 16 px, 512 -> 256": 25 * 512 * 256 + 2 * 256,
        "to 32 px, 256 -> 128": 25 * 256 * 128 + 2 * 128,
        "to 64 px, 128 -> 3": 25 * 128 * 3,
    }
    assert count(g["params"]) == sum(layers.values()) == 18_885_760
    layers = {
        "to 32 px, 3 -> 128": 25 * 3 * 128,
        "to 16 px, 128 -> 256": 25 * 128 * 256 + 2 * 256,
        "to 8 px, 256 -> 512": 25 * 256 * 512 + 2 * 512,
        "to 4 px, 512 -> 1024": 25 * 512 * 1024 + 2 * 1024,
        "dense 4 * 4 * 1024 -> 1": 16384,
    }
    assert count(d["params"]) == sum(layers.values()) == 17_232_768
    assert {x.dtype for x in jax.tree.leaves((g, d))} == {jnp.dtype("float32")}


def test_fresh_variables():
    key = jax.random.key(0, impl="rbg")  # its draws compile several times faster
    g, d = jax.jit(functools.partial(init, networks(**SMALL)))(key)
    for path, value in jax.tree_util.tree_leaves_with_path(jax.device_get((g["params"], d["params"]))):
        name = ".".join(str(getattr(key, "key", key)) for key in path)
        if name.endswith("bias"):
            assert "norm" in name
            np.testing.assert_array_equal(value, 0)
            continue
        residue = (value - ("norm" in name)) / 0.02
        assert abs(np.mean(residue)) < 5 / value.size**0.5, name
        assert abs(np.mean(np.square(residue)) - 1) < 8 / value.size**0.5, name


# What is promised of every architecture


@pytest.mark.parametrize("options", [{"resolution": 8, "channels": 1}, {"num_classes": 3}], ids=["grey", "classes"])
def test_contract(options):
    options = SMALL | options
    gan, g, d = with_variables(networks(**options))
    generator, classes = gan.generator, options.get("num_classes", 0)
    size, channels = options["resolution"], options.get("channels", 3)
    assert (generator.num_ws, generator.w_dim, generator.noise_shapes) == (1, 5 + classes, ())
    assert generator.image_shape == (size, size, channels)
    labels = np.array([2, 0, 1, 2]) if classes else None
    z = normal(0, 4, 5)

    def run(g, d, z, labels):
        ws = call(generator, g, z, labels, method="map")
        images = call(generator, g, ws, "none", method="synthesize")
        return ws, images, call(generator, g, z, labels), call(gan.discriminator, d, images, labels)

    ws, images, whole, out = jax.jit(run)(g, d, z, labels)
    code = np.eye(3, dtype=np.float32)[labels] if classes else np.zeros((4, 0), np.float32)
    np.testing.assert_array_equal(ws[:, 0], np.concatenate((z, code), axis=1))
    assert_close(whole, images)
    assert images.shape == (4, size, size, channels)
    assert images.dtype == jnp.float32
    assert np.max(np.abs(images)) <= 1
    assert list(out.features)[-1] == "b8"
    # The head reads the last feature: the score and, beside it, the classes.
    head = out.features["b8"].reshape(4, -1) @ d["params"]["out"]["weight"]
    assert_close(out.logits, head[:, 0], 1e-4)
    if classes:
        assert_close(out.class_logits, head[:, 1:], 1e-4)
        with pytest.raises(ValueError, match="conditional on 3 classes: pass labels"):
            call(generator, g, z)
    else:
        assert out.class_logits is None


def test_features_come_in_forward_order():
    gan = Gan(Generator(64), Discriminator(64, num_classes=2))
    d = jax.eval_shape(functools.partial(init, gan), jax.random.key(0))[1]
    images = jax.ShapeDtypeStruct((2, 64, 64, 3), jnp.float32)
    seen = []

    def run(d, images):
        out = call(gan.discriminator, d, images)
        seen.extend(out.features)
        return out

    shapes = {name: value.shape for name, value in jax.eval_shape(run, d, images).features.items()}
    assert shapes == {"b64": (2, 32, 32, 128), "b32": (2, 16, 16, 256), "b16": (2, 8, 8, 512), "b8": (2, 4, 4, 1024)}
    assert seen == ["b64", "b32", "b16", "b8"]


def test_taps():
    gan, _, d = with_variables(networks(**SMALL))
    images = normal(0, 2, 16, 16, 3)
    run = jax.jit(lambda taps: call(gan.discriminator, d, images, taps=taps, group_size=1))
    plain = run(None)
    zeros = jax.tree.map(np.zeros_like, jax.device_get(dict(plain.features)))
    gradient = jax.jit(jax.grad(lambda taps: jnp.sum(run(taps).logits)))(zeros)
    # What follows b8 is linear, so its gradient is known; b16 goes through the next layer.
    weight = d["params"]["out"]["weight"][:, 0].reshape(1, 4, 4, 8)
    assert_close(gradient["b8"], np.broadcast_to(weight, (2, 4, 4, 8)))
    norm = np.linalg.norm(gradient["b16"])
    step = 0.1 * gradient["b16"] / norm
    ends = [run({"b16": sign * step}) for sign in (1, -1)]
    assert_close(ends[0].features["b16"], plain.features["b16"] + step)
    np.testing.assert_allclose(jnp.sum(ends[0].logits - ends[1].logits) / 0.2, norm, rtol=1e-2)


def test_images_do_not_depend_on_their_neighbours():
    gan, g, d = with_variables(networks(**SMALL))
    z = normal(0, 4, 5)
    generate = jax.jit(lambda z: call(gan.generator, g, z))
    judge = jax.jit(lambda images: call(gan.discriminator, d, images, group_size=1).logits)
    together = generate(z)
    assert_close(generate(z[2:3]), together[2:3])
    assert_close(judge(together[2:3]), judge(together)[2:3], 1e-4)


def test_bfloat16_is_close_to_float32():
    gan, g, d = with_variables(networks(**SMALL))
    low = networks(dtype=jnp.bfloat16, **SMALL)
    z = normal(0, 4, 5)

    def run(gan):
        images = call(gan.generator, g, z)
        return images, call(gan.discriminator, d, images)

    (images, out), (exact, exact_out) = (jax.jit(functools.partial(run, gan))() for gan in (low, gan))
    assert (images.dtype, out.logits.dtype, out.features["b16"].dtype) == (jnp.float32, jnp.float32, jnp.bfloat16)
    assert_close(images, exact, 0.1)
    assert_close(out.logits, exact_out.logits, 0.1)
