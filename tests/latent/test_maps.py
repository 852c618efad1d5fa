"""Spaces of maps: what they contain, whitened codes, what keeps their parts alike, the stages that lead there."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.random_latents import RandomLatents
from jaxgan import config as configs
from jaxgan.data.sources import open_images
from jaxgan.errors import UserError
from jaxgan.latent import encode, equalise, spaces
from jaxgan.latent.invert import check_config, invert
from jaxgan.latent.objectives import make_objective
from jaxgan.latent.stream import Job
from jaxgan.networks.gan import call, draw_z
from jaxgan.networks.prior import Prior, draw
from jaxgan.report import to_uint8
from tests.networks.test_contracts import networks
from tests.networks.test_spatial import assert_same

NAMES = ("sz:2", "sw:1", "sw:4", "sw+:1", "sw+:4", "sw+:2x3", "sw+:4:0-2", "pyramid:8", "ss:1", "ss:4")


@pytest.fixture(autouse=True)
def _full_precision():
    with jax.default_matmul_precision("highest"):
        yield


@functools.cache
def model():
    """(networks, generator's variables, discriminator's, statistics) of a tiny StyleGAN2 of 16 px."""
    gan, generator, discriminator = networks("stylegan2")
    return gan, generator, discriminator, spaces.statistics(gan.generator, generator)


@functools.partial(jax.jit, static_argnums=0)
def render(space, generator, code):
    more = {"styled": True} if space.styled else {}
    return call(space.generator, generator, space.to_ws(generator, code), method="synthesize", **more)


@functools.cache
def trained_latents():
    """Random latents of a trained StyleGAN2, and what is known of them."""
    return RandomLatents("zoo:fashion-stylegan2")


@functools.cache
def of_w_plus():
    """(z, random ws, ws of w+ that are none, the images of both)."""
    gan, generator, _, _ = model()
    z = jax.random.normal(jax.random.key(0), (2, 12))
    ws = call(gan.generator, generator, z, method="map")
    mixed = ws + jax.random.normal(jax.random.key(3), ws.shape)
    space = spaces.make_space("w+", gan.generator)
    return z, ws, mixed, render(space, generator, ws), render(space, generator, mixed)


@pytest.mark.parametrize("name", NAMES)
def test_every_space_contains_the_images_of_w_plus(name):
    gan, generator, _, _ = model()
    space = spaces.make_space(name, gan.generator)
    z, ws, mixed, image, other = of_w_plus()
    if name == "sz:2":
        code = jnp.broadcast_to(z[:, None, None], (2, *space.shape))
    else:
        if not name.startswith("sw:"):
            ws, image = mixed, other
        code = space.begin(generator, ws) if space.styled else space.from_ws(ws)
    assert code.shape == (2, *space.shape)
    assert_same(render(space, generator, code), image)
    assert space.sample(generator, jax.random.key(1), 3).shape == (3, *space.shape)
    # Every number of a code does something.
    slope = jax.grad(lambda code: jnp.square(render(space, generator, code)).sum())(code + 0.1)
    assert (np.abs(np.asarray(slope)) > 0).mean() > 0.99


def test_a_finer_space_contains_the_coarser_one():
    gan, generator, _, _ = model()
    coarse, fine = (spaces.make_space(n, gan.generator) for n in ("sw:2", "sw+:2"))
    code = jax.random.normal(jax.random.key(0), (1, *coarse.shape))
    ws = coarse.to_ws(generator, code)
    assert_same(render(fine, generator, fine.from_ws(ws)), render(coarse, generator, code))
    np.testing.assert_allclose(coarse.from_ws(fine.from_ws(ws)), code, atol=1e-6)
    for name in ("pyramid:2", "ss:2"):  # no finer than any layer, so that nothing is interpolated twice
        space = spaces.make_space(name, gan.generator)
        same = space.begin(generator, ws) if space.styled else space.from_ws(ws)
        assert_same(render(space, generator, same), render(coarse, generator, code))
    assert spaces.make_space("w+", gan.generator).from_ws(ws).shape == (1, gan.generator.num_ws, 6)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("sw", "space 'sw' is not known; use one of z, w, w+, or one of maps such as sw+:8"),
        ("sx:4", "spaces of maps are sz:8, a map of z; sw:8"),
        ("sw:x", "is no size of a map; give 8, or 4x6"),
        ("sw:99", "finer than the image"),
        ("sw+:4:3-99", "give layers of 0 to 5"),
    ],
)
def test_names_that_are_none(name, said):
    with pytest.raises(UserError, match=re.escape(said)):
        spaces.make_space(name, model()[0].generator)
    with pytest.raises(UserError, match="only StyleGAN2"):
        spaces.make_space("sw:4", networks("pggan")[0].generator)


# Whitening and the terms that are made of it


@pytest.mark.parametrize("name", ["w", "w+", "sw:3", "sw+:3", "pyramid:8"])
def test_whitened_coordinates_are_inverted(name):
    gan, generator, _, statistics = model()
    config = configs.load("invert").to_dict() | {"coordinates": "whitened", "perturbation": 0.0}
    config["weights"] = {"l2": 1.0}
    space = spaces.make_space(name, gan.generator)
    objective, variables = make_objective(space, gan, config, generator, None, statistics)
    code = space.sample(generator, jax.random.key(0), 50)
    v = objective.coordinates(variables, code)
    assert v.shape == code.shape
    np.testing.assert_allclose(objective.code(variables, v), code, atol=1e-4 * float(jnp.abs(code).max()))
    assert float(jnp.square(v).mean()) == pytest.approx(1.0, abs=0.15)


@pytest.mark.parametrize("dim", [64, 128, 512])
def test_terms_are_at_their_levels(dim):
    """Section 5 and test 5 of section 11 of the notes: of random parts, of zeros, of scaled ones."""
    v = jax.random.normal(jax.random.key(0), (4, 300, dim))
    level = equalise.level(dim)
    assert level == pytest.approx({64: 0.042, 128: 0.022, 512: 0.006}[dim], rel=0.15)
    np.testing.assert_allclose(equalise.quantile_distance(v), level, rtol=0.1)
    np.testing.assert_allclose(equalise.quantile_distance(0 * v), 1.0, atol=0.05)
    for scale in (0.5, 1.5):  # and so much of the level as the scale leaves of it
        np.testing.assert_allclose(equalise.quantile_distance(scale * v), 0.25 + scale**2 * level, rtol=0.1)
    assert float(equalise.equalise(v, level).max()) < 0.05
    uneven = v * jnp.where(jnp.arange(300) % 2, 0.5, 1.5)[:, None]
    assert float(equalise.across(uneven).min()) > 0.2
    assert float(equalise.across(0.5 * v).max()) < 0.02
    slope = jax.grad(lambda v: equalise.equalise(v, level).sum())(1.2 * v)
    assert np.isfinite(slope).all()
    assert np.abs(slope).max() > 0


def test_roughness_and_dependence():
    flat, loose = jnp.ones((2, 3, 8, 8, 64)), jax.random.normal(jax.random.key(0), (2, 3, 8, 8, 64))
    np.testing.assert_array_equal(equalise.roughness(flat), 0)
    np.testing.assert_allclose(equalise.roughness(loose), 1, atol=0.05)
    np.testing.assert_array_equal(equalise.roughness(loose[:, :, :1, :1]), 0)
    prior = Prior(0.3, ((1.0, 0.35), (2.0, 0.35)))
    places = np.stack(np.meshgrid(*[np.arange(8)] * 2, indexing="ij"), -1).reshape(-1, 2)
    distance = np.sqrt(np.square(places[:, None] - places[None]).sum(-1))
    covariance = jnp.asarray(prior.correlation(distance), jnp.float32)
    keys = jax.random.split(jax.random.key(1), 4)
    drawn = jax.vmap(lambda key: draw(prior, key, (8, 8), 64))(keys).reshape(4, 64, 64)
    np.testing.assert_allclose(equalise.dependence(drawn, covariance), 1, atol=0.1)
    constant = jnp.broadcast_to(drawn[:, :1], drawn.shape)
    assert float(equalise.dependence(constant, covariance).max()) < 0.3
    assert float(equalise.dependence(jax.random.normal(keys[0], (1, 64, 64)), covariance)[0]) > 5


# Encoding


def config_for(space, **more):
    config = configs.load("invert").to_dict() | {"space": space, "steps": 60, "batch": 2, "chunk": 20} | more
    config["weights"] = {name: 0.0 for name in config["weights"]} | {"l2": 1.0} | more.get("weights", {})
    config["stages"] |= {"w_steps": 40, "wplus_steps": 40, "equalise": 0.0}
    return config


def test_the_plan():
    steps = [(s["space"], s["steps"], s["coordinates"]) for s in encode.plan(config_for("sw+:8", steps=100))]
    assert steps == [
        ("w", 40, "raw"),
        ("w+", 40, "raw"),
        ("sw+:2", 25, "whitened"),
        ("sw+:4", 25, "whitened"),
        ("sw+:8", 50, "whitened"),
    ]
    assert [s["space"] for s in encode.plan(config_for("sw:4x6"))] == ["w", "sw:2x3", "sw:4x6"]
    assert [s["space"] for s in encode.plan(config_for("pyramid:8"))] == ["w", "w+", "pyramid:8"]
    vectors, given = np.zeros((1, 6, 6)), np.zeros((1, 6, 8, 8, 6))
    assert [(s["space"], s["coordinates"]) for s in encode.plan(config_for("ss:4"), vectors)] == [("ss:4", "raw")]
    assert [s["space"] for s in encode.plan(config_for("sw+:8"), vectors)] == ["sw+:2", "sw+:4", "sw+:8"]
    assert [s["space"] for s in encode.plan(config_for("sw+:8"), given)] == ["sw+:8"]  # nothing that is known is lost
    assert {s["coordinates"] for s in encode.plan(config_for("sw:4", prior_clamp=2.0))} == {"raw"}
    assert encode.plan(config_for("sw:4", weights={"roughness": 1.0}))[0]["weights"]["roughness"] == 0
    for name in ("w", "z", "sz:4"):
        assert not encode.staged(name)


def test_maps_are_kept_alike_unless_told_otherwise():
    def weights(space, **given):
        config = configs.load("invert").to_dict() | {"space": space}
        config["weights"] |= given
        return [s["weights"]["equalise"] for s in encode.plan(config)]

    assert weights("sw+:4") == [0.1] * 4
    assert weights("sw+:4", equalise=0.3) == [0.3] * 4
    assert weights("pyramid:4") == [0.1] * 3
    assert weights("ss:4") == [0, 0, 0]


@pytest.mark.parametrize("name", ["sw:2", "sw+:4", "pyramid:8"])
def test_maps_come_nearer_than_vectors(name):
    """From the very image of the stage before (section 11, test 6), and further at equal steps."""
    gan, generator, discriminator, statistics = model()
    space = spaces.make_space(name, gan.generator)
    wanted = space.sample(generator, jax.random.key(7), 2)
    wanted = wanted + 0.5 * jax.random.normal(jax.random.key(8), wanted.shape)  # not alike everywhere
    images = np.asarray(render(space, generator, wanted))
    config = config_for(name, snapshots=(0,))
    found = encode.encode(gan, generator, discriminator, images, config, stats=statistics)
    vector = "w" if name.startswith("sw:") else "w+"
    begun = invert(gan, generator, discriminator, images, encode.plan(config_for(name))[0], stats=statistics)
    if vector == "w+":
        stage = encode.plan(config_for(name))[1]
        begun = invert(gan, generator, discriminator, images, stage, start=begun.ws, stats=statistics)
    np.testing.assert_allclose(found.images, render(space, generator, jnp.asarray(found.code)), atol=1e-3)
    if name != "sw+:4":  # one stage of maps: it begins where vectors ended
        np.testing.assert_allclose(found.losses[0], begun.loss, rtol=1e-3)
        assert np.abs(found.snapshots[0].astype(int) - to_uint8(begun.images)).max() <= 1
    longer = dict(config_for(vector), steps=160, optimizer=config_for(vector)["optimizer"] | {"lr": 0.05})
    same = invert(gan, generator, discriminator, images, longer, start=begun.ws, stats=statistics)
    assert (found.loss < 0.8 * same.loss).all()
    assert np.isfinite(found.prior).all()
    assert (found.used == 60 + (40 if vector == "w" else 80)).all()


def test_an_interrupted_encoding_goes_on_bit_for_bit(tmp_path):
    """Killed in its second stage; nobody else may take the folder meanwhile."""
    gan, generator, discriminator, statistics = model()
    images = np.random.default_rng(0).uniform(-1, 1, (2, *gan.generator.image_shape)).astype(np.float32)
    config = config_for("sw+:2", steps=40)
    how = (gan, generator, discriminator, images, config)
    whole = encode.encode(*how, stats=statistics)

    class Killed(Exception):
        pass

    def kill(done, total):
        assert total == 2 * (40 + 40 + 40)
        if done >= 2 * 60:
            raise Killed

    job = Job(tmp_path / "work", {"who": "we"}, every=0.0)
    with pytest.raises(Killed):
        encode.encode(*how, stats=statistics, job=job, progress=kill)
    with pytest.raises(UserError, match="unfinished work of another command"):
        Job(tmp_path / "work", {"who": "others"})
    again = encode.encode(*how, stats=statistics, job=Job(tmp_path / "work", {"who": "we"}, every=0.0))
    np.testing.assert_array_equal(again.code, whole.code)
    np.testing.assert_array_equal(again.losses, whole.losses)


def test_what_stands_beside_a_code_goes_with_it():
    """Noise maps that w found are those that maps begin with."""
    gan, generator, discriminator, statistics = model()
    images = np.random.default_rng(0).uniform(-1, 1, (1, *gan.generator.image_shape)).astype(np.float32)
    config = config_for("pyramid:4", noise_maps=True, batch=1)
    config["stages"]["wplus_steps"] = 0
    first = invert(gan, generator, discriminator, images, encode.plan(config)[0], stats=statistics)
    found = encode.encode(gan, generator, discriminator, images, config, stats=statistics)
    np.testing.assert_allclose(found.losses[0], first.loss, rtol=1e-3)


def test_an_image_of_the_prior_comes_back():
    gan, generator, discriminator, statistics = model()
    space = spaces.make_space("w", gan.generator)
    code = space.sample(generator, jax.random.key(3), 2)
    images = np.asarray(render(space, generator, code))
    found = encode.encode(
        gan,
        generator,
        discriminator,
        images,
        config_for("sw+:2", steps=200, weights={"equalise": 0.01}),
        stats=statistics,
    )
    assert (found.terms["l2"] < 0.02 * np.square(images - images.mean()).mean()).all()


@pytest.mark.slow
def test_maps_of_the_prior_come_back():
    """Drawn as a generator of maps was trained on them, and found among its own maps of z."""
    gan, generator, discriminator = networks("spatial")
    space = spaces.make_space("sz:12", gan.generator)
    wanted = space.sample(generator, jax.random.key(3), 2)
    assert float(jnp.abs(wanted[:, 0, 0] - wanted[:, 6, 6]).max()) > 0.1  # maps that are not alike everywhere
    images = np.asarray(render(space, generator, wanted))
    config = config_for("sz:12", steps=400, candidates=16)
    config["optimizer"] |= {"lr": 0.05}
    found = invert(gan, generator, discriminator, images, config)
    assert (found.terms["l2"] < 0.02 * np.square(images - images.mean()).mean()).all()


def test_a_map_that_some_layers_have_is_kept_as_one_of_all():
    gan, generator, _, _ = model()
    for name, size in (("sw+:4:0-2", 4), ("pyramid:4", 4), ("pyramid:8", None)):
        space = spaces.make_space(name, gan.generator)
        code = space.sample(generator, jax.random.key(0), 2) + jax.random.normal(jax.random.key(1), (2, *space.shape))
        stacked = space.stacked(space.to_ws(generator, code))
        assert (stacked is None) == (size is None)
        if size:
            assert stacked.shape == (2, gan.generator.num_ws, size, size, gan.generator.w_dim)
            whole = spaces.make_space(f"sw+:{size}", gan.generator)
            assert_same(render(whole, generator, stacked), render(space, generator, code))


def test_near_cells_of_a_generator_of_maps_stay_alike():
    gan, generator, discriminator = networks("spatial")
    statistics = spaces.statistics(gan.generator, generator)
    space = spaces.make_space("sz:12", gan.generator)
    config = configs.load("invert").to_dict() | {"perturbation": 0.0, "space": "sz:12"}
    config["weights"] = {"l2": 1.0, "dependence": 1.0}
    objective, variables = make_objective(space, gan, config, generator, discriminator, statistics)
    z = draw_z(gan.generator, jax.random.key(0), 3)
    loose = jax.random.normal(jax.random.key(1), z.shape)
    found = []
    for code in (z, loose):
        target = {"image": jnp.zeros((3, *gan.generator.image_shape))}
        found.append(objective(variables, {"code": code}, target, jax.random.split(jax.random.key(2), 3), 1.0)[1])
    assert float(found[0]["dependence"].max()) < 0.3
    assert float(found[1]["dependence"].min()) > 3


def test_a_regulariser_keeps_parts_likely():
    gan, generator, discriminator, statistics = model()
    images = np.random.default_rng(0).uniform(-1, 1, (2, *gan.generator.image_shape)).astype(np.float32)
    free, kept = (
        encode.encode(
            gan, generator, discriminator, images, config_for("sw+:4", weights={"equalise": w}), stats=statistics
        )
        for w in (0.0, 10.0)
    )
    assert (np.abs(kept.prior - 1) < np.abs(free.prior - 1)).all()
    assert (kept.terms["equalise"] < 0.3).all()


def test_terms_are_at_their_levels_on_a_trained_generator_s_latents():
    """Section 11, test 5: not of normal numbers, but of w as a trained mapping network makes it."""
    of = trained_latents()
    v = spaces.to_prior(of.generator, of.stats, of.ws(500, seed=5)[:, :1])[..., : of.kept]
    level = equalise.level(of.kept)
    assert float(equalise.quantile_distance(v).mean()) == pytest.approx(level, abs=0.05)
    assert float(jnp.sqrt(jnp.square(v).mean(-1)).mean()) == pytest.approx(1, abs=0.03)


@pytest.mark.slow
def test_with_the_regulariser_radii_are_about_1():
    """Section 11, test 6: the histogram of the parts' radii, of photographs that no latent was drawn for."""
    of = trained_latents()
    gan, discriminator = of.model.gan, of.model.variables["discriminator"]
    images = open_images("fashion", split="test").gather(np.arange(4))
    medians = []
    for weight in (0.0, 1.0):
        config = config_for("sw+:2", steps=200, batch=4, weights={"equalise": weight})
        found = encode.encode(gan, of.variables, discriminator, images, config, stats=of.stats)
        v = spaces.to_prior(of.generator, of.stats, jnp.asarray(found.ws).reshape(4, -1, of.generator.w_dim))
        medians.append(float(jnp.median(jnp.sqrt(jnp.square(v[..., : of.kept]).mean(-1)))))
    assert abs(medians[1] - 1) < 0.1
    assert abs(medians[1] - 1) < abs(medians[0] - 1)


@pytest.mark.parametrize(
    ("space", "more", "said"),
    [
        ("w+", {"weights": {"roughness": 1.0}}, "has none; set it to 0"),
        ("ss:4", {"weights": {"prior": 1.0}}, "of styles that is not known"),
        ("z", {"coordinates": "whitened"}, "use raw here"),
        ("w", {"coordinates": "white"}, "use raw or whitened"),
        ("sw:4", {"weights": {"dependence": 1.0}}, "use roughness"),
    ],
)
def test_what_does_not_apply(space, more, said):
    gan, generator, discriminator, statistics = model()
    config = config_for(space, **more)
    space = spaces.make_space(space, gan.generator)
    with pytest.raises(UserError, match=said):
        make_objective(space, gan, config, generator, discriminator, statistics)
    for name, said in (("demodulation", "use centre or window"), ("latent_filter", "use torch_bilinear or nearest")):
        with pytest.raises(UserError, match=said):
            check_config(config_for("w", **{name: "none"}), gan.generator)
    with pytest.raises(UserError, match="of styles that is not known"):
        encode.check_stages(config_for("ss:4", weights={"equalise": 1.0}), gan.generator)
