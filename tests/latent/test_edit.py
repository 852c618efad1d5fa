"""Attributes and edits: directions, scores that are reached, what a mask leaves alone, layouts."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.errors import UserError
from jaxgan.latent import attributes, edit, equalise, maps, scores
from jaxgan.latent.spaces import kept_components, statistics, to_prior
from jaxgan.networks.gan import image_box
from tests.latent.test_maps import model, render
from tests.networks.test_spatial import assert_same, trained


@functools.cache
def random_w(count=3000):
    """(w [N, w_dim], whitened, a score of them that is linear in whitened w with noise)."""
    gan, generator, _, stats = model()
    z = jax.random.normal(jax.random.key(9), (count, gan.generator.z_dim))
    ws = jax.jit(lambda v, z: gan.generator.apply(v, z, method="map"))(generator, z)
    w = np.asarray(ws[:, 0])
    v = attributes.whitened(gan.generator, stats, w)
    noise = np.random.default_rng(0).standard_normal(count)
    return w, v, (5 + 2 * (0.8 * v[:, 0] - 0.6 * v[:, 1] + 0.1 * noise)).astype(np.float32)


@functools.cache
def fitted():
    _, v, score = random_w()
    return attributes.fit_linear(v, score, kept_components(model()[3]))


def some_ws(spatial=False):
    gan, generator, _, _ = model()
    z = jax.random.normal(jax.random.key(3), (2, gan.generator.z_dim))
    ws = gan.generator.apply(generator, z, method="map")
    return maps.resized(ws, (4, 4)) if spatial else ws


def test_a_linear_model_finds_the_direction():
    found = fitted()
    expected = np.array([0.8, -0.6]) / (1 + 0.01) ** 0.5
    np.testing.assert_allclose(found.normal[:2], expected, atol=0.03)
    assert np.abs(found.normal[2:]).max() < 0.03
    assert found.fit > 0.98
    assert (found.mean, found.deviation) == (pytest.approx(5, abs=0.2), pytest.approx(2, rel=0.1))


def test_a_small_network_learns_what_a_line_cannot():
    _, v, _ = random_w()
    kept = kept_components(model()[3])
    bent = np.abs(v[:, 0]) + 0.05 * v[:, 1]
    assert attributes.fit_linear(v, bent, kept).fit < 0.5
    network = attributes.fit_mlp(v, bent, kept, steps=600)
    assert network.fit > 0.9


def test_kept_attributes_do_not_change():
    _, v, _ = random_w()
    kept = kept_components(model()[3])
    other = attributes.fit_linear(v, v[:, 0], kept)
    left = attributes.without(fitted(), [other])
    assert abs(float(left.normal @ other.normal)) < 1e-5
    assert float(left.normal[1]) == pytest.approx(-0.6, abs=0.05)
    with pytest.raises(UserError, match="nothing is left"):
        attributes.without(other, [other])


def test_a_small_network_s_score_is_reached_within_a_mask():
    gan, _, _, stats = model()
    _, v, score = random_w()
    kept = kept_components(stats)
    network = attributes.fit_mlp(v, score, kept, steps=300)
    mask = np.zeros((16, 16), np.float32)
    mask[:, :8] = 1
    ws = some_ws(True)
    where = {"cells": edit.masks_of(ws, mask), "layers": range(1, 5)}
    now = edit.score(network, gan.generator, stats, ws, **where)
    wanted = now + jnp.asarray([0.7, -0.7])
    changed = edit.reach_score(network, gan.generator, stats, ws, wanted, kept=kept, weight=0.0, near=0.0, **where)
    np.testing.assert_allclose(edit.score(network, gan.generator, stats, changed, **where), wanted, atol=0.05)
    np.testing.assert_array_equal(changed[:, :, :, 2:], ws[:, :, :, 2:])
    np.testing.assert_array_equal(changed[:, 0], ws[:, 0])


@pytest.mark.parametrize("covered", [None, 8, 6])
def test_a_score_is_reached(covered):
    """By vectors, by maps in a mask of whole cells, and in one that covers some by half."""
    gan, _, _, stats = model()
    spatial = covered is not None
    ws, found = some_ws(spatial), fitted()
    cells = None
    if spatial:
        ws = ws + 0.3 * jax.random.normal(jax.random.key(5), ws.shape)
        mask = np.zeros((16, 16), np.float32)
        mask[:, :covered] = 1
        cells = edit.masks_of(ws, mask)
    where = {"cells": cells, "layers": range(1, 5)}
    changed = edit.set_score(found, gan.generator, stats, ws, 1.5, **where)
    np.testing.assert_allclose(edit.score(found, gan.generator, stats, changed, **where), 1.5, atol=1e-3)
    np.testing.assert_array_equal(changed[:, 0], ws[:, 0])  # a layer that takes no part
    np.testing.assert_array_equal(changed[:, 5:], ws[:, 5:])
    if spatial:
        np.testing.assert_array_equal(changed[:, :, :, 2:], ws[:, :, :, 2:])
        assert not np.allclose(changed[:, 1:5, :, :2], ws[:, 1:5, :, :2], atol=1e-3)
    near = edit.reach_score(
        found,
        gan.generator,
        stats,
        ws,
        jnp.asarray([1.5, 1.5]),
        kept=kept_components(stats),
        weight=0.0,
        near=0.0,
        **where,
    )
    np.testing.assert_allclose(edit.score(found, gan.generator, stats, near, **where), 1.5, atol=0.05)
    np.testing.assert_array_equal(near[:, 0], ws[:, 0])


def test_a_regulariser_holds_an_edit_back():
    gan, _, _, stats = model()
    ws, kept = some_ws(), kept_components(stats)
    far = [
        edit.reach_score(fitted(), gan.generator, stats, ws, 4.0, kept=kept, weight=weight, near=0.0)
        for weight in (0.0, 5.0)
    ]
    level = equalise.level(kept)
    free, held = (equalise.equalise(to_prior(gan.generator, stats, w)[..., :kept], level) for w in far)
    assert (held < free).all()


def test_everywhere_on_maps_is_the_edit_of_vectors():
    gan, generator, _, _ = model()
    ws = some_ws()
    direction = attributes.Direction(np.random.default_rng(0).standard_normal(6).astype(np.float32), "")
    plain = edit.shift(ws, direction, 1.5, layers=range(2))
    spread = edit.shift(some_ws(True), direction, 1.5, layers=range(2), cells=jnp.ones((4, 4, 1)))
    np.testing.assert_allclose(spread, maps.resized(plain, (4, 4)), atol=1e-6)
    space = maps.make("sw+:4", gan.generator)
    images = gan.generator.apply(generator, plain, method="synthesize")
    assert_same(render(space, generator, spread), images)
    stats, ones = model()[3], jnp.ones((4, 4, 1))
    plain = edit.set_score(fitted(), gan.generator, stats, ws, 2.0)
    spread = edit.set_score(fitted(), gan.generator, stats, some_ws(True), 2.0, cells=ones)
    np.testing.assert_allclose(spread, maps.resized(plain, (4, 4)), atol=1e-4)


def test_the_reach_of_layers():
    """4 - 3 / 2^U cells of the base grid, here of 16 px, and up to a cell of interpolation."""
    assert edit.reach(64, 16) == pytest.approx((4 - 3 / 2**4) * 16 + 16)
    assert edit.reach(64, 8) == pytest.approx((4 - 3 / 2**4) * 16 + 12)
    assert edit.reach(64, 8, range(8, 9)) == pytest.approx(3 + 5)  # the last convolution


@pytest.mark.parametrize("how", ["shift", "set_score", "reach_score"])
def test_a_mask_leaves_the_rest_alone(how):
    """Beyond the mask and what layers carry (section 11, test 7): here on a wide canvas, so that there is a beyond."""
    gan, generator, _, stats = model()
    wide = gan.generator.clone(base_shape=(4, 16))
    params = dict(generator["params"])
    blocks = dict(params["synthesis"])
    blocks["b4"] = dict(blocks["b4"]) | {"const": jnp.tile(blocks["b4"]["const"], (1, 4, 1))}
    variables = {"params": params | {"synthesis": blocks}, "buffers": generator["buffers"]}
    ws = maps.resized(some_ws()[:1], (4, 16))
    mask = np.zeros((16, 64), np.float32)
    mask[:, :8] = 1  # two base cells of 4 px
    cells = edit.masks_of(ws, mask, hard=True)
    direction = attributes.Direction(3 * np.ones(6, np.float32), "")
    changed = {
        "shift": lambda: edit.shift(ws, direction, 1.0, cells=cells),
        "set_score": lambda: edit.set_score(fitted(), gan.generator, stats, ws, 4.0, cells=cells),
        "reach_score": lambda: edit.reach_score(
            fitted(), gan.generator, stats, ws, 4.0, kept=kept_components(stats), weight=0.0, near=0.0, cells=cells
        ),
    }[how]()
    both = [np.asarray(wide.apply(variables, w, "none", method="synthesize")) for w in (ws, changed)]
    columns = np.flatnonzero(np.abs(both[1] - both[0])[0].max((0, 2)) > 1e-6)
    reach = (4 - 3 / 2**2) * 4  # two enlargements; maps are as fine as the base grid, so that nothing is interpolated
    assert columns.min() == 0
    assert columns.max() < 8 + reach
    assert both[0].shape[2] == 64


def test_a_mask_of_the_image_on_maps_with_a_margin():
    """The image is the middle of what the maps of a tiled generator cover."""
    generator, variables, z = trained()
    ws = generator.apply(variables, z[:1], method="map")
    mask = np.zeros((32, 32), np.float32)
    mask[:16] = 1  # two of the four rows of cells that are shown
    cells = edit.masks_of(ws, mask, image=image_box(generator))
    assert cells.shape == (12, 12, 1)
    wanted = np.zeros((12, 12))
    wanted[:6] = 1  # and the margin on that side
    np.testing.assert_allclose(cells[..., 0], wanted, atol=1e-5)
    shown = np.zeros((12, 12))
    shown[4:8, 4:8] = 1
    np.testing.assert_allclose(edit.shown_cells((12, 12), image_box(generator))[..., 0], shown, atol=1e-5)
    everywhere = edit.masks_of(ws, np.ones_like(mask), image=image_box(generator))
    np.testing.assert_allclose(everywhere, 1, atol=1e-5)
    direction = attributes.Direction(5 * np.ones(6, np.float32), "")
    images = [
        np.asarray(generator.apply(variables, w, "none", method="synthesize"))[0]
        for w in (ws, edit.shift(ws, direction, 1.0, cells=cells))
    ]
    change = np.abs(images[1] - images[0]).mean((1, 2))
    assert change[:16].mean() > 2 * change[24:].mean()
    np.testing.assert_allclose(edit.on_canvas((0, 0, 1, 0.5), image_box(generator)), (1 / 3, 1 / 3, 2 / 3, 1 / 2))
    assert edit.on_canvas((0.25, 0.5), image_box(model()[0].generator)) == (0.25, 0.5)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("kind", ["closed form", "optimised"])
def test_a_score_is_that_of_what_is_shown(kind, masked):
    """Cells of the margin move along, and do not count; in a mask each cell counts as much as it is covered."""
    generator, variables, z = trained()
    ws = generator.apply(variables, z[:2], method="map")
    stats = statistics(generator, variables)
    normal = np.random.default_rng(0).standard_normal(generator.w_dim).astype(np.float32)
    fitted = attributes.Linear(jnp.asarray(normal), jnp.float32(0.3), 0.0, 1.0, 1.0)
    seen = edit.shown_cells(ws.shape[2:4], image_box(generator))
    where = {"seen": seen}
    if masked:
        mask = np.zeros((32, 32), np.float32)
        mask[:12] = 1  # of the four rows of cells that are shown one and a half
        where["cells"] = edit.masks_of(ws, mask, image=image_box(generator))
    more = {} if kind == "closed form" else {"kept": generator.w_dim, "weight": 0.0, "near": 0.0}
    change = edit.set_score if kind == "closed form" else edit.reach_score
    changed = change(fitted, generator, stats, ws, 2.0, **where, **more)
    middle = changed[:, :, 4:8, 4:8]
    inner = {"cells": jnp.asarray([1, 0.5, 0, 0]).reshape(4, 1, 1) * jnp.ones((4, 4, 1))} if masked else {}
    np.testing.assert_allclose(edit.score(fitted, generator, stats, middle, **inner), 2.0, atol=0.05)
    assert np.abs(changed - ws)[:, :, 0].max() > 0


def test_masks():
    ws = some_ws(True)
    mask = np.zeros((16, 16), np.float32)
    mask[:6] = 1
    np.testing.assert_allclose(edit.masks_of(ws, mask)[:, 0, 0], [1, 0.5, 0, 0], atol=1e-6)
    np.testing.assert_array_equal(edit.masks_of(ws, mask, hard=True)[:, 0, 0], [1, 1, 0, 0])
    assert edit.masks_of(ws, None) is None
    with pytest.raises(UserError, match="covers no cell to a half"):
        edit.masks_of(ws, mask * np.eye(16, dtype=np.float32), hard=True)
    with pytest.raises(UserError, match="a mask needs maps"):
        edit.masks_of(some_ws(), mask)


def test_layouts():
    ws = jax.random.normal(jax.random.key(0), (2, 6, 8, 8, 6))
    pasted = edit.paste(ws, (0.0, 0.0, 0.5, 0.5), (0.5, 0.5))
    np.testing.assert_allclose(pasted[:, :, 5:8, 5:8], ws[:, :, 1:4, 1:4], atol=1e-5)
    np.testing.assert_allclose(pasted[:, :, :3], ws[:, :, :3], atol=1e-5)
    background = jnp.zeros((1, 6, 6))
    moved = edit.move(ws, (0.0, 0.0, 0.5, 0.5), (0.5, 0.5), background)
    np.testing.assert_allclose(moved[:, :, 1:3, 1:3], 0, atol=1e-5)
    np.testing.assert_allclose(moved[:, :, 5:8, 5:8], ws[:, :, 1:4, 1:4], atol=1e-5)
    tiled = edit.tile(ws, 2, 2)
    np.testing.assert_array_equal(tiled[:, :, :4, :4], tiled[:, :, 4:, 4:])
    np.testing.assert_allclose(edit.tile(ws, 1, 1), ws, atol=1e-6)
    part = edit.tile(ws, 2, 2, (0.25, 0.5, 0.75, 1.0))  # of as many cells as each copy gets
    np.testing.assert_allclose(part[:, :, 4:, :4], ws[:, :, 2:6, 4:], atol=1e-6)
    cells = jnp.asarray(edit.feathered((0, 0, 1, 0.5), (8, 8)))
    mixed = edit.blend(ws[:1], ws[1:], cells)
    np.testing.assert_allclose(mixed[:, :, :, :3], ws[1:, :, :, :3], atol=1e-6)
    np.testing.assert_allclose(mixed[:, :, :, 5:], ws[:1, :, :, 5:], atol=1e-6)
    for wrong, said in (
        (lambda: edit.tile(ws, 3, 2), "cannot be tiled"),
        (lambda: edit.paste(ws, (0.5, 0, 0.2, 1), (0, 0)), "is none"),
        (lambda: edit.tile(some_ws(), 2, 2), "needs maps"),
    ):
        with pytest.raises(UserError, match=said):
            wrong()


# Directions


def test_directions(tmp_path):
    gan, generator, _, _ = model()
    w, _, _ = random_w()
    first = attributes.principal(w, 0)
    along = (w - w.mean(0)) @ (first.rows / np.linalg.norm(first.rows))
    assert np.linalg.norm(first.rows) == pytest.approx(along.std(), rel=0.01)
    assert along.std() >= (w - w.mean(0)).std(0).max() * 0.99
    strongest = attributes.factor(generator, w, 0).rows
    weakest = attributes.factor(generator, w, 5).rows
    affine = np.asarray(generator["params"]["synthesis"]["b8"]["conv1"]["affine"]["weight"])
    unit = [d / np.linalg.norm(d) for d in (strongest, weakest)]
    assert np.linalg.norm(unit[0] @ affine) > np.linalg.norm(unit[1] @ affine)
    assert abs(float(unit[0] @ unit[1])) < 1e-5
    np.save(tmp_path / "d.npy", np.ones((1, 6)))
    assert attributes.from_file(str(tmp_path / "d.npy"), gan.generator).rows.shape == (6,)
    np.save(tmp_path / "d.npy", np.ones((2, 6)))
    with pytest.raises(UserError, match=r"holds \(2, 6\); a direction of this generator"):
        attributes.from_file(str(tmp_path / "d.npy"), gan.generator)
    with pytest.raises(UserError, match="cannot be read"):
        attributes.from_file(str(tmp_path / "none.npy"), gan.generator)
    with pytest.raises(UserError, match="components 0 to 5"):
        attributes.principal(w, 6)
    with pytest.raises(UserError, match="feed no convolution"):
        attributes.factor(generator, w, 0, range(5, 6))


# Scores


def test_scores_of_pixels():
    images = np.zeros((3, 32, 32, 3), np.uint8)
    images[1, 8:24, 14:18] = 255  # a tall figure
    images[2, 14:18, 4:28, 0] = 200  # a wide red one
    found = {name: scores.pixel_scorer(name, 3)(images) for name in scores.PIXEL_SCORES}
    assert found["brightness"][1] == pytest.approx(64 / 1024, rel=1e-3)
    assert found["height"][1] > found["width"][1]
    assert found["width"][2] > found["height"][2]
    assert found["red"][2] > 0 > found["blue"][2]
    assert found["size"][0] == 0
    assert found["size"][1] == pytest.approx(64 / 1024)
    assert all(np.isfinite(values).all() for values in found.values())
    with pytest.raises(UserError, match="needs colours"):
        scores.pixel_scorer("red", 1)
    with pytest.raises(UserError, match="is not known; use one of brightness"):
        scores.pixel_scorer("smile", 3)


def test_a_classifier():
    rng = np.random.default_rng(0)
    features = rng.standard_normal((600, 20)) * np.arange(1, 21)
    positive = features[:, 3] / 4 + 0.2 * rng.standard_normal(600) > 1.0
    fitted = scores.fit_classifier(features, positive)
    assert fitted.accuracy > 0.85
    logits = fitted(features)
    assert logits[positive].mean() > logits[~positive].mean() + 1
    with pytest.raises(UserError, match="needs 20 of each"):
        scores.fit_classifier(features[:50], np.arange(50) < 3)
