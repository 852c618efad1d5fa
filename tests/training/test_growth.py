"""The growth schedule, and states that grow."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import config as configs
from jaxgan.networks.build import build, stable_level
from jaxgan.networks.gan import call
from jaxgan.ops.box import box_downsample, nearest_upsample
from jaxgan.training import growth
from jaxgan.training.state import create_state
from tests import tiny

TINY = ("batch_size=8", "model.z_dim=6", "model.channel_base=64", "model.channel_max=8", "model.mbstd_group=2")


def config(architecture="pggan", *overrides, side=16):
    c = configs.load(f"fashion_{architecture}")
    configs.override(c, [*TINY, *overrides])
    if architecture == "stylegan":
        configs.override(c, ["model.w_dim=6"])
    return configs.resolve(c, num_images=64, image_shape=(side, side, 1), num_classes=0, devices=1).to_dict()


def test_levels():
    assert [stable_level(r) for r in (4, 8, 16, 1024)] == [0, 2, 4, 16]


def test_phases_alternate_and_meet():
    c = config("pggan", "growth.stable_kimg=3", "growth.fade_kimg=2", "growth.start_resolution=4")
    phases = growth.phases(c, 20_000)
    assert [p[:3] for p in phases] == [
        (0, 0, 3000),
        (1, 3000, 5000),
        (2, 5000, 8000),
        (3, 8000, 10_000),
        (4, 10_000, 20_000),
    ]
    assert [p.fade for p in phases] == [None, (3000, 2000), None, (8000, 2000), None]
    # A run that ends inside a fade fades as one that goes on.
    assert growth.phases(c, 9000)[-1] == (3, 8000, 9000, (8000, 2000))


def test_the_schedule_is_the_papers():
    """600 + 600 kimg: 2^k px is stable at (k - 2) * 1200 kimg; with 800 + 800, 1024 px at 12,800."""
    for kimg, stable in ((600.0, 9_600_000), (800.0, 12_800_000)):
        c = configs.load("celebahq_pggan")
        configs.override(c, [f"growth.stable_kimg={kimg}", f"growth.fade_kimg={kimg}"])
        c = configs.resolve(c, num_images=30_000, image_shape=(1024, 1024, 3), num_classes=0, devices=8).to_dict()
        phases = growth.phases(c, 20_000_000)
        assert phases[-1] == (16, stable, 20_000_000, None)
        batch = {p.level: growth.phase_config(c, p)["batch_size"] for p in phases}
        assert (batch[0], batch[1], batch[2], batch[16]) == (512, 256, 256, 32)  # a fade has the new resolution's
        assert growth.phase_config(c, phases[-1])["optimizer"]["g_lr"] == 0.003
        assert growth.phase_config(c, phases[0])["optimizer"]["g_lr"] == 0.001


def test_an_architecture_that_does_not_grow_has_one_phase():
    c = configs.resolve(
        configs.load("fashion"), num_images=64, image_shape=(32, 32, 1), num_classes=0, devices=1
    ).to_dict()
    assert growth.phases(c, 5000) == [(None, 0, 5000, None)]


def test_alpha_rises_from_0_to_1():
    fade = growth.Fade(3000, 2000)
    alphas = [float(fade.alpha(jnp.int32(n))) for n in (2000, 3000, 3500, 5000, 9000)]
    np.testing.assert_allclose(alphas, [0, 0, 0.25, 1, 1])


@pytest.fixture(scope="module", params=["pggan", "stylegan"])
def grown(request):
    """(config, networks by level, states by level) from 8 to 16 px; moments of the first are all ones."""
    c = config(request.param)
    levels = {level: build(c["model"], level) for level in (2, 3, 4)}
    states = {2: random_state(levels[2], c, seed=2).replace(images_seen=jnp.int32(7))}
    for level in (3, 4):
        fresh = random_state(levels[level], c, seed=level)
        zeros = {name: jax.tree.map(jnp.zeros_like, getattr(fresh, name)) for name in ("g_opt", "d_opt")}
        states[level] = growth.grow(states[level - 1], fresh.replace(**zeros), keep_moments=False)
    return c, levels, states


def random_state(gan, c, seed):
    """A state of the shapes that `create_state` gives; drawing it with JAX would take seconds to compile."""
    shapes = jax.eval_shape(lambda: create_state(gan, c, jax.random.key(0)))
    return tiny.filled(shapes.replace(key=None), seed)


def test_what_both_levels_have_is_kept_and_the_rest_is_new(grown):
    _, _, states = grown
    old, new = states[2].generator["params"], states[3].generator["params"]
    assert set(new) - set(old) == {"b16", "torgb16"}
    for name in old:
        jax.tree.map(np.testing.assert_array_equal, old[name], new[name])
    assert set(states[4].generator["params"]) == set(new) - {"torgb8"}
    assert set(states[4].discriminator["params"]) & {"fromrgb8", "fromrgb16"} == {"fromrgb16"}
    assert int(states[4].images_seen) == 7
    # The average gains the very leaves that the generator gains, and keeps its own.
    for part in ("b16", "torgb16"):
        jax.tree.map(np.testing.assert_array_equal, states[3].ema["params"][part], new[part])
    np.testing.assert_array_equal(states[3].ema["params"]["torgb8"]["bias"], states[2].ema["params"]["torgb8"]["bias"])


def test_optimisers_start_anew_or_go_on(grown):
    c, levels, states = grown
    assert all(not np.any(x) for x in jax.tree.leaves(states[3].g_opt))
    keep = c | {"growth": c["growth"] | {"optimizer": "keep"}}
    first, second = (random_state(levels[level], keep, seed=level) for level in (2, 3))
    first = first.replace(g_opt=jax.tree.map(jnp.ones_like, first.g_opt))
    second = second.replace(g_opt=jax.tree.map(jnp.zeros_like, second.g_opt))
    adam = growth.grow(first, second, keep_moments=True).g_opt[0]
    for tree in (adam.count, adam.mu, adam.nu):
        assert all(np.all(x == 1) for x in jax.tree.leaves(tree["torgb8"]))
        assert all(np.all(x == 0) for x in jax.tree.leaves(tree["b16"]))


def test_a_fade_starts_at_the_old_network_and_ends_at_the_new_one(grown):
    """On the grown states themselves, with the alpha that the buffers hold and with one that is given."""
    _, levels, states = grown
    z, images = jax.random.normal(jax.random.key(1), (4, 6)), jax.random.normal(jax.random.key(2), (4, 16, 16, 1))

    def generate(level, alpha):
        variables = states[level].generator
        if alpha is not None:
            variables = variables | {"buffers": variables["buffers"] | {"alpha": jnp.float32(alpha)}}
        return call(levels[level].generator, variables, z)

    def judge(level, x, **alpha):
        return call(levels[level].discriminator, states[level].discriminator, x, **alpha).logits

    np.testing.assert_allclose(generate(3, 0.0), nearest_upsample(generate(2, None)), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(generate(3, 1.0), generate(4, None))
    np.testing.assert_allclose(
        judge(3, images, alpha=jnp.float32(0)), judge(2, box_downsample(images)), rtol=1e-5, atol=1e-5
    )
    np.testing.assert_array_equal(judge(3, images, alpha=jnp.float32(1)), judge(4, images))
