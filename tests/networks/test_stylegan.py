"""StyleGAN against plain NumPy, its noise, and its parameters by its layer table. Growing: test_pggan.py."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.networks.build import init
from jaxgan.networks.gan import Gan, call
from jaxgan.networks.stylegan import Discriminator, Generator
from tests.tiny import filled

WIDTHS = {"channel_base": 32, "channel_max": 9}  # 8 feature maps at 4 px, 4 at 8 px
SQRT2 = math.sqrt(2)


@pytest.fixture(autouse=True)
def _full_precision():
    with jax.default_matmul_precision("highest"):
        yield


def networks(resolution=8, num_classes=0):
    shared = WIDTHS | {"resolution": resolution, "num_classes": num_classes}
    return Gan(Generator(z_dim=6, w_dim=5, mapping_layers=2, **shared), Discriminator(mbstd_group=2, **shared))


def gan_and_variables(**kwargs):
    """(networks, variables of G, of D), all of them random, biases and noise strengths too."""
    gan = networks(**kwargs)
    g, d = filled(jax.eval_shape(functools.partial(init, gan), jax.random.key(0)))
    g["params"]["mapping"] = filled(g["params"]["mapping"], seed=1, scale=100.0)  # its multiplier is 0.01
    return gan, g, d


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def assert_close(ours, reference, tolerance=1e-5):
    assert ours.shape == reference.shape
    np.testing.assert_allclose(ours, reference, rtol=0, atol=tolerance * float(np.max(np.abs(reference))))


# In NumPy


def leaky(x):
    return np.maximum(0.2 * x, x)


def convolved(x, layer, gain=SQRT2):
    """Equalised convolution that keeps the size, and bias where there is one."""
    weight = layer["weight"].astype(np.float64)
    k = len(weight)
    weight = weight * gain / math.sqrt(k * k * weight.shape[2])
    height, width = x.shape[1:3]
    x = np.pad(x, ((0, 0), (k // 2, k // 2), (k // 2, k // 2), (0, 0)))
    out = sum(x[:, i : i + height, j : j + width] @ weight[i, j] for i in range(k) for j in range(k))
    return out + layer.get("bias", 0)


def dense(x, layer, gain):
    return x @ layer["weight"].astype(np.float64) * gain / math.sqrt(x.shape[-1]) + layer["bias"]


def blurred(x):
    taps = np.outer([1, 2, 1], [1, 2, 1]) / 16
    height, width = x.shape[1:3]
    x = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    return sum(taps[i, j] * x[:, i : i + height, j : j + width] for i in range(3) for j in range(3))


def numpy_mapping(params, z, codes):
    x = np.concatenate((z, codes @ params["embed"].astype(np.float64)), axis=1)
    x = x / np.sqrt(np.mean(x**2, axis=1, keepdims=True) + 1e-8)
    for name in ("fc0", "fc1"):
        weight = 0.01 * SQRT2 / math.sqrt(x.shape[1]) * params[name]["weight"].astype(np.float64)
        x = leaky(x @ weight + 0.01 * params[name]["bias"])
    return x


def numpy_epilogue(params, x, w, noise):
    """Noise, bias, leaky ReLU; then each map with mean 0 and variance 1; then what the style says."""
    x = leaky(x + noise * params["noise_strength"] + params["bias"])
    style = dense(w, params["affine"], 1)
    out = np.zeros(x.shape)
    channels = x.shape[-1]
    for n in range(len(x)):
        for c in range(channels):
            y = x[n, :, :, c] - x[n, :, :, c].mean()
            y = y / math.sqrt(np.mean(y**2) + 1e-8)
            out[n, :, :, c] = y * (style[n, c] + 1) + style[n, channels + c]
    return out


def numpy_synthesis(params, ws, noises):
    b4, b8 = params["b4"], params["b8"]
    x = np.tile(b4["const"].astype(np.float64), (len(ws), 1, 1, 1))
    x = numpy_epilogue(b4["epilogue0"], x, ws[:, 0], noises[0])
    x = numpy_epilogue(b4["epilogue1"], convolved(x, b4["conv1"]), ws[:, 1], noises[1])
    x = blurred(convolved(x.repeat(2, axis=1).repeat(2, axis=2), b8["conv0"]))
    x = numpy_epilogue(b8["epilogue0"], x, ws[:, 2], noises[2])
    x = numpy_epilogue(b8["epilogue1"], convolved(x, b8["conv1"]), ws[:, 3], noises[3])
    return convolved(x, params["torgb8"], gain=1)


def numpy_discriminator(params, images, group):
    x = leaky(convolved(images, params["fromrgb8"]))
    x = blurred(leaky(convolved(x, params["b8"]["conv0"])))
    x = convolved(x, params["b8"]["conv1"] | {"bias": 0})
    x = (x[:, ::2, ::2] + x[:, 1::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, 1::2]) / 4
    x = leaky(x + params["b8"]["conv1"]["bias"])
    deviation = np.zeros((*x.shape[:3], 1))
    for i in range(0, len(x), group):
        deviation[i : i + group] = np.mean(np.sqrt(np.var(x[i : i + group], axis=0) + 1e-8))
    x = leaky(convolved(np.concatenate((x, deviation), axis=-1), params["b4"]["conv"]))
    x = leaky(dense(x.reshape(len(x), -1), params["b4"]["fc"], SQRT2))
    return dense(x, params["b4"]["out"], 1)


def test_mapping():
    gan, g, _ = gan_and_variables(num_classes=3)
    z, labels = normal(0, 4, 6), jnp.array([2, 0, 1, 2])
    ws = jax.jit(functools.partial(call, gan.generator, method="map"))(g, z, labels)
    w = numpy_mapping(g["params"]["mapping"], z, np.eye(3)[labels])
    assert_close(ws, np.tile(w[:, None], (1, 4, 1)))


def test_synthesis():
    """Every row of ws and every noise map reaches its layer, in the official order of operations."""
    gan, g, _ = gan_and_variables()
    ws = normal(0, 2, 4, 5)
    assert gan.generator.noise_shapes == ((4, 4), (4, 4), (8, 8), (8, 8))
    noises = tuple(normal(10 + i, 2, *size, 1) for i, size in enumerate(gan.generator.noise_shapes))
    images = jax.jit(functools.partial(call, gan.generator, method="synthesize"))(g, ws, noises)
    assert_close(images, numpy_synthesis(g["params"], ws, noises))


def test_discriminator():
    gan, _, d = gan_and_variables()
    images = normal(0, 4, 8, 8, 3)
    out = jax.jit(functools.partial(call, gan.discriminator))(d, images)
    assert_close(out.logits, numpy_discriminator(d["params"], images, group=2)[:, 0])


def test_the_label_picks_the_score():
    gan, _, d = gan_and_variables(num_classes=3)
    images, labels = normal(0, 4, 8, 8, 3), np.array([2, 0, 1, 2])
    out = jax.jit(functools.partial(call, gan.discriminator))(d, images, labels)
    scores = numpy_discriminator(d["params"], images, group=2)
    assert scores.shape == (4, 3)
    assert_close(out.logits, scores[np.arange(4), labels])
    with pytest.raises(ValueError, match="conditional on 3 classes: pass labels"):
        call(gan.discriminator, d, images)


# Noise


def test_kinds_of_noise():
    gan, g, _ = gan_and_variables(resolution=4)
    ws = normal(0, 1, 2, 5).repeat(2, axis=0)
    generator = gan.generator

    def image(noise):
        if isinstance(noise, str):
            return jax.jit(lambda g: call(generator, g, ws, noise, method="synthesize"))(g)
        return jax.jit(lambda g, noise: call(generator, g, ws, noise, method="synthesize"))(g, noise)

    stored = [g["buffers"]["b4"][name]["noise_const"] for name in ("epilogue0", "epilogue1")]
    maps = tuple(np.tile(x[None, :, :, None], (2, 1, 1, 1)) for x in stored)
    assert_close(image("const"), image(maps))
    assert_close(image("none"), image(tuple(np.zeros_like(x) for x in maps)))
    key = jax.random.key(3, impl="rbg")
    drawn = tuple(jax.random.normal(jax.random.fold_in(key, i), x.shape) for i, x in enumerate(maps))
    fresh = image(key)
    assert_close(fresh, image(drawn))
    # Both images have the same ws: fresh noise is drawn for each.
    assert not np.allclose(fresh[0], fresh[1], atol=1e-3)
    assert_close(*image("const"))
    with pytest.raises(ValueError, match="noise 'random' is not 'const', 'none', a key or a tuple of maps"):
        image("random")


# Parameters


def test_parameters_by_the_layer_table():
    """The totals of the official networks at 1024 px, each layer's share written out."""
    widths = {4: 512, 8: 512, 16: 512, 32: 512, 64: 256, 128: 128, 256: 64, 512: 32, 1024: 16}

    def convolution(kernel, inputs, outputs):
        return kernel * kernel * inputs * outputs + outputs

    def epilogue(width):  # noise strengths, and a dense layer to scales and shifts; biases are counted above
        return width + 512 * 2 * width + 2 * width

    mapping = 8 * (512 * 512 + 512)
    constant = 4 * 4 * 512 + 512 + epilogue(512)
    synthesis = constant + convolution(3, 512, 512) + epilogue(512)
    discriminator = convolution(3, 512 + 1, 512) + (512 * 16 * 512 + 512) + (512 + 1)
    for resolution in list(widths)[1:]:
        width, below = widths[resolution], widths[resolution // 2]
        synthesis += convolution(3, below, width) + convolution(3, width, width) + 2 * epilogue(width)
        discriminator += convolution(3, width, width) + convolution(3, width, below)
    to_rgb = {r: convolution(1, width, 3) for r, width in widths.items()}
    from_rgb = {r: convolution(1, 3, width) for r, width in widths.items()}
    assert mapping + synthesis + sum(to_rgb.values()) == 26_219_627
    assert discriminator + sum(from_rgb.values()) == 23_087_249

    gan = Gan(Generator(1024), Discriminator(1024))
    g, d = jax.eval_shape(functools.partial(init, gan), jax.random.key(0))

    def count(tree):
        return sum(math.prod(x.shape) for x in jax.tree.leaves(tree))

    assert count(g["params"]) == mapping + synthesis + to_rgb[1024]
    assert count(g["params"]["mapping"]) == mapping
    assert count(d["params"]) == discriminator + from_rgb[1024]
    assert gan.generator.num_ws == 18


def test_fresh_variables():
    """Raw weights ~ N(0, 1), mapping ~ N(0, 100^2), a constant of ones, no noise yet, biases zero."""
    key = jax.random.key(0, impl="rbg")  # compiles in a quarter of the time
    g, d = jax.jit(functools.partial(init, networks(resolution=4, num_classes=2)))(key)
    for path, value in jax.tree_util.tree_leaves_with_path((g, d)):
        name = jax.tree_util.keystr(path)
        if name.endswith(("['weight']", "['embed']", "['noise_const']")):
            scale = 100 if "['mapping']['fc" in name else 1
            assert abs(np.mean(np.square(value / scale)) - 1) < 6 / value.size**0.5, name
        else:
            np.testing.assert_array_equal(value, 1.0 if name.endswith("['const']") else 0.0, err_msg=name)
