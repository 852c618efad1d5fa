"""Progressive GAN against plain NumPy, and what networks that grow promise, StyleGAN included."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.networks import pggan, stylegan
from jaxgan.networks.build import init
from jaxgan.networks.gan import Gan, call
from jaxgan.networks.layers import block_resolutions
from jaxgan.ops.box import box_downsample, nearest_upsample
from tests.tiny import filled

# Feature maps: 8 at 4 px, 4 at 8 px, 2 at 16 px, and 9 in the hidden dense layer of D.
WIDTHS = {"channel_base": 32, "channel_max": 9}
TINY = {"pggan": (pggan, {"z_dim": 6}), "stylegan": (stylegan, {"z_dim": 6, "w_dim": 5, "mapping_layers": 2})}
both = pytest.mark.parametrize("name", TINY)
SQRT2 = math.sqrt(2)


@pytest.fixture(autouse=True)
def _full_precision():
    with jax.default_matmul_precision("highest"):
        yield


def networks(name, resolution, fading=False, **shared):
    module, attributes = TINY[name]
    shared = WIDTHS | shared | {"resolution": resolution, "fading": fading}
    return Gan(module.Generator(**attributes, **shared), module.Discriminator(mbstd_group=2, **shared))


def level(*args, **kwargs):
    """(networks of a small level, variables of G, of D): random numbers, but for an alpha of 0.25."""
    gan = networks(*args, **kwargs)
    g, d = filled(jax.eval_shape(functools.partial(init, gan), jax.random.key(0)))
    if "mapping" in g["params"]:
        g["params"]["mapping"] = jax.tree.map(lambda x: 100 * x, g["params"]["mapping"])  # its multiplier is 0.01
    for variables in (g, d):
        if "alpha" in variables["buffers"]:
            variables["buffers"]["alpha"] = np.float32(0.25)
    return gan, g, d


def inputs(gan, batch=4):
    """(ws, images)."""
    rng = np.random.default_rng(1)
    shapes = (gan.generator.num_ws, gan.generator.w_dim), gan.generator.image_shape
    return tuple(rng.standard_normal((batch, *shape)).astype(np.float32) for shape in shapes)


@functools.partial(jax.jit, static_argnums=0)
def synthesize(gan, variables, ws, alpha=None):
    return call(gan.generator, variables, ws, alpha=alpha, method="synthesize")


@functools.partial(jax.jit, static_argnums=0)
def discriminate(gan, variables, images, alpha=None):
    return call(gan.discriminator, variables, images, alpha=alpha)


def assert_close(ours, reference, tolerance=1e-5):
    assert ours.shape == reference.shape
    np.testing.assert_allclose(ours, reference, rtol=0, atol=tolerance * float(np.max(np.abs(reference))))


def leaves(tree):
    """{names on the path: leaf}."""
    return {tuple(k.key for k in path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


# Growing


def totals(module, resolution, **attributes):
    """Parameters of G and D with the toRGB and fromRGB of every resolution, as the official networks hold them."""
    sizes = [{}, {}]
    for r in block_resolutions(resolution):
        widths = {k: v for k, v in attributes.items() if k.startswith("channel")}
        gan = Gan(module.Generator(r, **attributes), module.Discriminator(r, **widths))
        for size, variables in zip(sizes, jax.eval_shape(functools.partial(init, gan), jax.random.key(0))):
            size |= {path: math.prod(leaf.shape) for path, leaf in leaves(variables["params"]).items()}
    return tuple(sum(size.values()) for size in sizes)


@pytest.mark.parametrize(
    ("module", "resolution", "attributes", "generator", "discriminator"),
    [
        (pggan, 1024, {}, 23_079_115, 23_087_249),
        (pggan, 256, {}, 23_044_309, 23_052_353),
        (pggan, 128, {"channel_base": 4096}, 13_629_810, 13_636_897),
        (pggan, 32, {"channel_base": 8192, "channel_max": 128, "z_dim": 128}, 1_296_908, 1_298_689),
        (stylegan, 1024, {}, 26_219_627, 23_087_249),
    ],
)
def test_parameter_totals(module, resolution, attributes, generator, discriminator):
    """Those of the papers' networks (their fmap_base is half of channel_base). Shapes only: nothing is allocated."""
    assert totals(module, resolution, **attributes) == (generator, discriminator)


@both
@pytest.mark.parametrize(("network", "image_layer"), [(1, "torgb"), (2, "fromrgb")], ids=["G", "D"])
def test_a_level_holds_the_tree_of_the_level_below(name, network, image_layer):
    """So a growing state keeps its leaves by their paths; only what reads or makes the lower level's images goes."""
    below, fading, stable = (leaves(level(name, *at)[network]) for at in ((8,), (16, True), (16,)))
    assert {path[1] for path in set(fading) - set(below)} == {"alpha", "b16", f"{image_layer}16"}
    assert {path[1] for path in set(fading) - set(stable)} == {"alpha", f"{image_layer}8"}
    for smaller in (below, stable):
        assert {path: leaf.shape for path, leaf in smaller.items()}.items() <= {
            path: leaf.shape for path, leaf in fading.items()
        }.items()


def picked(tree, smaller):
    """What `tree` has at the paths of `smaller`."""
    found = leaves(tree)
    return jax.tree_util.tree_map_with_path(lambda path, _: found[tuple(k.key for k in path)], smaller)


@both
def test_a_fade_starts_as_the_level_below(name):
    gan, g, d = level(name, 16, fading=True)
    small, *below = level(name, 8)
    below = [picked(*trees) for trees in zip((g, d), below)]
    ws, images = inputs(gan)
    expected = nearest_upsample(synthesize(small, below[0], ws[:, : small.generator.num_ws]))
    assert_close(synthesize(gan, g, ws, alpha=jnp.float32(0)), expected)
    expected = discriminate(small, below[1], box_downsample(images)).logits
    assert_close(discriminate(gan, d, images, alpha=jnp.float32(0)).logits, expected)


@both
def test_a_fade_ends_as_the_stable_level(name):
    gan, g, d = level(name, 16, fading=True)
    stable = networks(name, 16)
    ws, images = inputs(gan)
    np.testing.assert_array_equal(synthesize(gan, g, ws, alpha=jnp.float32(1)), synthesize(stable, g, ws))
    ours, expected = discriminate(gan, d, images, alpha=jnp.float32(1)), discriminate(stable, d, images)
    np.testing.assert_array_equal(ours.logits, expected.logits)
    # A stable level has no alpha to take, and takes none.
    np.testing.assert_array_equal(synthesize(stable, g, ws, alpha=jnp.float32(0.3)), synthesize(stable, g, ws))


@both
def test_amid_a_fade(name):
    """G mixes images; what D mixes is the feature that it records. The stored alpha counts where none is given."""
    gan, g, d = level(name, 16, fading=True)
    ws, images = inputs(gan)
    for function in (
        lambda **alpha: synthesize(gan, g, ws, **alpha),
        lambda **alpha: discriminate(gan, d, images, **alpha).features["b16"],
    ):
        start, end = (np.asarray(function(alpha=jnp.float32(alpha))) for alpha in (0, 1))
        assert_close(function(), 0.25 * end + 0.75 * start)
        assert_close(function(alpha=jnp.float32(0.5)), 0.5 * end + 0.5 * start)


@both
def test_alpha_is_one_at_first(name):
    gan = networks(name, 8, fading=True)
    alphas = jax.jit(lambda key: [variables["buffers"]["alpha"] for variables in init(gan, key)])
    assert alphas(jax.random.key(0)) == [1, 1]


@both
@pytest.mark.parametrize("resolution", [4, 8])
def test_shapes(name, resolution):
    gan, g, d = level(name, resolution, fading=resolution > 4, channels=1, num_classes=3)
    generator = gan.generator
    labels = jnp.array([0, 2, 1, 0])

    def run(g, d, z):
        ws = call(generator, g, z, labels, method="map")
        images = call(generator, g, z, labels, "none")
        again = call(generator, g, ws, "none", method="synthesize")
        return ws, images, again, call(gan.discriminator, d, images, labels)

    z = np.random.default_rng(0).standard_normal((4, 6)).astype(np.float32)
    ws, images, again, out = jax.jit(run)(g, d, z)
    assert ws.shape == (4, generator.num_ws, generator.w_dim)
    assert generator.image_shape == (resolution, resolution, 1)
    assert images.shape == (4, *generator.image_shape)
    assert_close(images, again)
    assert out.logits.shape == (4,)
    assert (out.class_logits is None) == (name == "stylegan")
    blocks = {} if resolution == 4 else {"b8": (4, 4, 4, 8)}
    assert {k: v.shape for k, v in out.features.items()} == blocks | {"fc": (4, 9)}
    with pytest.raises(ValueError, match="conditional on 3 classes: pass labels"):
        call(generator, g, z)


@both
def test_train_returns_the_buffers_too(name):
    gan, g, d = level(name, 8, fading=True)
    ws, images = inputs(gan)
    (_, g_buffers), (_, d_buffers) = jax.eval_shape(
        lambda: (
            call(gan.generator, g, ws, method="synthesize", train=True),
            call(gan.discriminator, d, images, train=True),
        )
    )
    assert jax.tree.structure(g_buffers) == jax.tree.structure(g["buffers"])
    assert jax.tree.structure(d_buffers) == jax.tree.structure(d["buffers"])


@both
def test_features_come_in_forward_order_and_take_taps(name):
    gan, _, d = level(name, 16, fading=True)
    _, images = inputs(gan, batch=2)

    def run(taps):
        return call(gan.discriminator, d, images, taps=taps, group_size=1)

    seen = []
    jax.eval_shape(lambda: seen.extend(run(None).features))
    assert seen == ["b16", "b8", "fc"]
    shapes = jax.eval_shape(lambda: run(None).features)
    zeros = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
    gradient = jax.jit(jax.grad(lambda taps: jnp.sum(run(taps).logits)))(zeros)
    # What follows fc is linear, so its gradient is known.
    weight = d["params"]["b4"]["out"]["weight"][:, 0]
    assert_close(gradient["fc"], np.broadcast_to(weight / len(weight) ** 0.5, (2, len(weight))))
    assert all(np.all(np.any(gradient[k] != 0, axis=(1, 2, 3))) for k in ("b16", "b8"))


@both
def test_a_group_of_one_makes_images_independent(name):
    gan, _, d = level(name, 8)
    _, images = inputs(gan)
    score = jax.jit(lambda images: call(gan.discriminator, d, images, group_size=1).logits)
    assert_close(score(images[2:3]), score(images)[2:3])
    changed = images.copy()
    changed[3] = -changed[3]
    before, after = (discriminate(gan, d, x).logits for x in (images, changed))
    # Rows 0 and 1 are one group, rows 2 and 3 another.
    assert_close(after[:2], before[:2])
    assert np.all(after[2:] != before[2:])


@both
def test_a_gradient_penalty_has_finite_gradients(name):
    """The discriminator differentiated twice, also where all images are the same: their deviation is zero."""
    gan, _, d = level(name, 8, fading=True)
    _, images = inputs(gan)

    def penalty(params, images):
        variables = d | {"params": params}
        gradient = jax.grad(lambda x: jnp.sum(call(gan.discriminator, variables, x).logits))(images)
        return jnp.sum(jnp.square(gradient))

    second = jax.jit(jax.grad(penalty))
    same, different = (leaves(second(d["params"], x)) for x in (np.ones_like(images), images))
    assert all(np.all(np.isfinite(g)) for g in (*same.values(), *different.values()))
    assert all(np.any(g != 0) for path, g in different.items() if path[-1] == "weight")


@both
def test_bfloat16_is_close_to_float32(name):
    gan, g, d = level(name, 8, fading=True)
    low = networks(name, 8, fading=True, dtype=jnp.bfloat16)
    shapes = jax.eval_shape(functools.partial(init, low), jax.random.key(0))
    assert {x.dtype for x in jax.tree.leaves(shapes)} == {jnp.dtype("float32")}
    ws, images = inputs(gan)
    rendered = synthesize(low, g, ws)
    assert rendered.dtype == jnp.float32
    assert_close(rendered, synthesize(gan, g, ws), 0.05)
    out = discriminate(low, d, images)
    assert out.logits.dtype == jnp.float32
    assert {k: v.dtype for k, v in out.features.items()} == {"b8": jnp.bfloat16, "fc": jnp.float32}
    assert_close(out.logits, discriminate(gan, d, images).logits, 0.05)


# Progressive GAN in NumPy


def leaky(x, slope=0.2):
    return np.maximum(slope * x, x)


def normalised(x):
    return x / np.sqrt(np.mean(x**2, axis=-1, keepdims=True) + 1e-8)


def convolved(x, layer, gain=SQRT2):
    """Equalised convolution that keeps the size, and bias."""
    weight = layer["weight"].astype(np.float64)
    k = len(weight)
    weight = weight * gain / math.sqrt(k * k * weight.shape[2])
    height, width = x.shape[1:3]
    x = np.pad(x, ((0, 0), (k // 2, k // 2), (k // 2, k // 2), (0, 0)))
    out = sum(x[:, i : i + height, j : j + width] @ weight[i, j] for i in range(k) for j in range(k))
    return out + layer["bias"]


def dense(x, layer, gain):
    return x @ layer["weight"].astype(np.float64) * gain / math.sqrt(x.shape[-1]) + layer["bias"]


def halved(x):
    return (x[:, ::2, ::2] + x[:, 1::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, 1::2]) / 4


def numpy_generator(params, latent, slope=0.2):
    """At 8 px, from a latent that is normalised already; the first layer is a dense one with the gain sqrt(2) / 4."""
    x = np.einsum("ni,hwio->nhwo", latent, params["b4"]["conv0"]["weight"].astype(np.float64))
    x = x * (SQRT2 / 4) / math.sqrt(latent.shape[-1]) + params["b4"]["conv0"]["bias"]
    x = normalised(leaky(x, slope))
    x = normalised(leaky(convolved(x, params["b4"]["conv1"]), slope))
    x = x.repeat(2, axis=1).repeat(2, axis=2)
    x = normalised(leaky(convolved(x, params["b8"]["conv0"]), slope))
    x = normalised(leaky(convolved(x, params["b8"]["conv1"]), slope))
    return convolved(x, params["torgb8"], gain=1)


@pytest.mark.parametrize("together", [True, False])
def test_generator(together):
    gan, g, _ = level("pggan", 8, num_classes=3)
    generator = gan.generator.clone(normalize_labels=together)
    z = np.random.default_rng(0).standard_normal((3, 6)).astype(np.float32)
    labels = jnp.array([2, 0, 2])
    codes = np.eye(3, dtype=np.float32)[labels]
    ws = np.concatenate((z, codes), axis=1)
    np.testing.assert_array_equal(call(generator, g, z, labels, method="map"), ws[:, None])
    latent = normalised(ws) if together else np.concatenate((normalised(z), codes), axis=1)
    assert_close(jax.jit(functools.partial(call, generator))(g, z, labels), numpy_generator(g["params"], latent))


def test_what_ports_do_otherwise():
    """Another slope, a bias for each unit of the dense layer, tanh at the end."""
    gan = networks("pggan", 8, leaky_slope=0.1)
    gan = gan._replace(generator=gan.generator.clone(unit_bias=True, output="tanh"))
    g, d = filled(jax.eval_shape(functools.partial(init, gan), jax.random.key(0)))
    assert g["params"]["b4"]["conv0"]["bias"].shape == (4, 4, 8)
    ws, images = inputs(gan)
    expected = numpy_generator(g["params"], normalised(ws[:, 0]), slope=0.1)
    assert_close(synthesize(gan, g, ws), np.tanh(expected))
    logits = discriminate(gan, d, images).logits
    assert_close(logits, numpy_discriminator(d["params"], images, True, 2, slope=0.1)[:, 0])


def numpy_discriminator(params, images, fused_scale, group, slope=0.2):
    """At 8 px."""
    x = leaky(convolved(images, params["fromrgb8"]), slope)
    x = leaky(convolved(x, params["b8"]["conv0"]), slope)
    x = convolved(x, params["b8"]["conv1"])
    x = leaky(halved(x), slope) if fused_scale else halved(leaky(x, slope))
    deviation = np.zeros((*x.shape[:3], 1))
    for i in range(0, len(x), group):
        deviation[i : i + group] = np.mean(np.sqrt(np.var(x[i : i + group], axis=0) + 1e-8))
    x = np.concatenate((x, deviation), axis=-1)
    x = leaky(convolved(x, params["b4"]["conv"]), slope)
    x = leaky(dense(x.reshape(len(x), -1), params["b4"]["fc"], SQRT2), slope)
    return dense(x, params["b4"]["out"], 1)


@pytest.mark.parametrize("fused_scale", [True, False])
def test_discriminator(fused_scale):
    """With the order of its operations: where the minibatch deviation comes in, and what is averaged."""
    gan, _, d = level("pggan", 8, num_classes=3)
    gan = gan._replace(discriminator=gan.discriminator.clone(fused_scale=fused_scale))
    _, images = inputs(gan)
    out = discriminate(gan, d, images)
    expected, other = (numpy_discriminator(d["params"], images, fused, 2) for fused in (fused_scale, not fused_scale))
    assert_close(out.logits, expected[:, 0])
    assert_close(out.class_logits, expected[:, 1:])
    assert np.max(np.abs(other - expected)) > 0.01 * np.max(np.abs(expected))


def test_fresh_variables():
    """Raw weights ~ N(0, 1), biases zero, no buffers."""
    key = jax.random.key(0, impl="rbg")  # compiles in a quarter of the time
    for variables in jax.jit(functools.partial(init, networks("pggan", 4, num_classes=2)))(key):
        assert variables["buffers"] == {}
        for path, value in leaves(variables["params"]).items():
            if path[-1] == "weight":
                assert abs(np.mean(np.square(value)) - 1) < 6 / value.size**0.5, path
            else:
                np.testing.assert_array_equal(value, 0.0, err_msg=str(path))
