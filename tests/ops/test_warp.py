"""Warps against the recipe written out in float64: pad, insert zeros, filter, look up bilinearly, filter, halve."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import compiler
from jaxgan.ops.warp import SYM6, reflected, warp

run = jax.jit(warp)


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def matrices(*ms):
    return np.asarray(ms, np.float32)


def rotation(angle):
    """Output to input, for a turn counter-clockwise on screen: y points down."""
    return np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])


def shift(x, y):
    """Output to input, for a picture that moves by x to the right and y down."""
    return np.array([[1, 0, -x], [0, 1, -y], [0, 0, 1.0]])


def along_axis(f, x, axis):
    return np.apply_along_axis(f, axis, x)


def reference(image, inverse):
    """The official steps for one image [H, W, C], with a margin that no transform of these tests looks beyond.

    The transform is about a point half an up-sampled pixel up and left of the image's centre.
    """
    height, width, _ = image.shape
    pads = (2 * height, 2 * width)
    x = np.pad(image.astype(np.float64), ((pads[0],) * 2, (pads[1],) * 2, (0, 0)), mode="reflect")

    def up(row):
        stuffed = np.zeros(2 * len(row))
        stuffed[::2] = row
        return np.correlate(np.pad(stuffed, (6, 5)), 2 * SYM6[::-1], mode="valid")

    def down(row):
        return np.correlate(row[1:-1], SYM6, mode="valid")[::2]

    x = along_axis(up, along_axis(up, x, 0), 1)
    centre = np.array([[1, 0, -0.25], [0, 1, -0.25], [0, 0, 1]])
    inverse = centre @ inverse @ np.linalg.inv(centre)
    out = np.zeros((2 * (height + 6), 2 * (width + 6), image.shape[2]))
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            place = inverse @ [(j + 0.5 - out.shape[1] / 2) / 2, (i + 0.5 - out.shape[0] / 2) / 2, 1]
            column, row = 2 * place[:2] + np.array(x.shape[1::-1]) / 2 - 0.5
            for r in (int(np.floor(row)), int(np.floor(row)) + 1):
                for c in (int(np.floor(column)), int(np.floor(column)) + 1):
                    if 0 <= r < x.shape[0] and 0 <= c < x.shape[1]:
                        out[i, j] += (1 - abs(row - r)) * (1 - abs(column - c)) * x[r, c]
    return along_axis(down, along_axis(down, out, 0), 1)


def test_the_recipe():
    images = normal(0, 4, 8, 10, 2)
    inverse = matrices(
        rotation(0.7) @ shift(0.3, -0.6),
        np.diag([1 / 1.2, 1.2, 1]) @ rotation(2.5),
        np.diag([-1.0, 1, 1]) @ rotation(np.pi / 2) @ shift(-1, 2),
        [[0.8, 0.2, 0.4], [-0.3, 0.9, -0.7], [0, 0, 1]],
    )
    expected = [reference(*pair) for pair in zip(images, inverse)]
    np.testing.assert_allclose(run(images, inverse), expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("shape", [(2, 8, 8, 3), (1, 6, 12, 1), (2, 16, 4, 4)])
def test_an_identity_leaves_the_picture(shape):
    images = normal(1, *shape)
    np.testing.assert_allclose(run(images, matrices(*[np.eye(3)] * shape[0])), images, rtol=0, atol=5e-6)


def test_whole_pixels_are_moved_and_reflections_come_in():
    """However far: the reflected picture has no end."""
    images = normal(2, 4, 6, 8, 1)
    moves = [(2, 0), (-3, 1), (17, -40), (0, 5)]
    out = run(images, matrices(*(shift(*m) for m in moves)))
    for image, moved, (x, y) in zip(images, out, moves):
        rows, columns = reflected(np.arange(6) - y, 6), reflected(np.arange(8) - x, 8)
        np.testing.assert_allclose(moved, image[rows][:, columns], rtol=0, atol=2e-5)


def blob(x, y, size=25):
    """A bright spot at (x, y) from the centre, y down."""
    at = np.arange(size) - size // 2
    return np.exp(-((at[:, None] - y) ** 2 + (at - x) ** 2) / 4)[..., None].astype(np.float32)


@pytest.mark.parametrize(
    ("inverse", "end"),
    [
        (shift(2, 0), (6, 0)),
        (shift(0, 2), (4, 2)),
        (rotation(np.pi / 2), (0, -4)),
        (rotation(-np.pi / 4), (4 / 2**0.5, 4 / 2**0.5)),
        (np.diag([-1.0, 1, 1]), (-4, 0)),
        (np.diag([1 / 1.5, 1, 1]), (6, 0)),
        (rotation(np.pi / 2) @ shift(3, 0), (3, -4)),  # in a product the first transform stands left
        (shift(3, 0) @ rotation(np.pi / 2), (0, -7)),
    ],
)
def test_where_a_spot_goes(inverse, end):
    """It starts at (4, 0)."""
    moved = np.asarray(run(blob(4, 0)[None], matrices(inverse)))[0, ..., 0]
    at = np.arange(25) - 12
    found = (moved * at).sum() / moved.sum(), (moved * at[:, None]).sum() / moved.sum()
    np.testing.assert_allclose(found, end, atol=0.15)


def test_reflected():
    np.testing.assert_array_equal(reflected(np.arange(-7, 10), 4), np.pad(np.arange(4), (7, 6), mode="reflect"))


def test_the_transpose_and_its_transpose():
    """A linear map, its derivative's derivative and the inner product <A x, g> = <x, A^T g>."""
    x, g = normal(3, 2, 6, 8, 2), normal(4, 2, 6, 8, 2)
    inverse = matrices(rotation(1.0) @ np.diag([0.5, 0.7, 1]), np.diag([3.0, 2.5, 1]) @ shift(3, 4))

    @jax.jit
    def both(x, g):
        forward = functools.partial(warp, inverse=inverse)
        y, pull = jax.vjp(forward, x)
        back, push = jax.vjp(lambda g: pull(g)[0], g)
        return y, back, push(x)[0]

    y, back, again = both(x, g)
    np.testing.assert_allclose(jnp.vdot(y, g), jnp.vdot(x, back), rtol=1e-4)
    np.testing.assert_allclose(again, y, rtol=0, atol=1e-5)


def test_the_form_of_accelerators_is_the_same():
    """And its transpose, where points fall on the same pixels."""
    images, given = normal(1, 3, 8, 10, 2), normal(2, 3, 8, 10, 2)
    inverse = matrices(rotation(0.4) @ shift(2.3, -0.6), np.diag([0.3, 0.4, 1]), np.diag([-3.0, 2, 1]) @ rotation(2))

    def both(images):
        out, transpose = jax.vjp(lambda images: warp(images, inverse), images)
        return out, *transpose(given)

    expected = jax.jit(both)(images)
    with compiler.compiling_for("tpu"):
        found = jax.jit(lambda images: both(images))(images)
    for a, b in zip(found, expected):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)
