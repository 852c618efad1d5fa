"""StyleGAN2 against values of the official implementation, and what the house promises of every architecture."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from jaxgan.errors import UserError
from jaxgan.experiment import Model
from jaxgan.networks.build import build, init
from jaxgan.networks.gan import call
from tests import parity

FILES = ("stylegan2_32_uncond", "stylegan2_16_cond_orig")
files = pytest.mark.parametrize("name", FILES)


@pytest.fixture(autouse=True)
def _full_precision():
    with jax.default_matmul_precision("highest"):
        yield


@functools.cache
def official(name):
    """(the model with the file's weights, the file's arrays, labels or None)."""
    config, arrays = parity.load(name)
    model_config = parity.model_config(config)
    generator, w_avg = parity.variables(arrays, "G")
    discriminator, _ = parity.variables(arrays, "D")
    variables = {"generator": generator, "discriminator": discriminator}
    model = Model(build(model_config), ConfigDict({"model": model_config}), variables, jnp.asarray(w_avg), 0)
    return model, arrays, arrays.get("labels_onehot")


def assert_close(ours, reference, tolerance=1e-4):
    assert ours.shape == reference.shape
    np.testing.assert_allclose(ours, reference, rtol=0, atol=tolerance * float(np.max(np.abs(reference))))


def small(**changes):
    """A model config that computes in no time."""
    model = {
        "architecture": "stylegan2",
        "resolution": 16,
        "channels": 3,
        "num_classes": 0,
        "z_dim": 8,
        "w_dim": 8,
        "mapping_layers": 1,
        "channel_base": 64,
        "channel_max": 8,
        "d_architecture": "resnet",
        "mbstd_group": 2,
        "conv_clamp": 256.0,
        "base_shape": (4, 4),
        "low_precision_levels": 0,
        "dtype": "float32",
    }
    return model | changes


def random_images(gan, batch, seed=0):
    shape = (batch, *gan.generator.image_shape)
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


# Parity


@files
def test_weights_are_a_renaming(name):
    model, _, _ = official(name)
    ours = jax.eval_shape(functools.partial(init, model.gan), jax.random.key(0))
    theirs = (model.variables["generator"], model.variables["discriminator"])
    assert jax.tree.map(lambda x: x.shape, ours) == jax.tree.map(lambda x: x.shape, theirs)


@files
def test_ws(name):
    model, arrays, labels = official(name)
    plain = jax.jit(lambda v: call(model.gan.generator, v, arrays["z"], labels, method="map"))
    assert_close(plain(model.variables["generator"]), arrays["ws"])
    assert_close(model.map(arrays["z"], labels), arrays["ws"])
    assert_close(model.map(arrays["z"], labels, truncation_psi=0.7), arrays["ws_psi0.7"])
    cut = model.map(arrays["z"], labels, truncation_psi=0.7, truncation_cutoff=3)
    assert_close(cut, arrays["ws_psi0.7_cutoff3"])


@files
@pytest.mark.parametrize("noise", ["const", "none"])
def test_images(name, noise):
    model, arrays, _ = official(name)
    assert_close(model.synthesize(arrays["ws"], noise), arrays[f"image_noise_{noise}"])


@files
def test_logits(name):
    """The official deviation groups are strided; ours are the same ones after a permutation of the rows."""
    model, arrays, labels = official(name)
    order = parity.contiguous(len(arrays["z"]), model.gan.discriminator.mbstd_group)
    labels = None if labels is None else labels[order]
    logits = jax.jit(lambda v, images: call(model.gan.discriminator, v, images, labels).logits)
    for images, expected in (("image_noise_const", "logits_fake"), ("real", "logits_real")):
        ours = logits(model.variables["discriminator"], arrays[images][order])
        assert_close(ours, arrays[expected][order, 0])


# Noise and labels


def test_noise_as_maps_and_as_a_key():
    model, arrays, _ = official("stylegan2_16_cond_orig")
    ws, generator = arrays["ws"][:2], model.gan.generator
    images = {noise: model.synthesize(ws, noise) for noise in ("const", "none")}

    stored = model.variables["generator"]["buffers"]["synthesis"]
    names = ["b4.conv1", "b8.conv0", "b8.conv1", "b16.conv0", "b16.conv1"]
    stored = [functools.reduce(dict.__getitem__, name.split("."), stored)["noise_const"] for name in names]
    assert tuple(m.shape for m in stored) == generator.noise_shapes
    const = tuple(jnp.broadcast_to(m[None, :, :, None], (2, *m.shape, 1)) for m in stored)
    assert_close(model.synthesize(ws, const), images["const"], 1e-5)
    zeros = tuple(jnp.zeros_like(m) for m in const)
    assert_close(model.synthesize(ws, zeros), images["none"], 1e-5)

    key = jax.random.key(3)
    fresh = model.synthesize(ws, key)
    drawn = tuple(jax.random.normal(jax.random.fold_in(key, i), m.shape) for i, m in enumerate(const))
    assert_close(fresh, model.synthesize(ws, drawn), 1e-5)
    assert not np.allclose(fresh, images["const"], atol=1e-3)
    assert not np.allclose(fresh, model.synthesize(ws, jax.random.key(4)), atol=1e-3)
    # Fresh noise is drawn for every image.
    same = model.synthesize(jnp.stack([ws[0], ws[0]]), key)
    assert not np.allclose(same[0], same[1], atol=1e-3)


def test_images_with_constant_noise_do_not_depend_on_the_batch():
    model, arrays, _ = official("stylegan2_16_cond_orig")
    ws = arrays["ws"]
    together = model.synthesize(ws)
    assert_close(model.synthesize(ws[2:3]), together[2:3], 1e-5)
    assert_close(model.synthesize(ws[::-1]), together[::-1], 1e-5)


def test_noise_of_an_unknown_name():
    model, arrays, _ = official("stylegan2_16_cond_orig")
    with pytest.raises(ValueError, match="noise 'random' is not 'const', 'none', a key or a tuple of maps"):
        model.synthesize(arrays["ws"], "random")


def test_labels_are_class_numbers_or_codes():
    model, arrays, codes = official("stylegan2_16_cond_orig")
    numbers = np.argmax(codes, axis=1)
    np.testing.assert_array_equal(np.eye(3, dtype=codes.dtype)[numbers], codes)
    np.testing.assert_array_equal(model.map(arrays["z"], numbers), model.map(arrays["z"], codes))
    np.testing.assert_array_equal(model.discriminate(arrays["real"], numbers), model.discriminate(arrays["real"], codes))
    other = model.discriminate(arrays["real"], (numbers + 1) % 3)
    assert not np.allclose(other, model.discriminate(arrays["real"], numbers))
    with pytest.raises(ValueError, match="conditional on 3 classes: pass labels"):
        model.map(arrays["z"])
    with pytest.raises(ValueError, match=r"labels \(2, 3\) are neither \[8\] class numbers nor \[8, 3\] codes"):
        model.map(arrays["z"], codes[:2])


# Discriminator: features, taps, independence


def test_features_come_in_forward_order():
    model, arrays, _ = official("stylegan2_32_uncond")
    features = model.features(arrays["real"])
    shapes = {name: value.shape for name, value in features.items()}
    assert shapes == {"b32": (4, 16, 16, 48), "b16": (4, 8, 8, 48), "b8": (4, 4, 4, 48), "fc": (4, 48)}
    out = jax.eval_shape(lambda v, x: call(model.gan.discriminator, v, x), model.variables["discriminator"], arrays["real"])
    assert list(out.features) == ["b32", "b16", "b8", "fc"] or list(out.features) == sorted(out.features)
    seen = []

    def record(v, images):
        seen.extend(call(model.gan.discriminator, v, images).features)

    jax.eval_shape(record, model.variables["discriminator"], arrays["real"])
    assert seen == ["b32", "b16", "b8", "fc"]


def test_taps_give_the_gradient_of_the_logits_by_the_features():
    model, arrays, _ = official("stylegan2_32_uncond")
    images, variables = arrays["real"][:2], model.variables["discriminator"]

    def logits(taps):
        return call(model.gan.discriminator, variables, images, taps=taps, group_size=1).logits

    zeros = jax.tree.map(jnp.zeros_like, model.features(images))
    gradient = jax.jit(jax.grad(lambda taps: jnp.sum(logits(taps))))(zeros)
    # What follows fc is linear, so its gradient is known.
    weight = variables["params"]["b4"]["out"]["weight"][:, 0]
    assert_close(gradient["fc"], np.broadcast_to(weight / len(weight) ** 0.5, (2, len(weight))))
    # The others against central differences along a random direction.
    rng = np.random.default_rng(0)
    moved = jax.jit(lambda step, direction: logits({name: step * direction}))
    for name in ("b32", "b8"):
        direction = jnp.asarray(rng.standard_normal(zeros[name].shape), jnp.float32)
        step = 0.02
        difference = (moved(step, direction) - moved(-step, direction)) / (2 * step)
        expected = jnp.sum(gradient[name] * direction, axis=(1, 2, 3))
        np.testing.assert_allclose(difference, expected, rtol=0.03, atol=0.01 * float(jnp.max(jnp.abs(expected))))


def test_a_group_of_one_makes_images_independent():
    model, arrays, labels = official("stylegan2_16_cond_orig")
    together = model.discriminate(arrays["real"], labels)
    alone = model.discriminate(arrays["real"][5:6], labels[5:6])
    assert_close(alone, together[5:6], 1e-5)
    changed = arrays["real"].copy()
    changed[4] = -changed[4]
    grouped = functools.partial(call, model.gan.discriminator, model.variables["discriminator"], labels=labels)
    before, after = (np.asarray(jax.jit(lambda x: grouped(x).logits)(x)) for x in (arrays["real"], changed))
    # Rows 4..7 are one group, rows 0..3 another.
    assert_close(after[:4], before[:4], 1e-6)
    assert np.all(np.abs(after[4:] - before[4:]) > 1e-5)


# Shapes


@pytest.mark.parametrize(
    "changes",
    [{"base_shape": (4, 6), "channels": 1}, {"base_shape": (7, 4), "channels": 4, "num_classes": 3}, {"resolution": 8}],
    ids=["wide grey", "tall RGBA conditional", "8 px RGB"],
)
def test_shapes(changes):
    model = small(**changes)
    gan = build(model)
    generator = gan.generator
    height, width = (side * model["resolution"] // 4 for side in model["base_shape"])
    assert generator.image_shape == (height, width, model["channels"])
    labels = jnp.array([0, 1, 2, 0]) if model["num_classes"] else None

    def run(key):
        g, d = init(gan, key)
        ws = call(generator, g, jax.random.normal(key, (4, 8)), labels, method="map")
        images = call(generator, g, ws, key, method="synthesize")
        return ws, images, call(gan.discriminator, d, images, labels)

    ws, images, out = jax.jit(run)(jax.random.key(0))
    assert ws.shape == (4, generator.num_ws, 8)
    assert images.shape == (4, *generator.image_shape)
    assert images.dtype == jnp.float32
    assert out.logits.shape == (4,)
    assert out.class_logits is None
    assert out.features["b8"].shape[1:3] == model["base_shape"]
    assert all(bool(jnp.all(jnp.isfinite(x))) for x in (images, out.logits))
    assert float(jnp.std(images)) > 0.05


def test_rows_of_ws_reach_their_layers():
    """ToRGB takes the row of the next block's first layer, so the last row moves only the last ToRGB."""
    model, arrays, _ = official("stylegan2_16_cond_orig")
    ws = jnp.asarray(arrays["ws"][:1])
    generator, variables = model.gan.generator, model.variables["generator"]
    image = jax.jit(lambda ws: call(generator, variables, ws, method="synthesize"))
    moved = [np.abs(image(ws.at[:, row].set(arrays["ws"][1:2, row])) - image(ws)).max() for row in range(ws.shape[1])]
    assert min(moved) > 1e-3
    # Without the last ToRGB's contribution nothing of the last row is left.
    torgb = jax.tree.map(jnp.zeros_like, variables["params"]["synthesis"]["b16"]["torgb"]["weight"])
    params = jax.tree.map(lambda x: x, variables["params"])
    params["synthesis"]["b16"]["torgb"]["weight"] = torgb
    without = jax.jit(lambda ws: call(generator, variables | {"params": params}, ws, method="synthesize"))
    np.testing.assert_array_equal(without(ws.at[:, -1].set(arrays["ws"][1:2, -1])), without(ws))


def test_train_returns_the_buffers_too():
    gan = build(small(resolution=8))
    g, d = jax.jit(functools.partial(init, gan))(jax.random.key(0))
    z = jnp.ones((2, 8))
    images, buffers = call(gan.generator, g, z, train=True)
    assert jax.tree.structure(buffers) == jax.tree.structure(g["buffers"])
    np.testing.assert_allclose(images, call(gan.generator, g, z), atol=1e-6)
    out, buffers = call(gan.discriminator, d, images, train=True)
    assert out.logits.shape == (2,)
    assert buffers == {}


# Precision


def test_bfloat16_levels_are_close_to_float32():
    model, arrays, _ = official("stylegan2_32_uncond")
    low = build(model.config.model.to_dict() | {"dtype": "bfloat16", "low_precision_levels": 4})
    ws, real = arrays["ws"], arrays["real"]
    images = jax.jit(lambda v: call(low.generator, v, ws, method="synthesize"))(model.variables["generator"])
    assert images.dtype == jnp.float32
    assert_close(images, arrays["image_noise_const"], 0.05)
    out = jax.jit(lambda v: call(low.discriminator, v, real))(model.variables["discriminator"])
    assert out.logits.dtype == jnp.float32
    assert {name: value.dtype for name, value in out.features.items()} == {
        "b32": jnp.bfloat16,
        "b16": jnp.bfloat16,
        "b8": jnp.bfloat16,
        "fc": jnp.float32,
    }
    assert_close(out.logits, arrays["logits_real"][:, 0], 0.05)


def test_parameters_are_float32_and_low_levels_are_the_highest_ones():
    gan = build(small(resolution=64, dtype="bfloat16", low_precision_levels=2))
    g, d = jax.eval_shape(functools.partial(init, gan), jax.random.key(0))
    assert {x.dtype for x in jax.tree.leaves((g, d))} == {jnp.dtype("float32")}
    images = jax.ShapeDtypeStruct((2, 64, 64, 3), jnp.float32)
    features = jax.eval_shape(functools.partial(call, gan.discriminator), d, images).features
    low = [name for name, value in features.items() if value.dtype == jnp.bfloat16]
    assert sorted(low) == ["b32", "b64"]


def test_clamp_bounds_every_layer_by_its_gain():
    for clamp, bound in ((0.5, 0.5 * (0.5**0.5 + 0.5**0.5)), (0.0, None)):
        gan = build(small(conv_clamp=clamp, d_architecture="orig"))
        _, d = jax.jit(functools.partial(init, gan))(jax.random.key(0))
        features = call(gan.discriminator, d, 100 * random_images(gan, 2)).features
        largest = float(jnp.max(jnp.abs(features["b8"])))
        assert largest <= 0.5 if bound else largest > 0.5


# Errors


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "stylegan9"}, "architecture='stylegan9' is not known; choose one of .*stylegan2"),
        ({"resolution": 48}, "resolution=48 is not supported; use a power of two from 8"),
        ({"resolution": 4}, "resolution=4 is not supported"),
        ({"channels": 2}, "channels=2 is not supported; use 1, 3 or 4"),
        ({"dtype": "float16"}, "dtype='float16' is not supported; use float32 or bfloat16"),
        ({"d_architecture": "skip"}, "d_architecture='skip' is not supported; use resnet or orig"),
        ({"channel_base": 8}, "channel_base=8 leaves no feature maps at 16 px; use at least 16"),
    ],
)
def test_a_model_that_cannot_be_built(changes, message):
    with pytest.raises(UserError, match=f"config.model.{message}"):
        build(small(**changes))
