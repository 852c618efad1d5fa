"""EqGAN's generator: what the spatial encoding does, where heatmaps come from, running some blocks only."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.configs import common
from jaxgan.errors import UserError
from jaxgan.networks import eqgan, heatmaps, stylegan2
from jaxgan.networks.build import build, init
from jaxgan.networks.gan import draw_extras
from tests.networks.test_contracts import networks
from tests.tiny import call


@pytest.fixture(scope="module")
def small():
    gan, generator, _ = networks("eqgan")
    generator = encodings_times(generator, 100)
    ws = call(gan.generator, generator, jax.random.normal(jax.random.key(0), (3, 12)), method="map")
    return gan.generator, generator, ws


def images(small, noise="const", **more):
    generator, variables, ws = small
    return np.asarray(call(generator, variables, ws, noise, method="synthesize", **more))


def encodings_times(variables, factor):
    """The last convolutions of all spatial encoding layers multiplied; beside the others they are small at first."""

    def visit(path, leaf):
        names = [key.key for key in path]
        return factor * leaf if "output" in names and any(n.endswith("_sel") for n in names) else leaf

    return jax.tree_util.tree_map_with_path(visit, variables)


@pytest.mark.parametrize("sel", ["norm", "concat"])
def test_without_its_last_convolution_it_is_stylegan2(sel):
    gan, variables, _ = networks("eqgan", sel=sel)
    generator = gan.generator
    plain = stylegan2.Generator(
        **{
            name: getattr(generator, name)
            for name in stylegan2.Generator.__dataclass_fields__
            if name not in ("parent", "name")
        }
    )
    ws = jax.random.normal(jax.random.key(1), (2, generator.num_ws, generator.w_dim))
    ours = call(generator, encodings_times(variables, 0), ws, method="synthesize")
    theirs = call(plain, variables, ws, method="synthesize")
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    assert not np.allclose(call(generator, variables, ws, method="synthesize"), theirs, atol=1e-2)


@pytest.mark.parametrize("sel", eqgan.SELS)
def test_every_layer_has_an_encoding_and_heatmaps_matter(sel):
    gan, variables, _ = networks("eqgan", sel=sel)
    blocks = variables["params"]["synthesis"]
    found = sum(name.endswith("_sel") for block in blocks.values() for name in block)
    assert found == 2 + 3 * 3  # 4, 8, 16, 32 px
    ws = jnp.zeros((2, gan.generator.num_ws, gan.generator.w_dim))
    drawn = heatmaps.draw(jax.random.key(0), 2)
    variables = encodings_times(variables, 100)
    made = call(gan.generator, variables, ws, heatmaps=drawn, method="synthesize")
    assert not np.allclose(made[0], made[1], atol=1e-3)


def test_where_heatmaps_come_from(small):
    generator = small[0]
    middle = images(small, heatmaps=heatmaps.middle(3))
    rounding = 1e-5 * np.abs(middle).max()
    np.testing.assert_allclose(images(small), middle, atol=rounding)
    maps = heatmaps.render(heatmaps.middle(3), (32, 32))
    np.testing.assert_allclose(images(small, heatmaps=maps), middle, atol=rounding)
    key = jax.random.key(5)
    drawn = heatmaps.of(None, key, 3, (32, 32), shared_width=generator.shared_width)
    np.testing.assert_allclose(images(small, key), images(small, key, heatmaps=drawn), atol=rounding)
    by_key = images(small, heatmaps=key)
    assert not np.allclose(by_key, middle, atol=1e-3)
    keys = jax.random.split(key, 3)
    own = images(small, **draw_extras(generator, keys))
    alone = images((*small[:2], small[2][1:2]), **draw_extras(generator, keys[1:2]))
    np.testing.assert_allclose(own[1:2], alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("blocks", [1, 2, 3])
def test_blocks_one_after_the_other_are_the_whole(small, blocks):
    generator, variables, ws = small
    placement = heatmaps.draw(jax.random.key(2), 3)

    def some(carried, blocks):
        how = {"heatmaps": placement, "blocks": blocks, "method": "synthesize"} | carried
        return call(generator, variables, ws, **how)

    begun = some({}, (0, blocks))
    whole = images(small, heatmaps=placement)
    np.testing.assert_allclose(some({"carried": begun}, (blocks, None)), whole, rtol=1e-4, atol=1e-4)


def test_too_small():
    with pytest.raises(UserError, match="use 32 or more"):
        networks("eqgan", resolution=16)
    with pytest.raises(UserError, match="sel='batch' is not supported; use norm or full or concat"):
        build(
            {
                "architecture": "eqgan",
                "resolution": 32,
                "base_shape": (4, 4),
                "channels": 3,
                "sel": "batch",
                "dtype": "float32",
            }
        )


def test_heatmaps_that_do_not_fit_are_refused(small):
    maps = heatmaps.render(heatmaps.middle(3), (32, 32))
    for wrong in (
        maps[:2],
        heatmaps.render(heatmaps.middle(3), (16, 16)),
        heatmaps.render(heatmaps.middle(2), (32, 32)),
    ):
        with pytest.raises(UserError, match="do not fit; give those of the three levels"):
            images(small, heatmaps=wrong)
    with pytest.raises(UserError, match="a placement of 2 images for 3"):
        images(small, heatmaps=heatmaps.middle(2))


@pytest.mark.parametrize(("resolution", "count"), [(64, 14), (256, 20)])
def test_as_many_encodings_and_weights_as_in_the_released_code(resolution, count):
    """Section 3 of what is known of it; at 256 px 31.44 M of the encodings beside 22.67 M of the synthesis."""
    config = common.eqgan256()
    config.model.update(resolution=resolution, base_shape=(4, 4), channels=3, dtype="float32")
    gan = build(config.model.to_dict())
    shapes = jax.eval_shape(lambda: init(gan, jax.random.key(0))[0])["params"]
    names = ["/".join(key.key for key in path) for path, _ in jax.tree_util.tree_leaves_with_path(shapes["synthesis"])]
    sizes = dict(zip(names, (leaf.size for leaf in jax.tree.leaves(shapes["synthesis"]))))
    assert len({name.split("_sel/")[0] for name in names if "_sel/" in name}) == count
    if resolution == 256:
        ours = sum(size for name, size in sizes.items() if "_sel/" in name)
        assert ours == pytest.approx(31.44e6, rel=1e-3)
        assert sum(sizes.values()) - ours == pytest.approx(22.67e6, rel=1e-3)
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes["heatmaps"])) == 14_976
