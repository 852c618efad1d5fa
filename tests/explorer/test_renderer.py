"""Scenes are what `jaxgan sample` and the latents' own functions make; batches and masks change nothing else."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.errors import UserError
from jaxgan.experiment import Model, seeds_to_z
from jaxgan.explorer.arcs import code_dim, code_of, moved_by
from jaxgan.explorer.directions import find, rows_of
from jaxgan.explorer.renderer import Renderer
from jaxgan.explorer.scene import GRID, Mix, Part, Realism, Region, Scene
from jaxgan.latent.attributes import Direction
from jaxgan.latent.spaces import from_prior
from jaxgan.metrics.fakes import quantised
from jaxgan.ops.sphere import to_sphere
from tests import tiny
from tests.explorer.serving import make_model
from tests.networks.test_contracts import networks


@functools.cache
def small():
    model = make_model()
    rng = np.random.default_rng(0)
    rows = {name: Direction(rng.standard_normal(model.gan.generator.w_dim).astype(np.float32), "") for name in "ab"}
    return model, rows, Renderer(model, rows, batch=4)


def pictures(*scenes):
    renderer = small()[2]
    return renderer.pictures(renderer.latents(scenes)).astype(int)


def by_hand(ws):
    model = small()[0]
    return np.asarray(quantised(model.synthesize(ws))).astype(int)


def ws_of(*seeds, psi=1.0):
    model = small()[0]
    return model.map(jnp.asarray(seeds_to_z(list(seeds), model.gan.generator)), truncation_psi=psi)


def assert_same(found, wanted):
    assert np.abs(found - wanted).max() <= 1
    assert (found != wanted).mean() < 0.01


def test_seeds_are_those_of_sample():
    scenes = [Scene(seed=s, psi=0.7) for s in (3, 1, 4, 1, 5, 9)]  # more than a batch, one of them twice
    assert_same(pictures(*scenes), by_hand(ws_of(3, 1, 4, 1, 5, 9, psi=0.7)))


def test_mixing_moves_and_codes():
    rows = small()[1]
    ws = ws_of(1, 2)
    mixed = jnp.where(jnp.arange(ws.shape[1])[:, None] < 2, ws[1], ws[0])
    moved = ws[0] + jnp.where(jnp.arange(ws.shape[1])[:, None] < 3, 2.0 * rows["a"].rows - rows["b"].rows, 0)
    found = pictures(
        Scene(seed=1, mix=Mix(2, 0, 2)),
        Scene(seed=1, moves={"a": 2.0, "b": -1.0}, layers=(0, 3)),
        Scene(ws=np.asarray(mixed)),
    )
    assert_same(found, by_hand(jnp.stack([mixed, moved, mixed])))


def test_the_arc_of_realism():
    model = small()[0]
    x, p = (np.asarray(v) for v in seeds_to_z([1, 2], model.gan.generator))
    dim = len(x)
    ends = [v * np.sqrt(dim) / np.linalg.norm(v) for v in (x, p)]
    found = pictures(*(Scene(realism=Realism(x, p, s)) for s in (0.0, 1.0)))
    assert_same(found, by_hand(model.map(jnp.asarray(np.stack(ends), jnp.float32))))


def test_a_photograph_moves_along_the_arc_of_its_code():
    model, _, renderer = small()
    generator, stats = model.gan.generator, renderer.statistics
    ws = np.asarray(ws_of(1, 2)).copy()
    photo = np.where(np.arange(ws.shape[1])[:, None] < 2, ws[0], ws[1])
    code = np.asarray(code_of(generator, stats, photo))
    np.testing.assert_allclose(from_prior(generator, stats, code[None, None])[0, 0], photo.mean(0), atol=1e-4)
    x, p = (np.asarray(to_sphere(v)) for v in (code, np.random.default_rng(0).standard_normal(len(code))))
    still, far = pictures(*(Scene(ws=photo, realism=Realism(x, p, s)) for s in (0.0, 1.0)))
    assert_same(still[None], pictures(Scene(ws=photo)))
    start, end = np.asarray(from_prior(generator, stats, np.stack([x, p])[:, None]))[:, 0]
    assert_same(far[None], by_hand(jnp.asarray(photo + end - start)[None]))


@pytest.mark.parametrize("classes", [0, 3])
def test_without_a_mapping_network_a_photograph_s_code_is_its_z(classes):
    generator = networks("pggan", classes)[0].generator
    assert code_dim(generator) == generator.z_dim
    ws = np.random.default_rng(0).standard_normal((1, generator.w_dim)).astype(np.float32)
    code = code_of(generator, None, ws)
    np.testing.assert_array_equal(code, ws[0, : generator.z_dim])
    x, p = to_sphere(code), to_sphere(-code[::-1])
    step = np.asarray(moved_by(generator, None, x, p, 1.0))
    np.testing.assert_allclose(step[: generator.z_dim], p - x, atol=1e-4)
    assert not step[generator.z_dim :].any()


def test_a_region_shows_another_seed_there_and_only_there():
    mask = np.zeros((GRID, GRID), np.float32)
    everywhere = pictures(Scene(seed=1, regions=(Region(np.ones_like(mask), 2, {}),)))[0]
    one, two = pictures(Scene(seed=1), Scene(seed=2))
    assert_same(everywhere[None], two[None])
    mask[:, : GRID // 2] = 1
    half = pictures(Scene(seed=1, regions=(Region(mask, 2, {}),)))[0]
    assert np.abs(half - two)[:, :3].mean() < 0.2 * np.abs(half - one)[:, :3].mean()
    assert np.abs(half - one)[:, -3:].mean() < 0.2 * np.abs(half - two)[:, -3:].mean()
    moved = pictures(Scene(seed=1, regions=(Region(np.ones_like(mask), None, {"a": 2.0}),)))
    assert_same(moved, pictures(Scene(seed=1, moves={"a": 2.0})))


def test_parts_are_copied_by_whole_cells():
    """A region on the left half is on the right half too where its part is copied there."""
    mask = np.zeros((GRID, GRID), np.float32)
    mask[:, : GRID // 2] = 1
    region, part = Region(mask, 2, {}), Part((0.0, 0.0, 1.0, 0.5), (0.0, 0.5))
    renderer = small()[2]
    alone, copied = renderer.latents(
        [Scene(seed=1, regions=(region,)), Scene(seed=1, regions=(region,), parts=(part,))]
    )
    one, two = (np.asarray(ws)[:, None] for ws in ws_of(1, 2))
    np.testing.assert_allclose(alone.ws[:, :, -1], one.repeat(GRID, 1), atol=1e-5)
    np.testing.assert_allclose(copied.ws[:, :, -2], two.repeat(GRID, 1), atol=1e-5)
    np.testing.assert_allclose(copied.ws[:, :, 0], two.repeat(GRID, 1), atol=1e-5)


def test_a_moved_part_leaves_the_mean_and_a_blended_one_what_was_there():
    mask = np.zeros((GRID, GRID), np.float32)
    mask[:, : GRID // 2] = 1
    region, box, to = Region(mask, 2, {}), (0.0, 0.0, 1.0, 0.25), (0.0, 0.75)
    renderer = small()[2]
    parts = (Part(box, to), Part(box, to, moved=True), Part(box, to, blend=0.25))
    copied, moved, blended = (
        np.asarray(latent.ws)
        for latent in renderer.latents([Scene(seed=1, regions=(region,), parts=(part,)) for part in parts])
    )
    one, two = (np.asarray(ws)[:, None] for ws in ws_of(1, 2))
    mean = np.broadcast_to(np.asarray(renderer.model.w_avg), one.shape)
    for found, left, right in (
        (copied, two, two),
        (moved, mean, two),
        (blended, two, 0.25 * two + 0.75 * one),
    ):
        np.testing.assert_allclose(found[:, :, 0], left.repeat(GRID, 1), atol=1e-5)
        np.testing.assert_allclose(found[:, :, -2], right.repeat(GRID, 1), atol=1e-5)
    np.testing.assert_allclose(moved[:, :, GRID // 2 - 2], copied[:, :, GRID // 2 - 2], atol=1e-5)  # beside the box


def test_an_eqgan_has_places_heat_and_attention():
    gan, generator, discriminator = networks("eqgan")
    config = make_model().config
    variables = {"generator": generator, "discriminator": discriminator}
    model = Model(gan, config, jax.tree.map(jnp.asarray, variables), jnp.zeros(gan.generator.w_dim), 0)
    renderer = Renderer(model, {}, batch=2)
    (own,) = renderer.latents([Scene(seed=3)])
    place = own.extras.copy()
    place[:2] = [0.5, -0.5]
    (moved,) = renderer.latents([Scene(seed=3, place=place)])
    np.testing.assert_array_equal(moved.extras, place)
    assert moved.ws is own.ws  # kept: nothing is mapped again
    heat = renderer.heat(moved, 0)
    np.testing.assert_allclose(np.unravel_index(heat.argmax(), heat.shape), (23.25, 7.75), atol=1.5)
    with pytest.raises(UserError, match="three levels"):
        renderer.heat(moved, 3)
    seen = renderer.attention(Scene(seed=3), moved, renderer.features[0], "fake")
    assert seen.shape == (32, 32)
    with pytest.raises(UserError, match="no attention of 'b99'"):
        renderer.attention(Scene(seed=3), moved, "b99", "fake")


def test_attention_is_of_the_scene_s_class():
    """The discriminator is asked about the class that the picture was made of: the seed's own, or the chosen one."""
    gan, generator, discriminator = networks("stylegan2", 3)
    params = discriminator["params"]
    discriminator = discriminator | {"params": params | {"mapping": tiny.filled(params["mapping"], scale=100.0)}}
    variables = jax.tree.map(jnp.asarray, {"generator": generator, "discriminator": discriminator})
    model = Model(gan, make_model().config, variables, jnp.zeros(gan.generator.w_dim), 0)
    renderer = Renderer(model, {}, batch=2)
    (latent,) = renderer.latents([Scene(seed=4)])  # of class 1
    own, same, other = (
        np.stack([renderer.attention(Scene(seed=4, label=label), latent, f, "fake") for f in renderer.features])
        for label in (None, 1, 2)
    )
    np.testing.assert_array_equal(own, same)
    assert (own != other).any()


@pytest.mark.parametrize("architecture", ["dcgan", "pggan", "stylegan", "biggan", "spatial"])
def test_every_architecture_is_shown(architecture):
    gan, generator, discriminator = networks(architecture)
    variables = jax.tree.map(jnp.asarray, {"generator": generator, "discriminator": discriminator})
    model = Model(gan, make_model().config, variables, jnp.zeros(gan.generator.w_dim), 0)
    renderer = Renderer(model, {}, batch=2)
    found = renderer.pictures(renderer.latents([Scene(seed=s) for s in (0, 1, 2)]))
    assert found.shape == (3, *gan.generator.image_shape)
    assert (found[0] != found[1]).any()
    assert renderer.facts.coded == (architecture != "spatial")


def test_directions_are_in_deviations_and_say_what_they_are():
    model = make_model()
    found = find(model)
    assert {"pca:0", "sefa:0"} <= set(found)
    ws = model.map(jnp.asarray(np.random.default_rng(0).standard_normal((2000, 8), np.float32)))[:, 0]
    first = found["pca:0"].rows
    along = np.asarray(ws @ (first / np.linalg.norm(first)))
    assert along.std() == pytest.approx(np.linalg.norm(first), rel=0.15)
    with pytest.raises(UserError, match="cannot be read"):
        find(model, ["nowhere.npy"])


@pytest.mark.parametrize("architecture", ["dcgan", "pggan", "biggan"])
def test_without_a_mapping_network_directions_are_those_of_z(architecture):
    gan, generator, _ = networks(architecture, 3 if architecture == "biggan" else 0)
    model = Model(
        gan, make_model().config, {"generator": jax.tree.map(jnp.asarray, generator)}, jnp.zeros(gan.generator.w_dim), 0
    )
    found = find(model)
    assert {"z:0", "z:1"} <= set(found)
    assert not {name for name in found if name.startswith(("pca", "sefa"))}
    # A step of ws is one of z, and leaves the class.
    z = jax.random.normal(jax.random.key(0), (2, gan.generator.z_dim))
    labels = jnp.array([1, 2]) if gan.generator.num_classes else None
    first = rows_of(found["z:0"], gan.generator.num_ws)
    assert 0.7 < np.linalg.norm(first) < 1.4  # a deviation of random z
    solved = np.linalg.lstsq(
        np.asarray(_linear_map(model)).reshape(gan.generator.z_dim, -1).T, first.ravel(), rcond=None
    )
    np.testing.assert_allclose(model.map(z + solved[0], labels), np.asarray(model.map(z, labels)) + first, atol=1e-4)


def _linear_map(model):
    """The ws [z_dim, num_ws, w_dim] that each number of z moves."""
    generator = model.gan.generator
    labels = jnp.zeros(1, jnp.int32) if generator.num_classes else None
    jacobian = jax.jacobian(lambda z: model.map(z[None], labels)[0])(jnp.zeros(generator.z_dim))
    return jnp.moveaxis(jacobian, -1, 0)
