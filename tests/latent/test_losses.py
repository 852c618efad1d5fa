"""Terms of the latent losses: their formulas, what masks hide, and gradients that stay numbers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.latent import losses


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def pictures(seed, *shape):
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def blob(*shape):
    """A mask with zeros, ones and a soft edge, another for every image."""
    mask = np.zeros((*shape, 1), np.float32)
    for i, m in enumerate(mask):
        m[2 : 7 + i, 1:6] = 1
        m[7 + i, 1:6] = 0.25
    return mask


def maps(seed, batch=3):
    return {"conv_1": normal(seed, batch, 8, 8, 4), "conv_3": normal(seed + 1, batch, 5, 5, 6)}


def ones_like_masks(features):
    return {k: np.ones((*x.shape[:3], 1), np.float32) for k, x in features.items()}


# Every term as a function of one batch of arrays, for what holds of all of them.
IMAGES, TARGET, MASK = pictures(0, 3, 16, 16, 3), pictures(1, 3, 16, 16, 3), blob(3, 16, 16)
MASKS = {"conv_1": losses.pooled_mask(MASK, (8, 8)), "conv_3": losses.pooled_mask(MASK, (5, 5))}
GRAMS = losses.gram(maps(12))
TERMS = {
    "l1": (losses.l1, (IMAGES, TARGET)),
    "l1 masked": (losses.l1, (IMAGES, TARGET, MASK)),
    "l2": (losses.l2, (IMAGES, TARGET)),
    "l2 masked": (losses.l2, (IMAGES, TARGET, MASK)),
    "feature_l2": (losses.feature_l2, (maps(10), maps(12))),
    "feature_l2 masked": (losses.feature_l2, (maps(10), maps(12), MASKS)),
    "gram_l2": (losses.gram_l2, (maps(10), GRAMS)),
    "gram_l2 masked": (losses.gram_l2, (maps(10), losses.gram(maps(12), MASKS), MASKS)),
    "hog_l2": (functools.partial(losses.hog_l2, cell=4), (IMAGES, losses.hog(TARGET, 4), None)),
    "hog_l2 masked": (functools.partial(losses.hog_l2, cell=4), (IMAGES, losses.hog(TARGET, 4), MASK)),
    "noise_regulariser": (losses.noise_regulariser, ((normal(2, 3, 4, 4, 1), normal(3, 3, 32, 32, 1)),)),
    "realism": (losses.realism, (np.float32([-3, 0, 5]),)),
    "squared_distance": (losses.squared_distance, (normal(4, 3, 5, 7), normal(5, 3, 5, 7))),
    "norm_distance": (losses.norm_distance, (normal(4, 3, 5, 7), normal(5, 3, 5, 7))),
    "spread": (losses.spread, (normal(6, 3, 5, 7),)),
}


@pytest.mark.parametrize("name", TERMS)
def test_one_number_an_image_whatever_its_neighbours(name):
    term, arguments = TERMS[name]
    term = jax.jit(term)
    found = term(*arguments)
    assert found.shape == (3,)
    assert found.dtype == jnp.float32
    assert len(np.unique(found)) == 3
    order = np.array([2, 0, 1])
    permuted = term(*jax.tree.map(lambda x: x[order], arguments))
    np.testing.assert_allclose(permuted, found[order], rtol=1e-5)
    alone = term(*jax.tree.map(lambda x: x[1:2], arguments))
    np.testing.assert_allclose(alone, found[1:2], rtol=1e-5)


@pytest.mark.parametrize("name", TERMS)
def test_gradients_are_numbers_everywhere(name):
    """At random points, at zeros and where both sides agree; there every distance is 0 and so is its gradient."""
    term, arguments = TERMS[name]

    @jax.jit
    def both(first, rest):
        return jax.value_and_grad(lambda x: term(x, *rest).sum())(first)

    def finite(tree):
        return all(np.isfinite(x).all() for x in jax.tree.leaves(tree))

    first, rest = arguments[0], arguments[1:]
    value, gradient = both(first, rest)
    assert finite((value, gradient))
    assert any((x != 0).any() for x in jax.tree.leaves(gradient))
    zeros = jax.tree.map(np.zeros_like, (first, rest))
    assert finite(both(*zeros))
    same = {"l1", "l2", "feature_l2", "squared_distance", "norm_distance"}
    if name.split()[0] in same:
        value, gradient = both(first, (first, *rest[1:]))
        assert value == 0
        assert all((x == 0).all() for x in jax.tree.leaves(gradient))


def test_pixel_losses_are_means_over_what_the_mask_shows():
    difference = np.abs(IMAGES.astype(np.float64) - TARGET)
    for term, x in ((losses.l1, difference), (losses.l2, difference**2)):
        np.testing.assert_allclose(term(IMAGES, TARGET), x.mean((1, 2, 3)), rtol=1e-5)
        expected = (MASK * x).sum((1, 2, 3)) / (3 * MASK.sum((1, 2, 3)) + 1e-5)
        np.testing.assert_allclose(term(IMAGES, TARGET, MASK), expected, rtol=1e-5)
        np.testing.assert_allclose(term(IMAGES, TARGET, np.ones_like(MASK)), term(IMAGES, TARGET), rtol=1e-5)
        np.testing.assert_array_equal(term(IMAGES, TARGET, np.zeros_like(MASK)), 0)
    # A weight means the same for one pixel as for all.
    far = np.full_like(IMAGES, 0.5)
    dot = np.zeros_like(MASK)
    dot[:, 3, 4] = 1
    np.testing.assert_allclose(losses.l1(far, np.zeros_like(far), dot), 0.5, rtol=1e-4)


@pytest.mark.parametrize("name", ["l1", "l2", "feature_l2"])
@pytest.mark.parametrize("loud", [1e3, 1e30, np.nan])
def test_what_the_mask_hides_counts_for_nothing(name, loud):
    """The target's numbers there change no bit of value or gradient."""
    if name == "feature_l2":
        x, y, hidden = maps(10), maps(12), {k: np.asarray(m) == 0 for k, m in MASKS.items()}
        assert all(h.any() for h in hidden.values())
        shouting = {k: np.where(hidden[k], np.float32(loud), y[k]) for k in y}
        call = functools.partial(losses.feature_l2, masks=MASKS)
    else:
        x, y = IMAGES, TARGET
        shouting = np.where(MASK == 0, np.float32(loud), y)
        call = functools.partial(getattr(losses, name), mask=MASK)
    both = jax.jit(jax.value_and_grad(lambda x, y: call(x, y).sum()))
    for found, expected in zip(jax.tree.leaves(both(x, shouting)), jax.tree.leaves(both(x, y))):
        np.testing.assert_array_equal(found, expected)


def test_masked_features():
    x, y = maps(10), maps(12)
    assert MASKS["conv_3"].shape == (3, 5, 5, 1)
    np.testing.assert_allclose(
        losses.feature_l2(x, y), sum(np.square(x[k] - y[k]).mean((1, 2, 3)) for k in x), rtol=1e-5
    )
    np.testing.assert_allclose(losses.feature_l2(x, y, ones_like_masks(x)), losses.feature_l2(x, y), rtol=1e-5)
    assert losses.feature_l2(x, {"conv_3": y["conv_3"]}).shape == (3,)  # the target says which maps count
    with pytest.raises(KeyError):  # not silently without a mask
        losses.feature_l2(x, y, {"conv_3": MASKS["conv_3"]})


@pytest.mark.parametrize("size", [(8, 8), (5, 5), (9, 17), (16, 16), (1, 1)])
def test_pooled_masks(size):
    found = losses.pooled_mask(MASK, size)
    assert found.shape == (3, *size, 1)
    assert float(found.min()) >= 0
    assert float(found.max()) <= 1 + 1e-6
    np.testing.assert_allclose(losses.pooled_mask(np.ones_like(MASK), size), 1, rtol=1e-6)
    if 16 % size[0] == 0 and 16 % size[1] == 0:
        h, w = 16 // size[0], 16 // size[1]
        expected = MASK.reshape(3, size[0], h, size[1], w, 1).mean((2, 4))
        np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(losses.pooled_mask(MASK > 0.5, size), losses.pooled_mask(np.round(MASK), size))


def test_gram_matrices():
    features = maps(10)
    found, masked = losses.gram(features), losses.gram(features, MASKS)
    for name, x in features.items():
        f = x.astype(np.float64).reshape(3, -1, x.shape[-1])
        m = np.asarray(MASKS[name], np.float64).reshape(3, -1)
        for i in range(3):
            np.testing.assert_allclose(found[name][i], f[i].T @ f[i] / f[i].size, rtol=1e-4, atol=1e-6)
            expected = f[i].T @ np.diag(m[i]) @ f[i] / (x.shape[-1] * m[i].sum() + 1e-5)
            np.testing.assert_allclose(masked[name][i], expected, rtol=1e-4, atol=1e-6)
    for a, b in zip(found.values(), losses.gram(features, ones_like_masks(features)).values()):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


def test_texture_knows_no_places_and_stays_inside_the_mask():
    features = maps(10)
    grams = losses.gram(features)
    rolled = {k: np.roll(x, (1, 2), (1, 2)) for k, x in features.items()}
    np.testing.assert_allclose(losses.gram_l2(rolled, grams), 0, atol=1e-10)
    expected = sum(np.square(GRAMS[k] - grams[k]).mean((1, 2)) for k in grams)
    np.testing.assert_allclose(losses.gram_l2(features, GRAMS), expected, rtol=1e-4)
    masked = losses.gram(features, MASKS)
    shouting = {k: np.where(np.asarray(MASKS[k]) == 0, 1e3, x).astype(np.float32) for k, x in features.items()}
    np.testing.assert_allclose(losses.gram_l2(shouting, masked, MASKS), 0, atol=1e-10)
    assert (losses.gram_l2(shouting, grams) > 1e3).all()
    # Grams of half the region are those of the whole, if the texture is the same.
    same = {"m": np.tile(normal(20, 3, 4, 4, 5), (1, 2, 1, 1))}
    half = np.zeros((3, 8, 4, 1), np.float32)
    half[:, :4] = 1
    np.testing.assert_allclose(losses.gram_l2(same, losses.gram(same), {"m": half}), 0, atol=1e-10)


def numpy_hog(image, cell):
    """iGAN's descriptor of one image [H, W, C] in [-1, 1], pixel by pixel."""
    grey = ((image.astype(np.float64) + 1) / 2).mean(-1)
    height, width = grey.shape
    padded = np.pad(grey, 1, mode="edge")
    sobel = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]) / 4
    a = np.cos(np.pi / 8)
    kept = np.zeros((height, width, 8))
    for r in range(height):
        for c in range(width):
            patch = padded[r : r + 3, c : c + 3]
            length = np.sqrt((patch * sobel).sum() ** 2 + (patch * sobel.T).sum() ** 2 + 1e-3)
            for i in range(8):
                theta = np.pi * i / 8
                response = abs((patch * (np.cos(theta) * sobel + np.sin(theta) * sobel.T)).sum())
                kept[r, c, i] = max(0, response / (1 - a) - a / (1 - a) * length)
    line = 1 - np.abs((np.arange(1, 2 * cell + 1) - (2 * cell + 1) / 2) / cell)
    window = np.outer(line, line)[..., None] / cell**2
    edge = cell // 2
    kept = np.pad(kept, ((edge, edge), (edge, edge), (0, 0)))
    rows, columns = ((n + 2 * edge - 2 * cell) // cell + 1 for n in (height, width))
    return np.array(
        [
            [(kept[cell * i :, cell * j :][: 2 * cell, : 2 * cell] * window).sum((0, 1)) for j in range(columns)]
            for i in range(rows)
        ]
    )


@pytest.mark.parametrize(("shape", "cell"), [((16, 24, 3), 4), ((16, 16, 1), 8), ((15, 13, 3), 3), ((64, 64, 1), 8)])
def test_hog_by_hand(shape, cell):
    """Noise and, where responses are kept, a steep ramp."""
    steep = np.clip(np.add.outer(np.arange(shape[0]), 2.0 * np.arange(shape[1])) / 10 - 1.5, -1, 1)
    images = np.stack([pictures(30, *shape), np.repeat(steep[..., None], shape[2], -1).astype(np.float32)])
    found = jax.jit(losses.hog, static_argnums=1)(images, cell)
    expected = np.stack([numpy_hog(x, cell) for x in images])
    assert expected.max() > 0.05
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5)


def test_hog_sees_orientations():
    """A gradient along x is orientation 0, one along y orientation 4, the diagonals 2 and 6; flat images have none."""
    at = np.linspace(-1, 1, 32)
    x, y = np.meshgrid(at, at)
    images = np.stack([x, y, (x + y) / 2, (y - x) / 2, -x, 0 * x + 1])[..., None].astype(np.float32)
    images[:5] = np.sign(images[:5])
    found = losses.hog(images, 4)
    assert found.shape == (6, 8, 8, 8)
    assert list(np.argmax(found.sum((1, 2)), -1)[:5]) == [0, 4, 2, 6, 0]
    np.testing.assert_allclose(found[4], found[0], atol=1e-6)  # the sign of a contrast does not count
    np.testing.assert_array_equal(found[5], 0)  # white, at the border too
    # Where an image is clear, what colour stands there does not count: alpha is composited on white.
    clear = np.concatenate([pictures(31, 1, 32, 32, 3), np.full((1, 32, 32, 1), -1, np.float32)], -1)
    np.testing.assert_array_equal(losses.hog(clear, 4), 0)


def test_hog_far_from_the_strokes_does_not_matter():
    images, target = pictures(32, 2, 32, 32, 3), pictures(33, 2, 32, 32, 3)
    mask = np.zeros((2, 32, 32, 1), np.float32)
    mask[:, :4, :4] = 1
    other = images.copy()
    other[:, 16:, 16:] *= -0.5
    found, also = (losses.hog_l2(x, losses.hog(target, 4), mask, 4) for x in (images, other))
    assert (found > 0).all()
    np.testing.assert_array_equal(found, also)
    np.testing.assert_array_equal(losses.hog_l2(target, losses.hog(target, 4), mask, 4), 0)
    whole = losses.hog_l2(images, losses.hog(target, 4), None, 4)
    expected = np.square(losses.hog(images, 4) - losses.hog(target, 4)).mean((1, 2, 3))
    np.testing.assert_allclose(whole, expected, rtol=1e-5)
    # Twice the strokes over the same difference weigh as much: divided by the area.
    double = np.zeros_like(mask)
    double[:, :, :8] = 1
    line = np.zeros_like(mask)
    line[:, :, 2:6] = 1
    ramp = np.broadcast_to(np.sign(np.arange(32) - 3.5)[None, None, :, None], (2, 32, 32, 1)).astype(np.float32)
    flat = losses.hog(np.zeros_like(ramp), 4)
    a, b = (float(losses.hog_l2(ramp, flat, m, 4)[0]) for m in (double, line))
    assert 0.5 < a / b < 2


def numpy_noise(n):
    """NVIDIA's projector on one map [H, W], and the number of its scales."""
    n, total, scales = n.astype(np.float64), 0.0, 0
    while True:
        total += (n * np.roll(n, 1, 1)).mean() ** 2 + (n * np.roll(n, 1, 0)).mean() ** 2
        scales += 1
        if n.shape[0] <= 8:
            return total, scales
        n = (n[::2, ::2] + n[1::2, ::2] + n[::2, 1::2] + n[1::2, 1::2]) / 4


@pytest.mark.parametrize(("side", "scales"), [(1, 1), (4, 1), (8, 1), (16, 2), (64, 4)])
def test_the_noise_pyramid(side, scales):
    n = normal(40, 3, side, side, 1) + 0.3
    expected = [numpy_noise(x[..., 0]) for x in n]
    assert {s for _, s in expected} == {scales}
    np.testing.assert_allclose(losses.noise_regulariser((n,)), [t for t, _ in expected], rtol=1e-4)
    ones = np.ones((2, side, side, 1), np.float32)
    np.testing.assert_allclose(losses.noise_regulariser((ones,)), 2 * scales, rtol=1e-6)  # 1 a scale and direction
    both = losses.noise_regulariser((n, ones[[0, 0, 1]]))
    np.testing.assert_allclose(both, losses.noise_regulariser((n,)) + 2 * scales, rtol=1e-5)


def test_noise_that_is_white_and_noise_that_is_smooth():
    """2/HW of white noise at its own size, a quarter of the last at each coarser one; nearly 1 of a slow wave."""
    white = losses.noise_regulariser((normal(41, 600, 64, 64, 1),))
    np.testing.assert_allclose(float(white.mean()) * 64**2, 2.66, rtol=0.12)
    at = 2 * np.pi * np.arange(64) / 64
    wave = np.sqrt(2) * np.cos(at)[:, None] * np.ones(64)
    smooth = float(losses.noise_regulariser((wave[None, ..., None].astype(np.float32),))[0])
    np.testing.assert_allclose(smooth, numpy_noise(wave)[0], rtol=1e-4)
    assert 6 < smooth < 8  # of 4 scales and 2 directions
    odd = losses.noise_regulariser((normal(42, 2, 14, 11, 1), normal(43, 2, 28, 28, 1)))
    assert np.isfinite(odd).all()


def test_normalised_noise():
    given = (3 * normal(44, 2, 4, 4, 1) + 5, 0.5 * normal(45, 2, 32, 32, 1) - 2)
    given[0][1] *= 7  # each image its own
    found = losses.normalise_noise(given)
    assert isinstance(found, tuple)
    for n, x in zip(found, given):
        np.testing.assert_allclose(n.mean((1, 2, 3)), 0, atol=1e-5)
        np.testing.assert_allclose(np.square(n).mean((1, 2, 3)), 1, rtol=1e-5)
        assert all(np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.9999 for a, b in zip(n, x))
    again = losses.normalise_noise(found)
    for a, b in zip(again, found):
        np.testing.assert_allclose(a, b, atol=1e-5)
    flat = (np.zeros((2, 4, 4, 1), np.float32),)
    np.testing.assert_array_equal(losses.normalise_noise(flat)[0], 0)
    gradient = jax.grad(lambda maps: sum(jnp.square(m).sum() for m in losses.normalise_noise(maps)))
    assert all(np.isfinite(g).all() for g in gradient(flat) + gradient(given))


def test_realism():
    found = losses.realism(np.float32([0, 100, -100, 2]))
    np.testing.assert_allclose(found, [np.log(2), 0, 100, np.log1p(np.exp(-2))], rtol=1e-5, atol=1e-30)


@pytest.mark.parametrize("shape", [(3, 7), (3, 1, 7), (3, 5, 7)])
def test_distances_of_codes(shape):
    code, origin = normal(50, *shape), normal(51, *shape)
    difference = (code - origin).astype(np.float64).reshape(3, -1, 7)
    rows = np.square(difference).sum(-1)
    np.testing.assert_allclose(losses.squared_distance(code, origin), rows.mean(1) / 7, rtol=1e-5)
    np.testing.assert_allclose(losses.norm_distance(code, origin), np.sqrt(rows.sum(1)), rtol=1e-5)
    # One origin for all images and rows, such as the mean w.
    expected = np.square(code - 2).reshape(3, -1).mean(1)
    np.testing.assert_allclose(losses.squared_distance(code, np.full(7, 2, np.float32)), expected, rtol=1e-5)
    unit = jax.grad(lambda c: losses.norm_distance(c, origin).sum())(code)
    np.testing.assert_allclose(np.square(unit).reshape(3, -1).sum(1), 1, rtol=1e-5)
    close = jax.grad(lambda c: losses.norm_distance(c, origin).sum())(origin)
    np.testing.assert_array_equal(close, 0)


def test_spread():
    ws = normal(52, 3, 5, 7)
    expected = [np.mean([np.square(row - w.mean(0)).sum() for row in w]) / 7 for w in ws.astype(np.float64)]
    np.testing.assert_allclose(losses.spread(ws), expected, rtol=1e-5)
    np.testing.assert_array_equal(losses.spread(ws[:, :1]), 0)
    np.testing.assert_allclose(losses.spread(np.repeat(ws[:, :1], 6, 1)), 0, atol=1e-12)
