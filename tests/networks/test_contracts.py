"""What every architecture promises, at every level of growth: the contracts that latent programs rely on."""

import functools
from collections import OrderedDict

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import config as configs
from jaxgan.networks.build import ARCHITECTURES, GROWING, build, init
from jaxgan.networks.gan import call
from tests import tiny

SMALL = {"z_dim": 12, "w_dim": 6, "channel_base": 64, "channel_max": 8, "mapping_layers": 1, "mbstd_group": 2}
SMALL |= {"width": 2, "shared_dim": 4, "attention": (8,), "kernel": 4}


SIDES = {"biggan": 32, "eqgan": 32}  # their smallest; the others are looked at at 16 px


def networks(architecture, num_classes=0, level=None, **changes):
    """A tiny pair at 16 px (BigGAN: 32), RGB, and random variables: all parameters and buffers are filled."""
    c = configs.common.BASES[architecture]()
    known = {k: v for k, v in (SMALL | changes).items() if k in c.model}
    model = c.model.to_dict() | {"resolution": SIDES.get(architecture, 16), "channels": 3}
    model |= {"base_shape": (4, 4), "dtype": "float32"}
    gan = build(model | known | {"num_classes": num_classes}, level)
    variables = tiny.filled(jax.eval_shape(functools.partial(init, gan), jax.random.key(0)), scale=0.3)
    if "mapping" in variables[0]["params"]:  # its learning rate multiplier is 0.01
        variables[0]["params"]["mapping"] = tiny.filled(variables[0]["params"]["mapping"], seed=1, scale=100.0)
    for v in variables:  # of BatchNorm: a variance is positive
        v["buffers"] = jax.tree_util.tree_map_with_path(
            lambda path, x: np.abs(x) + 0.5 if path[-1].key in ("variance", "count", "alpha") else x, v["buffers"]
        )
    return gan, *variables


CLASSES = {name: 0 if name == "spatial" else 3 for name in ARCHITECTURES}  # maps of z have no class
CASES = [(name, classes, None) for name, classes in CLASSES.items()] + [("stylegan2", 0, None)]
CASES += [(name, 0, 3) for name in GROWING]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"{case[0]}-{case[1]}-{case[2]}")
def case(request):
    return networks(*request.param), request.param


def labels_of(generator, n):
    return jnp.arange(n) % generator.num_classes if generator.num_classes else None


def test_generator(case):
    (gan, variables, _), (name, classes, _) = case
    generator = gan.generator
    assert (generator.channels, generator.num_classes, generator.z_dim) == (3, classes, 12)
    side = SIDES.get(name, 16)
    assert generator.image_shape == (side, side, 3)
    assert generator.resolution == side
    z = jax.random.normal(jax.random.key(0), (4, generator.z_dim))
    labels = labels_of(generator, 4)
    ws = call(generator, variables, z, labels, method="map")
    assert ws.shape == (4, generator.num_ws, generator.w_dim)
    synthesize = jax.jit(lambda v, ws: call(generator, v, ws, method="synthesize"))
    images = synthesize(variables, ws)
    assert images.shape == (4, *generator.image_shape)
    assert images.dtype == jnp.float32
    both = jax.jit(lambda v, z: call(generator, v, z, labels))(variables, z)
    np.testing.assert_allclose(both, images, rtol=1e-4, atol=1e-4)
    # Images do not depend on each other, and they depend on their latents.
    np.testing.assert_allclose(synthesize(variables, ws.at[0].set(0))[1:], images[1:], rtol=1e-4, atol=1e-5)
    assert not np.allclose(images[0], images[1], atol=1e-3)
    # What is asked for as noise is one of four kinds everywhere.
    maps = tuple(jnp.zeros((4, *shape, 1)) for shape in generator.noise_shapes)
    kinds = ("none", maps, jax.random.key(3))
    none, zeros, random = jax.jit(
        lambda v, ws: [call(generator, v, ws, noise, method="synthesize") for noise in kinds]
    )(variables, ws)
    np.testing.assert_allclose(zeros, none, rtol=1e-4, atol=1e-5)
    assert np.allclose(random, none, rtol=1e-4, atol=1e-4) == (not maps)


def test_conditioning_ends_in_ws(case):
    (gan, variables, _), (_, classes, _) = case
    if not classes:
        pytest.skip("unconditional")
    z = jnp.ones((3, gan.generator.z_dim))
    ws = call(gan.generator, variables, z, jnp.arange(3), method="map")
    assert not np.allclose(ws[0], ws[1], atol=1e-4)
    codes = call(gan.generator, variables, z, jnp.eye(3), method="map")
    np.testing.assert_allclose(ws, codes, rtol=1e-5)
    with pytest.raises(ValueError, match="conditional"):
        call(gan.generator, variables, z, method="map")


def test_discriminator(case):
    (gan, _, variables), (_, classes, _) = case
    discriminator = gan.discriminator
    images = jax.random.normal(jax.random.key(0), (4, *gan.generator.image_shape))
    labels = labels_of(gan.generator, 4)
    judge = jax.jit(lambda v, x, taps: call(discriminator, v, x, labels, taps=taps, group_size=1))
    out = judge(variables, images, None)
    assert out.logits.shape == (4,)
    assert out.logits.dtype == jnp.float32
    assert out.class_logits is None or out.class_logits.shape == (4, classes)
    assert out.features
    assert all(f.shape[0] == 4 and f.ndim in (2, 4) for f in out.features.values())
    sides = [f.shape[1] for f in out.features.values() if f.ndim == 4]
    assert sides == sorted(sides, reverse=True)  # in forward order
    # With groups of one, an image's logit depends on it alone.
    np.testing.assert_allclose(
        judge(variables, images.at[0].set(0), None).logits[1:], out.logits[1:], rtol=1e-4, atol=1e-5
    )
    # Zeros at the taps change nothing; their cotangent is the derivative by the features.
    taps = OrderedDict((k, jnp.zeros_like(f)) for k, f in out.features.items())
    gradient = jax.jit(jax.grad(lambda taps: jnp.sum(judge(variables, images, taps).logits)))(taps)
    np.testing.assert_allclose(judge(variables, images, taps).logits, out.logits, rtol=1e-5, atol=1e-6)
    assert all(np.any(x != 0) and np.isfinite(x).all() for x in gradient.values())


def test_training_mode_returns_buffers_and_twice_finite_derivatives(case):
    """R1's gradient through the discriminator, and buffers of the shapes that went in."""
    (gan, g, d), _ = case
    images = jax.random.normal(jax.random.key(0), (4, *gan.generator.image_shape))
    labels = labels_of(gan.generator, 4)

    def penalty(params):
        def total(x):
            out, buffers = call(gan.discriminator, d | {"params": params}, x, labels, train=True)
            return jnp.sum(out.logits), buffers

        gradient, buffers = jax.grad(total, has_aux=True)(images)
        return jnp.sum(jnp.square(gradient)), buffers

    gradients, buffers = jax.jit(jax.grad(penalty, has_aux=True))(d["params"])
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(gradients))
    assert jax.tree.map(jnp.shape, buffers) == jax.tree.map(jnp.shape, d["buffers"])
    z = jax.random.normal(jax.random.key(1), (4, gan.generator.z_dim))
    buffers = jax.eval_shape(lambda: call(gan.generator, g, z, labels, train=True)[1])
    assert jax.tree.map(jnp.shape, buffers) == jax.tree.map(jnp.shape, g["buffers"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_half_precision_is_close(name):
    """bfloat16 computes the same function; parameters, buffers and results stay float32."""
    full, g, d = networks(name, CLASSES[name])
    half, *shapes = networks(name, CLASSES[name], dtype="bfloat16", low_precision_levels=4)
    assert isinstance(half.generator, nn.Module)
    assert all(x.dtype == np.float32 for x in jax.tree.leaves(shapes))
    z, labels = jax.random.normal(jax.random.key(1), (4, 12)), jnp.array([0, 1, 2, 0])
    ours, theirs = (jax.jit(lambda v, gan=gan: call(gan.generator, v, z, labels))(g) for gan in (half, full))
    assert ours.dtype == jnp.float32
    assert np.max(np.abs(ours - theirs)) < 0.1 * np.max(np.abs(theirs))
    x = jnp.clip(theirs, -1, 1)
    ours, theirs = (call(gan.discriminator, d, x, labels).logits for gan in (half, full))
    assert np.max(np.abs(ours - theirs)) < 0.15 * np.max(np.abs(theirs))
