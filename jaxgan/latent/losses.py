"""The terms of losses on images and latents: pure functions, one number per image, never averaged over the batch.

Images are [B, H, W, C] in [-1, 1], masks [B, H, W, 1] in [0, 1]. Masked terms are divided by the mask's area, so that a
weight means the same for a dense and a sparse one.
"""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.features.networks import to_rgb
from jaxgan.ops.resize import resize

_EPS = 1e-5  # added to a mask's area
_ORIENTATIONS = 8
_HOG_EPS = 1e-3


def l1(images: jax.Array, target: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """[B]: mean absolute difference; with a mask M, sum(M |images - target|) / (C sum M + 1e-5).

    Where M is 0 the target counts for nothing, whatever numbers it holds.
    """
    difference = _difference(images, target, mask)
    # Not abs, whose gradient at 0 is 1 in JAX: pixels that agree would be pushed.
    return _masked_mean(difference * jnp.sign(difference), mask)


def l2(images: jax.Array, target: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """[B]: mean squared difference; with a mask as in `l1`."""
    return _masked_mean(jnp.square(_difference(images, target, mask)), mask)


def _difference(a: jax.Array, b: jax.Array, mask: jax.Array | None) -> jax.Array:
    """a - b, zero where the mask is, whatever stands there."""
    return a - b if mask is None else jnp.where(mask > 0, a - b, 0.0)


def _masked_mean(x: jax.Array, mask: jax.Array | None) -> jax.Array:
    if mask is None:
        return x.mean((1, 2, 3))
    return (x * mask).sum((1, 2, 3)) / (x.shape[-1] * mask.sum((1, 2, 3)) + _EPS)


def pooled_mask(mask: jax.Array, size: tuple[int, int]) -> jax.Array:
    """A mask averaged over areas to [B, h, w, 1]; the sizes need not divide."""
    return resize(jnp.asarray(mask, jnp.float32), tuple(size), "box")


def feature_l2(
    features: Mapping[str, jax.Array],
    target_features: Mapping[str, jax.Array],
    masks: Mapping[str, jax.Array] | None = None,
) -> jax.Array:
    """[B]: mean squared difference of maps [B, h, w, C], summed over the target's maps.

    `masks` are of each map's size (`pooled_mask`) and weigh as in `l1`.
    """
    return sum(
        l2(features[name], target, None if masks is None else masks[name]) for name, target in target_features.items()
    )


def gram(features: Mapping[str, jax.Array], masks: Mapping[str, jax.Array] | None = None) -> dict[str, jax.Array]:
    """{name: [B, C, C]}: Gram matrices of maps F [B, h, w, C], F^T F / (C h w).

    With masks M of each map's size F^T M F / (C sum M + 1e-5): positions weigh as in `l1`.
    """

    def one(name: str, x: jax.Array) -> jax.Array:
        batch, height, width, channels = x.shape
        x = x.reshape(batch, height * width, channels)
        weighted, area = x, jnp.float32(channels * height * width)
        if masks is not None:
            weight = masks[name].reshape(batch, height * width, 1)
            weighted, area = x * weight, (channels * weight.sum((1, 2)) + _EPS)[:, None, None]
        return jnp.einsum("bpi,bpj->bij", weighted, x, precision=jax.lax.Precision.HIGHEST) / area

    return {name: one(name, x) for name, x in features.items()}


def gram_l2(
    features: Mapping[str, jax.Array],
    target_grams: Mapping[str, jax.Array],
    masks: Mapping[str, jax.Array] | None = None,
) -> jax.Array:
    """[B]: mean squared difference of `gram` matrices, summed over the target's."""
    found = gram({name: features[name] for name in target_grams}, masks)
    return sum(jnp.square(found[name] - target).mean((1, 2)) for name, target in target_grams.items())


def hog(images: jax.Array, cell: int) -> jax.Array:
    """Oriented gradients [B, h, w, 8] in cells of `cell` pixels: iGAN's descriptor of shape (Zhu et al. 2016).

    Grey in [0, 1]; Sobel / 4; responses to eight orientations pi i / 8 of the gradient, of which only those less than
    a bin from the gradient's own are kept; pooled with a triangular window of 2 cells at a stride of one. As in the
    released code, except that the border is repeated, so that a bright image has no edge there, and that the window
    sums to 1 (the code's to `cell`^2), so that a weight means the same for every cell.
    """
    grey = to_rgb(images * 127.5 + 127.5).mean(-1) / 255.0
    padded = jnp.pad(grey, ((0, 0), (1, 1), (1, 1)), mode="edge")
    rows = padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]
    columns = padded[:, :, :-2] + 2 * padded[:, :, 1:-1] + padded[:, :, 2:]
    x, y = (rows[:, :, 2:] - rows[:, :, :-2]) / 4, (columns[:, 2:] - columns[:, :-2]) / 4
    angles = jnp.pi * jnp.arange(_ORIENTATIONS) / _ORIENTATIONS
    responses = jnp.abs(x[..., None] * jnp.cos(angles) + y[..., None] * jnp.sin(angles))
    length = jnp.sqrt(x * x + y * y + _HOG_EPS)[..., None]
    near = jnp.cos(jnp.pi / _ORIENTATIONS)
    kept = jnp.maximum(0.0, responses / (1 - near) - near / (1 - near) * length)
    return _pooled(kept, cell)


def _pooled(x: jax.Array, cell: int) -> jax.Array:
    """A triangular window of 2 `cell` pixels at a stride of `cell`, with `cell` // 2 zeros round the border."""
    height, width = x.shape[1:3]
    rows, columns = _triangles(height, cell), _triangles(width, cell)
    return jnp.einsum("oh,bhwc,pw->bopc", rows, x, columns, precision=jax.lax.Precision.HIGHEST)


def _triangles(size: int, cell: int) -> np.ndarray:
    """The windows of one axis, [cells, size]; an image of less than a window has one."""
    before = cell // 2
    count = max((size + 2 * before - 2 * cell) // cell + 1, 1)
    centres = cell * np.arange(count) - before + cell - 0.5
    distance = np.abs(np.arange(size) - centres[:, None]) / cell
    return (np.maximum(1.0 - distance, 0.0) / cell).astype(np.float32)


def hog_l2(images: jax.Array, target_hog: jax.Array, mask: jax.Array | None, cell: int) -> jax.Array:
    """[B]: squared difference to a target's `hog`; a mask of strokes, pooled into the cells, weighs as in `l1`."""
    weight = None if mask is None else _pooled(jnp.asarray(mask, jnp.float32), cell)
    return l2(hog(images, cell), target_hog, weight)


def noise_regulariser(maps: Sequence[jax.Array]) -> jax.Array:
    """[B]: squared correlation of noise maps [B, H, W, 1] with themselves one pixel on, at every scale down to 8 px.

    As in NVIDIA's StyleGAN2 projector, but for each image alone: a map counts at its own size, however small, and while
    it is larger than 8 px again at half the size (2x2 means; an odd row or column is dropped). Summed over scales,
    directions and maps; white noise of 64 px gives 2.66 / 64^2, a map of ones 2 a scale.
    """
    terms = []
    for n in maps:
        while True:
            terms += [jnp.square((n * jnp.roll(n, 1, axis)).mean((1, 2, 3))) for axis in (1, 2)]
            batch, height, width, _ = n.shape
            if min(height, width) <= 8:
                break
            n = n[:, : height // 2 * 2, : width // 2 * 2]
            n = n.reshape(batch, height // 2, 2, width // 2, 2, 1).mean((2, 4))
    return sum(terms)


def normalise_noise(maps: Sequence[jax.Array]) -> tuple[jax.Array, ...]:
    """Maps [B, H, W, 1] less their mean and divided by their root mean square, each image's own; zeros stay zeros."""

    def one(n: jax.Array) -> jax.Array:
        n = n - n.mean((1, 2, 3), keepdims=True)
        return n * jax.lax.rsqrt(jnp.square(n).mean((1, 2, 3), keepdims=True) + 1e-12)

    return tuple(one(n) for n in maps)


def realism(logits: jax.Array) -> jax.Array:
    """[B]: softplus(-D), the non-saturating loss."""
    return jax.nn.softplus(-logits)


def squared_distance(code: jax.Array, origin: jax.Array) -> jax.Array:
    """[B]: sum over the last axis of (code - origin)^2 / D, averaged over rows; code [B, D] or [B, L, D]."""
    return jnp.square(code - origin).reshape(code.shape[0], -1).mean(1)


def norm_distance(code: jax.Array, origin: jax.Array) -> jax.Array:
    """[B]: length of code - origin, whose gradient where they meet is 0."""
    squares = jnp.square(code - origin).reshape(code.shape[0], -1).sum(1)
    return jnp.where(squares > 0, jnp.sqrt(jnp.where(squares > 0, squares, 1.0)), 0.0)


def spread(ws: jax.Array) -> jax.Array:
    """[B]: squared distance of the rows of ws [B, L, D] from their mean, divided by D and averaged; 0 for one row."""
    return jnp.square(ws - ws.mean(1, keepdims=True)).mean((1, 2))
