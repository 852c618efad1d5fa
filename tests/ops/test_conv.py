"""The convolution primitive equals lax's own convolution in value and in every kind of derivative."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxgan.ops.conv import _transposed_by_phases, conv

# name: (height and width of the images, of the kernel, options). Each also reaches the convolutions of its transposes.
CASES = {
    "plain": ((5, 6), (3, 3), {"padding": 1}),
    "strided, a row left over": ((6, 7), (3, 3), {"stride": 2}),
    "transposed": ((3, 4), (3, 3), {"lhs_dilation": 2, "padding": 2}),
    "transposed, uneven padding": ((3, 4), (3, 3), {"lhs_dilation": 2, "padding": ((1, 2), (3, 0))}),
    "transposed, other kernel": ((3, 4), (2, 4), {"lhs_dilation": 2, "padding": 2}),
    "transposed 4x4, to twice the size": ((3, 4), (4, 4), {"lhs_dilation": 2, "padding": 2}),
    "transposed 5x5, to twice the size": ((4, 3), (5, 5), {"lhs_dilation": 2, "padding": ((2, 3), (2, 3))}),
    "dilated kernel, strided": ((7, 6), (2, 2), {"rhs_dilation": 2, "stride": 2, "padding": 1}),
    "1x1": ((3, 4), (1, 1), {}),
    "1x1, strided": ((4, 5), (1, 1), {"stride": 2}),
}
cases = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


def oracle(x, w, *, stride=1, padding=0, lhs_dilation=1, rhs_dilation=1):
    padding = ((padding, padding),) * 2 if isinstance(padding, int) else padding
    return lax.conv_general_dilated(
        x,
        w,
        (stride, stride),
        padding,
        lhs_dilation=(lhs_dilation, lhs_dilation),
        rhs_dilation=(rhs_dilation, rhs_dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def normal(seed, *shape, dtype=np.float32):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), dtype)


def operands(case, batch=2, channels=(3, 4)):
    image, kernel, options = case
    return normal(0, batch, *image, channels[0]), normal(1, *kernel, *channels), options


def assert_trees_close(a, b, tolerance=2e-5):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b)):
        assert x.shape == y.shape
        np.testing.assert_allclose(x, y, rtol=0, atol=tolerance * float(jnp.max(jnp.abs(y))))


def curved(convolution, options):
    """A scalar function of images and kernel whose second derivatives by both are not zero."""
    return lambda x, w: jnp.sum(jnp.sin(0.3 * convolution(x, w, **options)))


@cases
def test_value_and_all_derivatives(case):
    x, w, options = operands(case)
    tangents = normal(2, *x.shape), normal(3, *w.shape)

    def everything(convolution):
        def f(x, w):
            return convolution(x, w, **options)

        scalar = curved(convolution, options)
        gradient = jax.grad(scalar, argnums=(0, 1))

        def squares(x, w):
            return sum(jnp.sum(jnp.square(g)) for g in gradient(x, w))

        return {
            "value": f(x, w),
            "jvp": jax.jvp(f, (x, w), tangents),
            "gradient": gradient(x, w),
            "forward over reverse": jax.jvp(gradient, (x, w), tangents)[1],
            "reverse over reverse": jax.grad(squares, argnums=(0, 1))(x, w),
        }

    ours, lax_own = (jax.jit(lambda c=c: everything(c))() for c in (conv, oracle))
    assert_trees_close(ours, lax_own)


@pytest.mark.parametrize("name", ["plain", "transposed"])
@pytest.mark.parametrize("axes", [(1, None), (None, 2), (0, 3)], ids=["images", "kernels", "both"])
def test_vmap(name, axes):
    x, w, options = operands(CASES[name])
    xs = x if axes[0] is None else normal(4, *np.insert(x.shape, axes[0], 3))
    ws = w if axes[1] is None else normal(5, *np.insert(w.shape, axes[1], 3))

    def run(convolution):
        def f(x, w):
            return convolution(x, w, **options)

        mapped = jax.vmap(f, axes)
        total = jax.grad(lambda xs, ws: jnp.sum(jnp.sin(0.3 * mapped(xs, ws))), argnums=(0, 1))
        each = jax.vmap(jax.grad(curved(convolution, options), argnums=(0, 1)), axes)
        return mapped(xs, ws), total(xs, ws), each(xs, ws)

    ours, lax_own = (jax.jit(lambda c=c: run(c))() for c in (conv, oracle))
    assert_trees_close(ours, lax_own)


@pytest.mark.parametrize("name", ["plain", "transposed"])
def test_inside_scan_and_under_remat(name):
    """Derivatives of a scan, a scan of derivatives, and the same again with rematerialisation."""
    x, w, options = operands(CASES[name], channels=(3, 3))
    ws = jnp.stack([w, 0.5 * w])

    def run(convolution, wrap, loop):
        layer = wrap(lambda x, w: x + 0.1 * jnp.mean(jnp.sin(convolution(x, w, **options))))

        def through(x, ws):
            return jnp.sum(jnp.square(loop(lambda x, w: (layer(x, w), None), x, ws)[0]))

        def descend(x, w):
            return x - 0.1 * jax.grad(curved(convolution, options))(x, w), None

        return jax.grad(through, argnums=(0, 1))(x, ws), loop(descend, x, ws)[0]

    def python_loop(body, carry, xs):
        for row in xs:
            carry, _ = body(carry, row)
        return carry, None

    expected = jax.jit(lambda: run(oracle, lambda f: f, python_loop))()
    assert_trees_close(jax.jit(lambda: run(conv, lambda f: f, lax.scan))(), expected)
    assert_trees_close(jax.jit(lambda: run(conv, jax.checkpoint, lax.scan))(), expected)


@pytest.mark.parametrize("name", ["plain", "strided, a row left over", "transposed", "1x1"])
def test_bfloat16_stays_bfloat16(name):
    x, w, options = operands(CASES[name])

    def run(x, w):
        return conv(x, w, **options), jax.grad(curved(conv, options), argnums=(0, 1))(x, w)

    low, full = jax.jit(run)(x.astype(jnp.bfloat16), w.astype(jnp.bfloat16)), jax.jit(run)(x, w)
    assert all(leaf.dtype == jnp.bfloat16 for leaf in jax.tree.leaves(low))
    assert_trees_close(jax.tree.map(lambda a: a.astype(jnp.float32), low), full, tolerance=0.03)


def test_gradients_are_this_convolution_in_forward_layout():
    """What makes gradients inside loops fast: no convolution but ours, and so none in another layout."""
    x, w, options = operands(CASES["transposed"])
    gradient = jax.grad(curved(conv, options), argnums=(0, 1))
    text = str(jax.make_jaxpr(jax.grad(lambda x, w: jnp.sum(gradient(x, w)[0] ** 2), argnums=(0, 1)))(x, w))
    assert text.count("jaxgan_conv[") > 3
    assert "conv_general_dilated" not in text


@pytest.mark.parametrize("kernel", [2, 3, 4, 5, 6])
def test_transposed_convolution_by_phases(kernel):
    x, w = normal(0, 2, 4, 5, 3), normal(1, kernel, kernel, 3, 4)
    sides = [(lo, hi) for lo in range(4) for hi in (0, 3)]
    paddings = list(zip(sides, sides[3:] + sides[:3]))
    ours = jax.jit(lambda: [_transposed_by_phases(x, w, padding, None) for padding in paddings])()
    assert_trees_close(ours, jax.jit(lambda: [oracle(x, w, lhs_dilation=2, padding=p) for p in paddings])())


@pytest.mark.parametrize(
    ("kernel", "size", "outputs", "phases"),
    [(3, 16, 8, True), (5, 16, 8, True), (5, 4, 8, True), (3, 4, 8, False), (4, 16, 3, False), (7, 16, 8, False)],
)
def test_transposed_convolutions_of_the_cpu(kernel, size, outputs, phases):
    """Large maps to several channels, and kernels larger than the images, leave no dilated images."""
    x, w = normal(0, 2, size, size, 3), normal(1, kernel, kernel, 3, outputs)
    both = jax.jit(jax.value_and_grad(curved(conv, {"lhs_dilation": 2, "padding": 2}), argnums=(0, 1)))
    text = both.trace(x, w).lower(lowering_platforms=("cpu",)).as_text()
    assert ("lhs_dilate = [2, 2]" in text) != phases


def test_runs_outside_jit():
    x, w, options = operands(CASES["strided, a row left over"])
    np.testing.assert_allclose(conv(x, w, **options), oracle(x, w, **options), rtol=0, atol=1e-5)


def test_errors():
    x = jnp.zeros((1, 4, 4, 3))
    with pytest.raises(ValueError, match=r"conv: images \(1, 4, 4, 3\) float32 do not fit a kernel \(3, 3, 2, 5\)"):
        conv(x, jnp.zeros((3, 3, 2, 5)))
    with pytest.raises(ValueError, match=r"float32 do not fit .* bfloat16"):
        conv(x, jnp.zeros((3, 3, 3, 5), jnp.bfloat16))


@pytest.mark.parametrize("platform", ["cpu", "tpu"])
def test_the_precision_in_force_reaches_every_convolution(platform):
    x, w = normal(0, 2, 16, 16, 8), normal(1, 4, 4, 8, 8)

    def energy(x, w):
        return jnp.square(conv(conv(x, w, padding=2), w, lhs_dilation=2, padding=2)).sum()

    def text():
        gradients = jax.jit(jax.grad(energy, argnums=(0, 1)))
        return gradients.trace(x, w).lower(lowering_platforms=(platform,)).as_text()

    def precisions(text):
        lines = [line for line in text.splitlines() if "stablehlo.convolution" in line]
        return len(lines), sum("HIGHEST" in line for line in lines)

    count, highest = precisions(text())
    assert count >= 5
    assert highest == 0
    with jax.default_matmul_precision("highest"):
        assert precisions(text()) == (count, count)
