"""Adaptive discriminator augmentation (ADA; Karras et al. 2020, arXiv 2006.06676): the pipeline and the rule for p.

The discriminator sees augmented images only, real and generated ones, so the generator learns the images as they were
as long as p stays away from 1. Each transform draws its parameter for every image and keeps it with probability p.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.ops.warp import reflected, warp

CATEGORIES = ("blit", "geom", "color", "filter", "noise", "cutout")
PIPELINES = {name: (name,) for name in CATEGORIES} | {"bgcfnc"[:n]: CATEGORIES[:n] for n in range(2, 7)}

# Widths of the distributions (appendix B): standard deviations, or half the range of a uniform one.
_SHIFT = 0.125  # of the size
_SCALE = _ANISOTROPY = 0.2  # of log2
_BRIGHTNESS = 0.2
_CONTRAST = 0.5  # of log2
_SATURATION = 1.0  # of log2
_BAND_GAIN = 1.0  # of log2
_NOISE = 0.1
_CUTOUT = 0.5  # side of the square, of the size

_PARAMETERS = 41  # of all transforms together, gates included

# Expected power of an image's frequency bands, lowest first.
_BAND_POWER = np.array([10, 1, 1, 1]) / 13


def categories(pipeline: str) -> tuple[str, ...]:
    """The categories of transforms of a pipeline: a name in PIPELINES, or several joined by commas.

    Raises:
        ValueError: a name that is none.
    """
    names = pipeline.split(",")
    for name in names:
        if name not in PIPELINES:
            raise ValueError(f"augmentation pipeline {name!r} is not one of {', '.join(PIPELINES)}")
    chosen = {category for name in names for category in PIPELINES[name]}
    return tuple(category for category in CATEGORIES if category in chosen)


def ada(
    images: jax.Array,
    key: jax.Array,
    p: jax.Array | float,
    *,
    pipeline: str = "bgc",
    percentile: float | None = None,
) -> jax.Array:
    """Images [N, H, W, C] in [-1, 1], augmented; their range is not clipped.

    Affine in the images, so derivatives of every order pass through it. At p = 0 the images come back up to float32
    rounding. Colour transforms act on the first three channels, or on the first where there are fewer than three; an
    alpha channel keeps its values.

    Args:
        images: float32; real or generated, in the same way.
        key: of this call.
        p: probability of each transform; may be traced, and may exceed 1.
        pipeline: see `categories`; "bgc" is the paper's choice.
        percentile: every random parameter is put at this percentile of its distribution, as the official code does to
            compare implementations (its normal ones lack a factor sqrt(2) there; the noise image stays random).

    Raises:
        ValueError: an unknown pipeline.
    """
    n, height, width, _ = images.shape
    chosen = categories(pipeline)
    key, noise_key = jax.random.split(key)
    draws = _Draws(key, n, p, percentile)
    inverse = []
    if "blit" in chosen:
        inverse += _blit(draws, height, width)
    if "geom" in chosen:
        inverse += _geom(draws, height, width)
    if inverse:
        images = warp(images, functools.reduce(_product, inverse))
    if "color" in chosen:
        images = _color(draws, images)
    if "filter" in chosen:
        images = _filter(draws, images)
    if "noise" in chosen:
        images = _noise(draws, images, noise_key)
    if "cutout" in chosen:
        images = _cutout(draws, images)
    return images


def adjust(
    p: jax.Array,
    sign_sum: jax.Array,
    count: jax.Array,
    images_since: jax.Array | int,
    *,
    target: float = 0.6,
    kimg: float = 500.0,
) -> jax.Array:
    """The new p (section 3): up where the discriminator overfits, down where it does not.

    It overfits where the mean of sign(D(real)) is above `target`. The step is images_since / (kimg * 1000); p has a
    floor of 0 and no upper bound.

    Args:
        p: so far.
        sign_sum: sum of sign(D(real)) over all real logits since the last adjustment, those of R1 included.
        count: how many logits that were, at least 1.
        images_since: real images shown since the last adjustment; the official interval is 4 batches.
        target: of the mean sign.
        kimg: thousands of images in which p can rise by 1.
    """
    direction = jnp.sign(sign_sum / count - target)
    return jnp.maximum(p + direction * (images_since / (kimg * 1000)), 0.0)


class _Draws:
    """Takes the parameters of a batch, a row [N] for each, out of one draw; many small ones are slow to compile."""

    def __init__(self, key: jax.Array, batch: int, p: jax.Array | float, percentile: float | None):
        self.p = p
        self.percentile = percentile
        self.rows = jax.random.uniform(key, (_PARAMETERS, batch), minval=2**-24)  # 0 would be a normal number's -inf

    def _take(self, rows: int) -> jax.Array:
        taken, self.rows = self.rows[:rows], self.rows[rows:]
        return taken

    def uniform(self, rows: int) -> jax.Array:
        """Between 0 and 1, [rows, N]."""
        u = self._take(rows)
        return u if self.percentile is None else jnp.full_like(u, self.percentile)

    def normal(self, rows: int) -> jax.Array:
        """N(0, 1), [rows, N]."""
        u = self.uniform(rows)
        return jax.scipy.special.erfinv(2 * u - 1) * (2**0.5 if self.percentile is None else 1)

    def half_normal(self) -> jax.Array:
        """|N(0, 1)|, [N]."""
        (u,) = self.uniform(1)
        return jax.scipy.special.erfinv(u) * (2**0.5 if self.percentile is None else 1)

    def gates(self, *p: jax.Array | float) -> jax.Array:
        """Whether a transform is kept, [rows, N], with one probability a row."""
        return self._take(len(p)) < jnp.stack([jnp.asarray(x) for x in p])[:, None]


# Geometry. Matrices [N, 3, 3] act on points (x, y, 1), x to the right and y down, in pixels about the image centre.
# Each one takes points of its output back to its input; in a product the transform applied first stands left.


def _matrix(*rows: tuple[jax.Array | float, ...]) -> jax.Array:
    entries = jnp.stack(jnp.broadcast_arrays(*(jnp.asarray(x, jnp.float32) for row in rows for x in row)), axis=-1)
    return entries.reshape(*entries.shape[:-1], len(rows), len(rows[0]))


def _product(a: jax.Array, b: jax.Array) -> jax.Array:
    """a @ b in full float32 on every backend."""
    return jnp.sum(a[:, :, :, None] * b[:, None], axis=2)


def _unscale(x: jax.Array | float, y: jax.Array | float) -> jax.Array:
    return _matrix((1 / x, 0, 0), (0, 1 / y, 0), (0, 0, 1))


def _unshift(x: jax.Array, y: jax.Array) -> jax.Array:
    return _matrix((1, 0, -x), (0, 1, -y), (0, 0, 1))


def _unrotate(cos: jax.Array, sin: jax.Array) -> jax.Array:
    """For a turn counter-clockwise on screen."""
    return _matrix((cos, -sin, 0), (sin, cos, 0), (0, 0, 1))


def _blit(draws: _Draws, height: int, width: int) -> list[jax.Array]:
    """Flip in x, turns by 90 degrees, shifts by whole pixels."""
    flip, turn, shift_x, shift_y = draws.uniform(4)
    flipped, turned, shifted = draws.gates(draws.p, draws.p, draws.p)
    quarter = jnp.where(turned, jnp.floor(4 * turn), 0) * (math.pi / 2)

    def whole(u, size):
        return jnp.where(shifted, jnp.round((2 * u - 1) * _SHIFT * size), 0)

    return [
        _unscale(jnp.where(flipped & (flip >= 0.5), -1.0, 1.0), 1.0),
        _unrotate(jnp.round(jnp.cos(quarter)), jnp.round(jnp.sin(quarter))),
        _unshift(whole(shift_x, width), whole(shift_y, height)),
    ]


def _geom(draws: _Draws, height: int, width: int) -> list[jax.Array]:
    """Scale, rotation, scale along one axis, rotation again, shift by fractions of a pixel."""
    first, second = (2 * draws.uniform(2) - 1) * math.pi
    scale, stretch, shift_x, shift_y = draws.normal(4)
    # Of two rotations at least one is kept with probability p.
    p_rotate = 1 - jnp.sqrt(jnp.clip(1 - jnp.asarray(draws.p, jnp.float32), 0, 1))
    gates = draws.gates(draws.p, p_rotate, draws.p, p_rotate, draws.p)
    if draws.percentile is not None:
        second = jnp.zeros_like(second)
    scale = jnp.where(gates[0], jnp.exp2(_SCALE * scale), 1)
    first = jnp.where(gates[1], first, 0)
    stretch = jnp.where(gates[2], jnp.exp2(_ANISOTROPY * stretch), 1)
    second = jnp.where(gates[3], second, 0)
    shift_x, shift_y = (jnp.where(gates[4], _SHIFT * shift, 0) for shift in (shift_x, shift_y))
    return [
        _unscale(scale, scale),
        _unrotate(jnp.cos(first), jnp.sin(first)),
        _unscale(stretch, 1 / stretch),
        _unrotate(jnp.cos(second), jnp.sin(second)),
        _unshift(shift_x * width, shift_y * height),
    ]


def _each(values: jax.Array) -> jax.Array:
    """[N] -> [N, 1, 1, 1]."""
    return values[:, None, None, None]


def _color(draws: _Draws, images: jax.Array) -> jax.Array:
    """Brightness, contrast, luma flip, hue, saturation.

    In the paper a product of 4 x 4 matrices. Brightness moves and the flip negates what lies along the grey axis, hue
    turns and saturation scales what lies across it, contrast scales both; so the product is taken on the two parts.
    """
    flip, hue = draws.uniform(2)
    brightness, contrast, saturation = draws.normal(3)
    gates = draws.gates(*(draws.p,) * 5)
    brightness = _each(jnp.where(gates[0], _BRIGHTNESS * brightness, 0))
    contrast = _each(jnp.where(gates[1], jnp.exp2(_CONTRAST * contrast), 1))
    flip = _each(jnp.where(gates[2] & (flip >= 0.5), -1.0, 1.0))
    hue = _each(jnp.where(gates[3], (2 * hue - 1) * math.pi, 0))
    saturation = _each(jnp.where(gates[4], jnp.exp2(_SATURATION * saturation), 1))

    colours = 3 if images.shape[-1] >= 3 else 1
    rgb, rest = images[..., :colours], images[..., colours:]
    grey = jnp.mean(rgb, axis=-1, keepdims=True)
    across = rgb - grey
    # The cross product of the grey axis with a colour is its turn by 90 degrees.
    turned = (jnp.roll(across, 1, axis=-1) - jnp.roll(across, -1, axis=-1)) / 3**0.5
    rgb = flip * (grey + brightness) + saturation * (jnp.cos(hue) * across + jnp.sin(hue) * turned)
    return jnp.concatenate((contrast * rgb, rest), axis=-1)


@functools.cache
def _bands() -> np.ndarray:
    """Kernels [4, 43] that cut a signal into frequency bands, lowest first; they sum to a unit impulse.

    A filter bank of the wavelet sym2 (appendix B).
    """
    low = np.array([-0.12940952255, 0.22414386804, 0.83651630374, 0.48296291314])
    high = low * (-1) ** np.arange(4)
    low, high = (np.convolve(taps, taps[::-1]) / 2 for taps in (low, high))
    bands = np.array([[1.0], [0.0], [0.0], [0.0]])
    for i in range(1, 4):
        spread = np.zeros((4, 2 * bands.shape[1] - 1))
        spread[:, ::2] = bands
        bands = np.stack([np.convolve(band, low) for band in spread])
        middle = bands.shape[1] // 2
        bands[i, middle - 3 : middle + 4] += high
    return bands


@functools.cache
def _band_matrices(size: int) -> np.ndarray:
    """[4, size, size]: the bands of a reflected row of pixels."""
    bands = _bands()
    rows, taps = np.arange(size)[:, None], np.arange(bands.shape[1])[None]
    columns = reflected(rows + taps - bands.shape[1] // 2, size)
    matrices = np.zeros((4, size, size))
    for matrix, band in zip(matrices, bands):
        np.add.at(matrix, (rows, columns), np.broadcast_to(band, columns.shape))
    return matrices.astype(np.float32)


def _filter(draws: _Draws, images: jax.Array) -> jax.Array:
    """Frequency bands amplified or damped, the expected power kept after each."""
    gates = draws.gates(*(draws.p,) * len(_BAND_POWER))
    gains = jnp.where(gates, jnp.exp2(_BAND_GAIN * draws.normal(len(_BAND_POWER))), 1)
    power = 1 + _BAND_POWER[:, None] * (jnp.square(gains) - 1)
    gains = gains * jnp.prod(jax.lax.rsqrt(power), axis=0)
    highest = jax.lax.Precision.HIGHEST
    rows, columns = (
        jnp.einsum("kn,kij->nij", gains, _band_matrices(size), precision=highest) for size in images.shape[1:3]
    )
    images = jnp.einsum("nij,njwc->niwc", rows, images, precision=highest)
    return jnp.einsum("nij,nhjc->nhic", columns, images, precision=highest)


def _noise(draws: _Draws, images: jax.Array, key: jax.Array) -> jax.Array:
    """White noise of a random strength."""
    (gate,) = draws.gates(draws.p)
    sigma = jnp.where(gate, _NOISE * draws.half_normal(), 0)
    return images + _each(sigma) * jax.random.normal(key, images.shape)


def _cutout(draws: _Draws, images: jax.Array) -> jax.Array:
    """A square, in proportion to the image, set to zero."""
    centre_x, centre_y = draws.uniform(2)
    (gate,) = draws.gates(draws.p)

    def near(centre, size):
        return jnp.abs((jnp.arange(size) + 0.5) / size - centre[:, None]) < _CUTOUT / 2

    _, height, width, _ = images.shape
    inside = near(centre_y, height)[:, :, None] & near(centre_x, width)[:, None, :] & gate[:, None, None]
    return jnp.where(inside[..., None], 0.0, images)
