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
from jaxgan.networks.stylegan2 import DiscriminatorBlock, Epilogue
from tests import parity, tiny

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
    const = tuple(np.tile(m[None, :, :, None], (2, 1, 1, 1)) for m in stored)
    assert_close(model.synthesize(ws, const), images["const"], 1e-5)
    zeros = tuple(np.zeros_like(m) for m in const)
    assert_close(model.synthesize(ws, zeros), images["none"], 1e-5)

    key = jax.random.key(3)
    fresh = model.synthesize(ws, key)
    drawn = jax.jit(
        lambda key: tuple(jax.random.normal(jax.random.fold_in(key, i), m.shape) for i, m in enumerate(const))
    )
    assert_close(fresh, model.synthesize(ws, drawn(key)), 1e-5)
    assert not np.allclose(fresh, images["const"], atol=1e-3)
    assert not np.allclose(fresh, model.synthesize(ws, jax.random.key(4)), atol=1e-3)
    # Fresh noise is drawn for every image.
    same = model.synthesize(np.stack([ws[0], ws[0]]), key)
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
    np.testing.assert_array_equal(
        model.discriminate(arrays["real"], numbers), model.discriminate(arrays["real"], codes)
    )
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

    zeros = jax.tree.map(np.zeros_like, jax.device_get(model.features(images)))
    gradient = jax.jit(jax.grad(lambda taps: jnp.sum(logits(taps))))(zeros)
    # What follows fc is linear, so its gradient is known.
    weight = np.asarray(variables["params"]["b4"]["out"]["weight"])[:, 0]
    assert_close(gradient["fc"], np.broadcast_to(weight / len(weight) ** 0.5, (2, len(weight))))
    # For the others the network is cut in two at the feature.
    d, params = model.gan.discriminator, variables["params"]

    def rest(features, first):
        for resolution in (16, 8):
            if resolution < first:
                block = DiscriminatorBlock(48, 48, False, True, d.conv_clamp, jnp.float32)
                features = block.apply({"params": params[f"b{resolution}"]}, features)
        head = Epilogue(48, 1, 1, d.conv_clamp)
        return jnp.sum(head.apply({"params": params["b4"]}, features, lambda name, value: value))

    features = model.features(images)
    for resolution in (32, 8):
        expected = jax.jit(jax.grad(rest), static_argnums=1)(features[f"b{resolution}"], resolution)
        assert_close(gradient[f"b{resolution}"], expected)


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
    assert np.all(after[4:] != before[4:])


# Shapes


@pytest.mark.parametrize(
    "changes",
    [{"base_shape": (4, 6), "channels": 1}, {"base_shape": (7, 4), "channels": 4, "num_classes": 3}, {"resolution": 8}],
    ids=["wide grey", "tall RGBA conditional", "8 px RGB"],
)
def test_shapes(changes):
    model = tiny.model(**changes)
    gan, g, d = tiny.gan_and_variables(model)
    generator = gan.generator
    height, width = (side * model["resolution"] // 4 for side in model["base_shape"])
    assert generator.image_shape == (height, width, model["channels"])
    labels = jnp.array([0, 1, 2, 0]) if model["num_classes"] else None

    def run(g, d, z):
        ws = call(generator, g, z, labels, method="map")
        images = call(generator, g, ws, method="synthesize")
        return ws, images, call(gan.discriminator, d, images, labels)

    z = np.random.default_rng(0).standard_normal((4, 8)).astype(np.float32)
    ws, images, out = jax.jit(run)(g, d, z)
    assert ws.shape == (4, generator.num_ws, 8)
    assert images.shape == (4, *generator.image_shape)
    assert images.dtype == jnp.float32
    assert out.logits.shape == (4,)
    assert out.class_logits is None
    assert out.features["b8"].shape[1:3] == model["base_shape"]
    assert all(np.all(np.isfinite(x)) for x in (images, out.logits))
    assert np.ptp(images[:, -1, -1]) > 0


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
    gan, g, d = tiny.gan_and_variables(tiny.model(resolution=8))
    z = jnp.ones((2, 8))
    images, buffers = jax.jit(lambda g: call(gan.generator, g, z, train=True))(g)
    assert jax.tree.structure(buffers) == jax.tree.structure(g["buffers"])
    assert_close(images, jax.jit(lambda g: call(gan.generator, g, z))(g), 1e-5)
    out, buffers = jax.jit(lambda d: call(gan.discriminator, d, images, train=True))(d)
    assert out.logits.shape == (2,)
    assert buffers == {}


def test_fresh_variables():
    """Raw weights of the official scale: N(0, 1), mapping N(0, 100^2), styles biased to one, no noise yet."""
    gan = build(tiny.model(resolution=8, num_classes=2))
    g, d = jax.jit(functools.partial(init, gan))(jax.random.key(0))
    for path, value in jax.tree_util.tree_leaves_with_path(jax.device_get((g, d))):
        name = ".".join(str(getattr(key, "key", key)) for key in path)
        if name.endswith(("weight", "const", "noise_const")):
            scale = 100 if ".fc" in name and "b4" not in name else 1
            assert abs(np.mean(np.square(value / scale)) - 1) < 6 / value.size**0.5, name
        else:
            np.testing.assert_array_equal(value, 1.0 if name.endswith("affine.bias") else 0.0, err_msg=name)


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
    gan = build(tiny.model(resolution=64, dtype="bfloat16", low_precision_levels=2))
    g, d = jax.eval_shape(functools.partial(init, gan), jax.random.key(0))
    assert {x.dtype for x in jax.tree.leaves((g, d))} == {jnp.dtype("float32")}
    images = jax.ShapeDtypeStruct((2, 64, 64, 3), jnp.float32)
    features = jax.eval_shape(functools.partial(call, gan.discriminator), d, images).features
    low = [name for name, value in features.items() if value.dtype == jnp.bfloat16]
    assert sorted(low) == ["b32", "b64"]


@pytest.mark.parametrize(
    ("architecture", "conv_clamp", "bound"),
    [("orig", 0.5, 0.5), ("resnet", 0.5, None), ("orig", 0.0, None)],
)
def test_clamp(architecture, conv_clamp, bound):
    """The clamp bounds every layer; the skip path of the residual form has none."""
    gan, _, d = tiny.gan_and_variables(tiny.model(resolution=8, conv_clamp=conv_clamp, d_architecture=architecture))
    images = 100 * np.random.default_rng(0).standard_normal((2, 8, 8, 3)).astype(np.float32)
    features = jax.jit(lambda d: call(gan.discriminator, d, images).features)(d)
    largest = float(jnp.max(jnp.abs(features["b8"])))
    assert largest == bound if bound else largest > 0.5


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
        build(tiny.model(**changes))
