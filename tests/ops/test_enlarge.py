"""Maps at each pixel of a canvas, and squares of them, against a resize of the whole."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxgan.ops import enlarge
from jaxgan.ops.enlarge import FORMS, Enlargement
from jaxgan.ops.resize import resize


@pytest.fixture(autouse=True)
def _double_precision():
    with jax.enable_x64(True):
        yield


def normal(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape, jnp.float64)


SIZES = [
    ((3, 5), (24, 40)),  # a whole number of times, even and odd
    ((3, 5), (9, 15)),
    ((3, 4), (8, 10)),  # another
    ((1, 3), (8, 3)),  # one cell; as it is
    ((1, 1), (8, 6)),
    ((6, 6), (4, 9)),  # fewer pixels than cells
    ((8, 9), (48, 45)),
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("filter", ["torch_bilinear", "nearest"])
@pytest.mark.parametrize(("cells", "size"), SIZES)
def test_is_a_resize_that_is_cut(cells, size, filter, form):
    x, kernel = normal(0, 2, *cells, 3), jnp.square(normal(1, 3, 2))

    def squares(x):
        return jnp.square(x) @ kernel

    for window in ((0, 0, *size), (1, 2, size[0] - 2, 1), (size[0] // 2, size[1] // 2, size[0] // 3, size[1] // 3)):
        whole = resize(x, size, filter, window)
        made = Enlargement(size, window, filter)
        np.testing.assert_allclose(made.of(x, form), whole, rtol=0, atol=1e-12)
        np.testing.assert_allclose(made.quadratic(x, squares, form), squares(whole), rtol=0, atol=1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_derivatives_of_every_order(form):
    made = Enlargement((8, 6), (1, 0, 6, 6), "torch_bilinear")
    x = normal(0, 1, 2, 3, 2)
    check_grads(lambda x: jnp.sin(made.of(x, form)), (x,), order=2)
    check_grads(lambda x: jnp.sqrt(1 + made.quadratic(x, jnp.square, form)), (x,), order=2)


@pytest.mark.parametrize("form", FORMS)
def test_batches_of_maps(form):
    made = Enlargement((8, 6), (1, 0, 6, 6), "torch_bilinear")
    x = normal(0, 3, 2, 2, 3, 2)
    each = jnp.stack([made.of(one, form) for one in jnp.moveaxis(x, 1, 0)])
    np.testing.assert_allclose(jax.vmap(lambda x: made.of(x, form), in_axes=1)(x), each, rtol=0, atol=1e-12)


def test_squares_are_worked_out_at_few_places():
    """Not at each of the 4,096 pixels: the reason to have it."""
    seen = []

    def squares(x):
        seen.append(x.shape)
        return jnp.square(x)

    Enlargement((64, 64), (0, 0, 64, 64), "torch_bilinear").quadratic(normal(0, 1, 8, 8, 2), squares)
    Enlargement((64, 64), (0, 0, 64, 64), "nearest").quadratic(normal(0, 1, 8, 8, 2), squares)
    # Of a window, at those that it is made of; where they are more than half of its pixels, at the pixels.
    Enlargement((64, 64), (24, 0, 16, 64), "torch_bilinear").quadratic(normal(0, 1, 8, 8, 2), squares)
    Enlargement((64, 64), (30, 30, 4, 4), "torch_bilinear").quadratic(normal(0, 1, 8, 8, 2), squares)
    assert seen == [(1, 15, 15, 2), (1, 8, 8, 2), (1, 7, 15, 2), (1, 4, 4, 2)]


def test_accelerators_sum_terms_while_they_are_few():
    assert enlarge.default_form(32, "tpu") == "terms"
    assert enlarge.default_form(33, "tpu") == "products"
    assert enlarge.default_form(15, "cpu") == "products"
