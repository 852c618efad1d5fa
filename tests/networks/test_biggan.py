"""BigGAN against the authors' release: parameter totals, outputs for given weights, and every layer in NumPy."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.networks.biggan import (
    Attention,
    ConditionalBatchNorm,
    Discriminator,
    DiscriminatorBlock,
    Generator,
    GeneratorBlock,
)
from jaxgan.networks.build import init
from jaxgan.networks.gan import Gan, call
from tests import tiny

# The time of these tests is compilation; nothing here runs long enough to be worth optimising.
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


@pytest.fixture(autouse=True)
def _full_precision():
    with jax.default_matmul_precision("highest"):
        yield


def make(resolution=32, z_dim=8, shared_dim=5, hierarchical=True, **changes):
    """Both networks, a few feature maps wide unless changed."""
    shared = {"num_classes": 3, "width": 2, "attention": (16,)} | changes
    generator = Generator(resolution, z_dim=z_dim, shared_dim=shared_dim, hierarchical=hierarchical, **shared)
    return Gan(generator, Discriminator(resolution, **shared))


def name_of(path):
    return ".".join(key.key for key in path)


def fill(shapes):
    """Normal numbers in every parameter and buffer; variances are positive, five batches have been seen."""

    def buffer(path, x):
        return {"variance": np.abs(x) + 0.5, "count": np.full_like(x, 5)}.get(path[-1].key, x)

    filled = tiny.filled(shapes)
    return {"params": filled["params"], "buffers": jax.tree_util.tree_map_with_path(buffer, filled["buffers"])}


@functools.cache
def variables(gan):
    """(variables of the generator, of the discriminator)."""
    return tuple(map(fill, jax.eval_shape(functools.partial(init, gan), jax.random.key(0))))


@functools.cache
def compiled(module):
    return jit(functools.partial(call, module))


def normal(*shape, seed=1):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def small():
    """A conditional pair at 32 px with attention, its variables, and what to call it with."""
    gan = make()
    return gan, *variables(gan), normal(3, 8), np.array([1, 0, 2]), normal(3, 32, 32, 3)


@functools.cache
def generator_gradients():
    """(gradients by parameters and by ws, new buffers) of numbers of the first image of a batch in training."""
    gan, g, _, z, labels, _ = small()
    ws = call(gan.generator, g, z, labels, method="map")

    def loss(params, ws, buffers):
        v = {"params": params, "buffers": buffers}
        images, buffers = call(gan.generator, v, ws, method="synthesize", train=True)
        return jnp.sum(normal(32, 32, 3) * images[0]), buffers

    return jax.device_get(jit(jax.grad(loss, argnums=(0, 1), has_aux=True))(g["params"], ws, g["buffers"]))


@functools.cache
def discriminator_buffers():
    """The discriminator's buffers after 200 calls in training."""
    gan, _, d, _, labels, images = small()

    def step(buffers, _):
        return call(gan.discriminator, d | {"buffers": buffers}, images, labels, train=True)[1], None

    return jax.device_get(jit(lambda buffers: jax.lax.scan(step, buffers, length=200)[0])(d["buffers"]))


def assert_close(ours, reference, tolerance=1e-4):
    assert ours.shape == reference.shape
    np.testing.assert_allclose(ours, reference, rtol=0, atol=tolerance * float(np.max(np.abs(reference))))


# The layers in NumPy, in the order of the release


def normalised(weight, u):
    """A weight over its norm after one step of the power method."""
    matrix = weight.reshape(-1, weight.shape[-1])
    v = matrix @ u
    v /= np.linalg.norm(v)
    u = matrix.T @ v
    u /= np.linalg.norm(u)
    return weight / (v @ matrix @ u)


class Numpy:
    """The layers of a module by name, from its variables."""

    def __init__(self, params, buffers):
        self.params, self.buffers = params, buffers

    def conv(self, name, x):
        w = normalised(self.params[name]["weight"], self.buffers[name]["u"])
        edge, (height, width) = w.shape[0] // 2, x.shape[1:3]
        x = np.pad(x, ((0, 0), (edge, edge), (edge, edge), (0, 0)))
        taps = np.ndindex(w.shape[:2])
        y = sum(np.einsum("nhwi,io->nhwo", x[:, a : a + height, b : b + width], w[a, b]) for a, b in taps)
        return y + self.params[name].get("bias", 0)

    def batch_norm(self, name, x, code):
        params, buffers = self.params[name], self.buffers[name]
        gain, bias = (code @ normalised(params[k]["weight"], buffers[k]["u"]) for k in ("gain", "bias"))
        y = (x - buffers["bn"]["mean"]) / np.sqrt(buffers["bn"]["variance"] + 1e-5)
        return y * (1 + gain[:, None, None]) + bias[:, None, None]


def layer(module, *args):
    """(the module compiled for evaluation, its variables, its layers in NumPy)."""
    run = functools.partial(module.apply, train=False)
    v = fill(jax.eval_shape(functools.partial(module.init, train=False), jax.random.key(0), *args))
    return jit(run), v, Numpy(**v)


def relu(x):
    return np.maximum(x, 0)


def up(x):
    return x.repeat(2, axis=1).repeat(2, axis=2)


def corners(x):
    """The four pixels of each 2x2 square."""
    return [x[:, a::2, b::2] for a in (0, 1) for b in (0, 1)]


def test_generator_block():
    x, code = normal(2, 4, 4, 6), normal(2, 5)
    run, v, layers = layer(GeneratorBlock(4, spectral=True), x, code)
    y = layers.conv("conv1", up(relu(layers.batch_norm("bn1", x, code))))
    y = layers.conv("conv2", relu(layers.batch_norm("bn2", y, code)))
    assert_close(run(v, x, code), y + layers.conv("conv_sc", up(x)))


@pytest.mark.parametrize(
    ("reads_images", "down", "features"),
    [(True, True, 6), (False, True, 4), (False, False, 6), (False, False, 4)],
    ids=["first", "halving", "widening", "last"],
)
def test_discriminator_block(reads_images, down, features):
    x = normal(2, 4, 4, 4)
    run, v, layers = layer(DiscriminatorBlock(features, 5, reads_images, down), x)
    y = layers.conv("conv1", x if reads_images else relu(x))
    y = layers.conv("conv2", relu(y))
    assert ("conv_sc" in v["params"]) == (down or features != 4)
    y = y + (layers.conv("conv_sc", x) if "conv_sc" in v["params"] else x)
    assert_close(run(v, x), sum(corners(y)) / 4 if down else y)


def test_attention():
    x = normal(2, 4, 6, 16)
    run, v, layers = layer(Attention(), x)
    query = layers.conv("theta", x)
    key, value = (np.max(corners(layers.conv(name, x)), axis=0) for name in ("phi", "g"))
    assert (query.shape[-1], key.shape[-1], value.shape[-1]) == (2, 2, 8)
    y = np.zeros((2, 4, 6, 8), np.float32)
    for n, i, j in np.ndindex(y.shape[:3]):
        places = list(np.ndindex(key.shape[1:3]))
        weights = np.exp([query[n, i, j] @ key[n, a, b] for a, b in places])
        y[n, i, j] = sum(w * value[n, a, b] for w, (a, b) in zip(weights / weights.sum(), places))
    assert_close(run(v, x), x + v["params"]["gamma"] * layers.conv("o", y))
    v["params"]["gamma"] = np.float32(0)
    np.testing.assert_array_equal(run(v, x), x)


@pytest.mark.parametrize("train", [False, True])
def test_conditional_batch_norm(train):
    """At evaluation by the stored moments; in training by the batch's, and the stored ones follow."""
    x, code = 3 + 2 * normal(4, 2, 2, 6), normal(4, 5)
    norm = ConditionalBatchNorm(spectral=True)
    run, v, _ = layer(norm, x, code)
    buffers = v["buffers"]
    if train:
        y, new = jit(functools.partial(call, norm, train=True))(v, x, code)
        moments = {"mean": x.mean((0, 1, 2)), "variance": x.var((0, 1, 2))}
        for name, value in moments.items():
            old = buffers["bn"][name]
            np.testing.assert_allclose(new["bn"][name], old + (value - old) / 6, rtol=1e-4)
        buffers = buffers | {"bn": moments}
    else:
        y = run(v, x, code)
    assert_close(y, Numpy({"norm": v["params"]}, {"norm": buffers}).batch_norm("norm", x, code))


# The networks against the release


def test_images_of_given_weights():
    """Green of some pixels of two images, as the release computes them from the same variables."""
    gan, g, _, z, labels, _ = small()
    green = [
        [[0.41771, -0.38963, 0.60097, -0.6883], [0.56935, 0.76671, -0.23576, 0.28419]],
        [[0.9016, 0.73065, 0.96031, 0.91629], [0.9896, 0.9983, 0.98215, 0.59128]],
    ]
    assert_close(compiled(gan.generator)(g, z, labels)[:2, 3:16:8, 3::8, 1], np.array(green))


def test_logits_of_given_weights():
    gan, _, d, _, labels, images = small()
    logits = compiled(gan.discriminator)(d, images, labels).logits
    assert_close(logits, np.array([240.724579, 28.405066, 0.663208]), 1e-5)


@pytest.mark.parametrize(
    ("network", "total"),
    [
        (Generator(128, num_classes=1000), 70_433_988),
        (Generator(256, num_classes=1000, z_dim=140), 82_235_844),
        (Generator(512, num_classes=1000, z_dim=160), 82_468_068),
        (Generator(32, num_classes=10, width=64, z_dim=128, shared_dim=0, hierarchical=False), 4_304_387),
        (Discriminator(128, num_classes=1000), 87_982_370),
        (Discriminator(128, num_classes=1000, wide=False), 66_747_254),
        (Discriminator(256, num_classes=1000), 99_225_890),
        # google/compare_gan's 98,801,378 and the two 1x1 convolutions that it leaves out: blocks that do not widen.
        (Discriminator(512, num_classes=1000), 98_801_378 + 96 * 97 + 768 * 769),
        (Discriminator(32, num_classes=10, width=64), 4_207_361),
    ],
    ids=lambda x: f"{type(x).__name__} {x.resolution}" if not isinstance(x, int) else "",
)
def test_parameter_counts(network, total):
    """Of the release for ImageNet, which the defaults are, and for CIFAR-10."""
    is_generator = isinstance(network, Generator)
    shape = (1, network.z_dim) if is_generator else (1, network.resolution, network.resolution, 3)
    shapes = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros(shape), jnp.zeros(1, jnp.int32))
    assert sum(math.prod(x.shape) for x in jax.tree.leaves(shapes["params"])) == total


# Spectral norm


def test_spectral_norms_of_the_discriminator_tend_to_one():
    _, _, d, _, _, _ = small()

    def norms(buffers):
        found = {}
        for path, weight in jax.tree_util.tree_leaves_with_path(d["params"]):
            if path[-1].key == "weight":
                u = functools.reduce(lambda tree, key: tree[key.key], path[:-1], buffers)["u"]
                found[name_of(path)] = np.linalg.norm(normalised(weight, u).reshape(-1, weight.shape[-1]), 2)
        return found

    before, after = norms(d["buffers"]), norms(discriminator_buffers())
    assert len(after) == 16
    assert max(before.values()) > 1.2
    assert after == pytest.approx(dict.fromkeys(after, 1.0), abs=0.01)


def test_scales_of_weights_do_not_matter():
    """So all are normalised where they are used, but for the class embedding and the gain of the last normalisation."""
    gan, g, d, z, labels, images = small()
    rng = np.random.default_rng(2)

    def scaled(path, x):
        plain = path[-1].key != "weight" or name_of(path) in ("embed.weight", "synthesis.bn.weight")
        return x if plain else x * np.float32(rng.uniform(0.1, 10))

    def rescale(v):
        return v | {"params": jax.tree_util.tree_map_with_path(scaled, v["params"])}

    generate, discriminate = compiled(gan.generator), compiled(gan.discriminator)
    assert_close(generate(rescale(g), z, labels), generate(g, z, labels))
    assert_close(discriminate(rescale(d), images, labels).logits, discriminate(d, images, labels).logits)


# What the house promises


def test_map():
    gan, g, _, z, _, _ = small()
    labels = np.array([2, 0, 2])
    ws = call(gan.generator, g, z, labels, method="map")
    assert ws.shape == (3, gan.generator.num_ws, gan.generator.w_dim) == (3, 4, 7)
    for i, row in enumerate(np.swapaxes(ws, 0, 1)):
        np.testing.assert_array_equal(row[:, :2], z[:, 2 * i : 2 * i + 2])
        np.testing.assert_allclose(row[:, 2:], g["params"]["embed"]["weight"][labels], rtol=1e-6)
    between = call(gan.generator, g, z, np.full((3, 3), 1 / 3, np.float32), method="map")
    np.testing.assert_allclose(between[1, 0, 2:], g["params"]["embed"]["weight"].mean(0), rtol=1e-5)


def test_rows_of_ws_reach_their_layers():
    """Every number counts but the class in the first row, which the 4x4 grid does not see. In training the first image
    depends on the rows of all, by the moments of the batch."""
    (_, gradient), _ = generator_gradients()
    expected = np.ones((3, 4, 7), bool)
    expected[:, 0, 2:] = False
    np.testing.assert_array_equal(gradient != 0, expected)


@pytest.mark.parametrize(
    ("changes", "num_ws", "w_dim", "conditions", "spectral"),
    [
        ({"num_classes": 1, "dtype": jnp.bfloat16}, 4, 7, 7, True),
        ({"num_classes": 0}, 4, 2, 2, True),
        ({"shared_dim": 0, "channels": 1}, 4, 5, 5, True),
        ({"hierarchical": False}, 1, 13, 5, True),
        ({"hierarchical": False, "shared_dim": 0}, 1, 11, 3, False),
        ({"hierarchical": False, "num_classes": 0}, 1, 8, 0, False),
    ],
    ids=["one class, bfloat16", "no class", "codes, grey", "one row", "tables", "one row, no class"],
)
def test_kinds(changes, num_ws, w_dim, conditions, spectral):
    """Shapes and types; a block sees `conditions` numbers of its row, by weights with or without spectral norm."""
    gan = make(**changes)
    g, d = jax.eval_shape(functools.partial(init, gan), jax.random.key(0))
    generator = gan.generator
    assert (generator.num_ws, generator.w_dim, generator.noise_shapes) == (num_ws, w_dim, ())
    for name in ("bn1", "bn2"):
        params, buffers = (v["synthesis"]["b32"][name] for v in (g["params"], g["buffers"]))
        if conditions:
            assert params["gain"]["weight"].shape == params["bias"]["weight"].shape == (conditions, 8)
        else:
            assert params["bn"]["weight"].shape == (8,)
        assert ("gain" in buffers) == ("bias" in buffers) == spectral
    labels = np.zeros(2, np.int32) if generator.num_classes else None

    def run(g, d, z):
        ws = call(generator, g, z, labels, method="map")
        images = call(generator, g, ws, "none", method="synthesize")
        return ws, images, call(gan.discriminator, d, images, labels)

    ws, images, out = jax.eval_shape(run, g, d, normal(2, 8))
    assert ws.shape == (2, num_ws, w_dim)
    assert images.shape == (2, *generator.image_shape) == (2, 32, 32, changes.get("channels", 3))
    assert out.logits.shape == (2,)
    assert out.class_logits is None
    assert {x.dtype for x in (*jax.tree.leaves((g, d)), ws, images, out.logits)} == {np.dtype("float32")}
    assert {x.dtype for x in out.features.values()} == {jnp.dtype(generator.dtype)}
    sizes = {"b32": (16, 16), "b16": (8, 8), "b8_0": (8, 8), "b8_1": (8, 8)}
    assert [(name, x.shape[1:3]) for name, x in out.features.items()] == list(sizes.items())


def test_blocks_and_features():
    """At 64 px. Attention follows the block that returns its resolution; features come in forward order."""
    gan = make(64, z_dim=20)
    g, d = jax.eval_shape(functools.partial(init, gan), jax.random.key(0))
    assert set(g["params"]["synthesis"]) == {"linear", "b8", "b16", "b16_attention", "b32", "b64", "bn", "conv"}
    assert set(d["params"]) == {"b64", "b32", "b32_attention", "b16", "b8", "b4", "linear", "embed"}
    images = jax.ShapeDtypeStruct((2, 64, 64, 3), jnp.float32)
    out = jax.eval_shape(functools.partial(call, gan.discriminator), d, images, jnp.zeros(2, jnp.int32))
    assert [(name, x.shape) for name, x in out.features.items()] == [
        ("b64", (2, 32, 32, 2)),
        ("b32", (2, 16, 16, 4)),
        ("b16", (2, 8, 8, 8)),
        ("b8", (2, 4, 4, 16)),
        ("b4", (2, 4, 4, 32)),
    ]


def test_projection():
    """logit = w . h + b + e_label . h of the summed last features; taps are added to the features."""
    gan, _, d, _, labels, images = small()
    tap = normal(3, 8, 8, 8, seed=2)

    def logits(features):
        h = relu(np.asarray(features)).sum((1, 2))
        w, e = (normalised(d["params"][k]["weight"], d["buffers"][k]["u"]) for k in ("linear", "embed"))
        return h @ w[:, 0] + d["params"]["linear"]["bias"] + np.einsum("bc,cb->b", h, e[:, labels])

    out = compiled(gan.discriminator)(d, images, labels)
    assert_close(out.logits, logits(out.features["b8_1"]))
    moved = compiled(gan.discriminator)(d, images, labels, taps={"b8_1": tap})
    assert_close(moved.features["b8_1"], out.features["b8_1"] + tap)
    assert_close(moved.logits, logits(moved.features["b8_1"]))


def test_images_are_independent_at_evaluation():
    gan, g, d, z, labels, images = small()
    other = np.concatenate((z[:1], normal(2, 8, seed=2)))
    generate = compiled(gan.generator)
    assert_close(generate(g, other, labels)[:1], generate(g, z, labels)[:1], 1e-6)
    other = np.concatenate((images[:1], normal(2, 32, 32, 3, seed=2)))
    discriminate = compiled(gan.discriminator)
    assert_close(discriminate(d, other, labels).logits[:1], discriminate(d, images, labels).logits[:1], 1e-6)


def test_training_moves_every_buffer():
    _, g, d, _, _, _ = small()
    for old, new in ((g["buffers"], generator_gradients()[1]), (d["buffers"], discriminator_buffers())):
        change = jax.tree.map(lambda a, b: np.abs(a - b).max(), old, new)
        assert {name_of(path): x for path, x in jax.tree_util.tree_leaves_with_path(change) if not x > 0} == {}


def test_gradients_reach_every_weight():
    (gradients, _), _ = generator_gradients()
    assert not gradients["embed"]["weight"].any()  # `map` is not differentiated here
    for path, x in jax.tree_util.tree_leaves_with_path(gradients["synthesis"]):
        assert np.all(np.isfinite(x)), name_of(path)
        assert path[-1].key == "bias" or np.any(x != 0), name_of(path)


def test_penalties_on_gradients_can_be_differentiated():
    """The square of attention's gradient by its input, as in R1: the derivative against a difference."""
    module, x, step = Attention(), normal(2, 4, 4, 8), 1e-3 * normal(2, 4, 4, 8, seed=2)
    _, v, _ = layer(module, x)

    def penalty(params, x):
        def total(x):
            return jnp.sum(jnp.sin(call(module, v | {"params": params}, x, train=True)[0]))

        return jnp.sum(jnp.square(jax.grad(total)(x)))

    value = jit(penalty)
    by_params, by_x = jit(jax.grad(penalty, argnums=(0, 1)))(v["params"], x)
    difference = (value(v["params"], x + step) - value(v["params"], x - step)) / 2
    np.testing.assert_allclose(np.vdot(by_x, step), difference, rtol=0.02)
    for path, g in jax.tree_util.tree_leaves_with_path(by_params):
        assert np.all(np.isfinite(g)), name_of(path)
        assert np.any(g != 0), name_of(path)


def test_fresh_parameters():
    """Orthogonal weights, so that a spectral norm is 1 from the start; attention has no say yet."""
    x = normal(1, 4, 4, 4)

    def parameters(key):
        modules = {"block": DiscriminatorBlock(16, 2, False, True), "attention": Attention()}
        return {name: module.init(key, x, train=False)["params"] for name, module in modules.items()}

    for path, value in jax.tree_util.tree_leaves_with_path(jit(parameters)(jax.random.key(0))):
        if path[-1].key == "weight":
            matrix = np.asarray(value).reshape(-1, value.shape[-1])
            gram = matrix.T @ matrix if len(matrix) >= value.shape[-1] else matrix @ matrix.T
            np.testing.assert_allclose(gram, np.eye(len(gram)), atol=1e-5, err_msg=name_of(path))
        else:
            np.testing.assert_array_equal(value, 0, err_msg=name_of(path))
