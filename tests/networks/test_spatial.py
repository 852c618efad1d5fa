"""Spatial latents: maps of ws on any StyleGAN2, and the generator that is trained on them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import config as configs
from jaxgan.errors import UserError
from jaxgan.networks import spatial, stylegan2
from jaxgan.networks.build import build, init
from jaxgan.networks.gan import draw_z, truncate
from jaxgan.networks.layers import convolution_3x3
from jaxgan.ops import enlarge
from jaxgan.ops.enlarge import FORMS, Enlargement
from jaxgan.ops.modulation import spatially_modulated_conv
from jaxgan.ops.resize import resize
from jaxgan.training import regularisers
from tests import tiny
from tests.networks.test_contracts import networks
from tests.tiny import call


@pytest.fixture(autouse=True)
def _full_precision():
    with jax.default_matmul_precision("highest"):
        yield


@functools.cache
def plain(architecture="stylegan2", resolution=32, base_shape=(4, 4), **how):
    """(generator, variables, random ws [2, num_ws, w_dim])."""
    gan, variables, _ = networks(architecture, resolution=resolution)
    generator = gan.generator.clone(base_shape=base_shape, **how)
    variables = tiny.filled(jax.eval_shape(lambda: generator.init(jax.random.key(0), jnp.zeros((1, 12)))), scale=0.3)
    return generator, variables, jax.random.normal(jax.random.key(1), (2, generator.num_ws, generator.w_dim))


@functools.partial(jax.jit, static_argnums=0)
def render(generator, variables, ws):
    return call(generator, variables, ws, method="synthesize")


def assert_same(a, b, tolerance=1e-4):
    np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * float(np.abs(b).max()))


def everywhere(ws, shape):
    """ws [B, num_ws, w_dim] as maps of a shape."""
    return jnp.broadcast_to(ws[:, :, None, None], (*ws.shape[:2], *shape, ws.shape[2]))


# A map that is the same everywhere is a vector (section 11, test 1)


@pytest.mark.parametrize("rule", ["centre", "window"])
@pytest.mark.parametrize("grid", [(1, 1), (3, 3), (8, 8), (4, 6)])
def test_constant_maps_give_the_image_of_the_vector(rule, grid):
    generator, variables, ws = plain()
    image = render(generator, variables, ws)
    spread = generator.clone(demodulation=rule)
    assert_same(render(spread, variables, everywhere(ws, grid)), image)
    rows = tuple(everywhere(ws[:, i : i + 1], grid)[:, 0] for i in range(generator.num_ws))
    mixed = tuple(row if i % 2 else ws[:, i] for i, row in enumerate(rows))
    assert_same(render(spread, variables, mixed), image)


@pytest.mark.parametrize("rule", ["centre", "window"])
def test_styles_after_the_affine_give_the_image_of_their_ws(rule):
    generator, variables, ws = plain(demodulation=rule)
    maps = jax.random.normal(jax.random.key(5), (2, generator.num_ws, 4, 4, generator.w_dim))
    for rows in (ws, maps):
        made = stylegan2.styles(generator, variables, rows)
        assert [s.shape[-1] for s in made] == [c for _, _, c in generator.style_shapes]
        image = call(generator, variables, rows, method="synthesize")
        assert_same(call(generator, variables, made, styled=True, method="synthesize"), image)
    spread = tuple(
        jnp.broadcast_to(s[:, None, None], (2, h, w, c))
        for s, (h, w, c) in zip(stylegan2.styles(generator, variables, ws), generator.style_shapes)
    )
    assert_same(
        call(generator, variables, spread, styled=True, method="synthesize"),
        call(generator, variables, ws, method="synthesize"),
    )


def test_an_oblong_generator_takes_oblong_maps():
    generator, variables, ws = plain(base_shape=(4, 6))
    image = call(generator, variables, ws, method="synthesize")
    assert image.shape == (2, 32, 48, 3)
    assert_same(call(generator, variables, everywhere(ws, (2, 3)), method="synthesize"), image)


@pytest.fixture(params=FORMS)
def form(request, monkeypatch):
    """Of maps at a layer's pixels, whatever the backend has."""
    monkeypatch.setattr(enlarge, "default_form", lambda *_: request.param)
    tiny.forget()
    yield request.param
    tiny.forget()


def test_half_precision_takes_maps(form):
    generator, variables, _ = plain()
    maps = jax.random.normal(jax.random.key(5), (2, generator.num_ws, 4, 4, generator.w_dim))
    half = generator.clone(dtype=jnp.bfloat16, low_precision_levels=4)
    full = call(generator, variables, maps, method="synthesize")
    near = call(half, variables, maps, method="synthesize")
    assert np.abs(near - full).mean() < 0.05 * np.abs(full).mean()


# Maps that differ


@functools.cache
def gradient_by_cell():
    generator, variables, _ = plain()
    maps = jax.random.normal(jax.random.key(2), (1, generator.num_ws, 4, 4, generator.w_dim))
    change = jax.grad(lambda maps: jnp.square(call(generator, variables, maps, method="synthesize")).sum())(maps)
    return np.asarray(change)


def test_every_cell_of_every_layer_is_used():
    assert np.abs(gradient_by_cell()).max(-1).min() > 1e-6


@pytest.mark.parametrize(("grid", "interpolation"), [(4, 0), (2, 1), (8, 0.5)])
def test_a_cell_reaches_no_further_than_the_layers_carry_it(grid, interpolation):
    """4 - 3 / 2^U base cells, and at most one of interpolation (section 11, test 3); U = 3 enlargements."""
    generator, variables, _ = plain()
    wide = generator.clone(base_shape=(16, 16))
    variables = variables | {"params": dict(variables["params"])}
    const = jnp.tile(variables["params"]["synthesis"]["b4"]["const"], (4, 4, 1))
    blocks = dict(variables["params"]["synthesis"])
    blocks["b4"] = dict(blocks["b4"]) | {"const": const}
    variables["params"]["synthesis"] = blocks
    maps = jax.random.normal(jax.random.key(2), (1, generator.num_ws, 4 * grid, 4 * grid, generator.w_dim))
    cell = 2 * grid  # one in the middle
    changed = maps.at[:, :, cell, cell].add(3.0)
    both = [np.asarray(call(wide, variables, m, "none", method="synthesize")) for m in (maps, changed)]
    where = np.abs(both[1] - both[0])[0].max(-1) > 1e-6
    low, high = (cell * 4 / grid, (cell + 1) * 4 / grid)
    reach = 4 - 3 / 2**3 + interpolation
    for axis in (0, 1):
        places = np.flatnonzero(where.any(axis)) / 8  # in base cells
        assert low - reach <= places.min()
        assert places.max() + 1 / 8 <= high + reach
        assert places.max() - places.min() > 4


@pytest.mark.parametrize(("rule", "rough", "low", "high"), [("centre", False, 0.75, 1.4), ("window", True, 0.9, 1.1)])
def test_what_leaves_a_layer_has_unit_variance(rule, rough, low, high):
    keys = jax.random.split(jax.random.key(0), 3)
    x, w = jax.random.normal(keys[0], (64, 16, 16, 32)), jax.random.normal(keys[1], (3, 3, 32, 24))
    styles = 1 + jax.random.normal(keys[2], (1, 16 if rough else 4, 16 if rough else 4, 32))
    styles = jnp.broadcast_to(styles, (64, *styles.shape[1:]))
    where = Enlargement((16, 16), (0, 0, 16, 16), "torch_bilinear")

    def made(styles):
        how = {"before": where, "after": where, "rule": rule}
        return spatially_modulated_conv(x, w, styles, convolution_3x3, **how)[:, 1:-1, 1:-1]

    y = made(styles)
    deviation = np.asarray(y).std((0, 3))
    assert low < deviation.min()
    assert deviation.max() < high
    # A factor for a whole sample is cancelled.
    np.testing.assert_allclose(made(7 * styles), y, atol=1e-3)


@pytest.mark.parametrize("filter", ["torch_bilinear", "nearest"])
def test_resizing_keeps_constants_and_commutes_with_the_affine(filter):
    constant = jnp.full((1, 3, 5, 2), 0.7)
    np.testing.assert_allclose(resize(constant, (24, 40), filter), np.full((1, 24, 40, 2), 0.7), rtol=2e-7)
    maps, matrix = jax.random.normal(jax.random.key(0), (1, 3, 5, 4)), jax.random.normal(jax.random.key(1), (4, 6))
    np.testing.assert_allclose(
        resize(maps @ matrix, (9, 15), filter), resize(maps, (9, 15), filter) @ matrix, atol=1e-5
    )
    whole = resize(maps, (9, 15), filter)
    np.testing.assert_allclose(resize(maps, (9, 15), filter, (2, 3, 4, 5)), whole[:, 2:6, 3:8], atol=1e-6)
    line = resize(jnp.arange(4.0)[None, :, None, None], (8, 1), "torch_bilinear")[0, :, 0, 0]
    np.testing.assert_allclose(line, [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3])


# The generator of maps


@functools.cache
def trained(resolution=32, base_shape=(4, 4), **changes):
    """(generator, variables, z) of a tiny generator of maps."""
    gan, _, _ = networks("spatial", resolution=resolution, **changes)
    generator = gan.generator.clone(base_shape=base_shape)
    shapes = jax.eval_shape(lambda: generator.init(jax.random.key(0), jnp.zeros((1, 12))))
    variables = tiny.filled(shapes, scale=0.3)
    variables["params"]["mapping"] = tiny.filled(variables["params"]["mapping"], seed=1, scale=100.0)
    return generator, variables, draw_z(generator, jax.random.key(3), 2)


def test_margins_are_those_of_the_reference():
    assert spatial.margins(64) == (4, (3, 3, 3, 2, 0))
    assert spatial.margins(8) == (3, (2, 0))
    assert spatial.shown((4, 4), 64, 0) == stylegan2.View((12, 12), (0, 0, 12, 12))
    assert spatial.shown((4, 4), 64, 4) == stylegan2.View((96, 96), (30, 30, 36, 36))


def test_what_is_shown_has_not_seen_the_border(form):
    """The image of progressive cuts is the middle of that of a larger canvas (section 11, test 9)."""
    generator, variables, _ = trained()
    wide = generator.clone(base_shape=(8, 8))
    z = draw_z(wide, jax.random.key(3), 1)  # of 16 cells; the middle 12 are those of the small one
    noise = [jax.random.normal(jax.random.key(i), (1, *s, 1)) for i, s in enumerate(wide.noise_shapes)]
    cut = [
        n[:, (n.shape[1] - h) // 2 :][:, :h, (n.shape[2] - w) // 2 :][:, :, :w]
        for n, (h, w) in zip(noise, generator.noise_shapes)
    ]

    def image(generator, z, noise):
        return call(
            generator, variables, call(generator, variables, z, method="map"), tuple(noise), method="synthesize"
        )

    whole = image(wide, z, noise)
    assert whole.shape == (1, 64, 64, 3)
    assert_same(image(generator, z[:, 2:-2, 2:-2], cut), whole[:, 16:48, 16:48])


def test_a_map_that_is_the_same_everywhere_is_flat():
    """Nothing tells a layer where it is."""
    generator, variables, z = trained()
    flat = np.asarray(call(generator, variables, z[:, 0, 0], noise="none"))
    assert_same(flat, np.broadcast_to(flat[:, :1, :1], flat.shape), 1e-5)
    same = jnp.broadcast_to(z[:, :1, :1], z.shape)
    assert_same(call(generator, variables, same, noise="none"), flat)
    assert call(generator, variables, z, noise="none").std((1, 2)).min() > 1e-3


def test_constant_base_is_stylegan2():
    generator, variables, _ = trained(base="constant")
    assert generator.z_shape == (4, 4, 12)
    assert generator.noise_shapes == stylegan2.Generator.noise_shapes.fget(generator)
    z = draw_z(generator, jax.random.key(0), 2)
    ordinary = stylegan2.Generator(
        **{
            name: getattr(generator, name)
            for name in stylegan2.Generator.__dataclass_fields__
            if name not in ("parent", "name")
        }
    )
    ours, theirs = (call(g, variables, z[:, 0, 0]) for g in (generator, ordinary))
    assert_same(ours, theirs, 1e-6)
    assert call(generator, variables, z).shape == (2, 32, 32, 3)


def test_truncation_and_path_lengths_of_maps():
    generator, variables, z = trained(resolution=16)
    ws = call(generator, variables, z, method="map")
    assert ws.shape == (2, generator.num_ws, *generator.grid, 6)
    mean = jnp.ones(6)
    cut = truncate(generator, mean, ws, 0.5, 2)
    np.testing.assert_allclose(cut[:, :2], 0.5 * (ws[:, :2] + 1), rtol=1e-5)
    np.testing.assert_array_equal(cut[:, 2:], ws[:, 2:])
    # By an offset of the whole map: for a constant one the ordinary value (section 11, test 10).
    vector = call(generator, variables, z[:, 0, 0], method="map")
    noise = jax.random.normal(jax.random.key(1), (2, 16, 16, 3)) / 16

    def lengths(ws):
        return regularisers.path_lengths(lambda ws: call(generator, variables, ws, method="synthesize"), ws, noise)

    np.testing.assert_allclose(lengths(everywhere(vector, generator.grid)), lengths(vector), rtol=1e-4)


def test_what_is_refused():
    model = configs.common.spatial().model.to_dict() | {"resolution": 32, "channels": 3, "base_shape": (4, 4)}
    model |= {"dtype": "float32", "channel_base": 512, "mbstd_group": 4}
    with pytest.raises(UserError, match="shares that come to 1"):
        build(model | {"global_share": 0.5})
    with pytest.raises(UserError, match="maps of z have no class"):
        build(model | {"num_classes": 3})
    with pytest.raises(UserError, match="base='flat' is not supported; use tiled or constant"):
        build(model | {"base": "flat"})
    gan = build(model)
    shapes = jax.eval_shape(functools.partial(init, gan), jax.random.key(0))[0]
    assert shapes["params"]["synthesis"]["b4"]["const"].shape == (1, 1, 128)
