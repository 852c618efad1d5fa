"""Both forms of the depthwise convolution, and their gradients."""

import jax
import numpy as np
import pytest

from jaxgan.ops.depthwise import depthwise


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("padding", [0, ((0, 1), (1, 2))])
def test_forms_agree(stride, kernel, padding):
    x = jax.random.normal(jax.random.key(0), (2, 9, 8, 3))
    w = jax.random.normal(jax.random.key(1), (kernel, kernel, 3))

    def loss(form):
        return lambda x, w: (depthwise(x, w, stride=stride, padding=padding, form=form) ** 2).sum()

    a, b = (jax.value_and_grad(loss(form), (0, 1))(x, w) for form in ("shifted", "grouped"))
    for one, other in zip(jax.tree.leaves(a), jax.tree.leaves(b)):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)
