"""Inversion: images come back, and every image is a problem of its own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgan
from jaxgan import config as configs
from jaxgan.errors import UserError
from jaxgan.features.networks import load as load_network
from jaxgan.latent.invert import check_config, invert
from jaxgan.latent.measures import quality
from jaxgan.latent.objectives import make_objective
from jaxgan.latent.space import has_mapping
from jaxgan.latent.spaces import SPACES, statistics
from jaxgan.latent.stream import Job
from jaxgan.networks.build import ARCHITECTURES
from jaxgan.networks.gan import call, extras
from tests.networks.test_contracts import networks


def config(**changes):
    """Pixel losses alone, on few steps."""
    c = configs.load("invert")
    c.weights.conv, c.start, c.steps, c.chunk, c.batch = 0.0, "mean", 20, 10, 4
    for name, value in changes.items():
        part = c
        *path, last = name.split("__")
        for key in path:
            part = part[key]
        part[last] = value
    return c.to_dict()


@pytest.fixture(scope="module")
def model():
    """A tiny StyleGAN2, four images of it, and its statistics."""
    gan, generator, discriminator = networks("stylegan2")
    z = jax.random.normal(jax.random.key(1), (5, gan.generator.z_dim))
    images = np.asarray(call(gan.generator, generator, z))
    return gan, generator, discriminator, images, statistics(gan.generator, generator)


def run(model, rows=slice(None), given=None, **changes):
    gan, generator, discriminator, images, stats = model
    chosen = images[rows] if given is None else given
    more = {k: changes.pop(k) for k in ("masks", "start", "job", "labels") if k in changes}
    return invert(gan, generator, discriminator, chosen, config(**changes), stats=stats, **more)


DEFAULT = ("stylegan2", "dcgan")  # the other architectures are slow tests


@pytest.mark.parametrize(
    "architecture", [pytest.param(a, marks=() if a in DEFAULT else pytest.mark.slow) for a in ARCHITECTURES]
)
def test_every_architecture_in_every_space(architecture):
    gan, generator, discriminator = networks(architecture, 3 if architecture == "biggan" else 0)
    shape = gan.generator.image_shape
    images = np.asarray(jax.random.uniform(jax.random.key(0), (2, *shape), minval=-1.0))
    stats = statistics(gan.generator, generator)
    for space in SPACES:
        if space == "w" and gan.generator.num_ws > 1 and not has_mapping(gan.generator):
            continue
        found = invert(
            gan,
            generator,
            discriminator,
            images,
            config(space=space, steps=10),
            labels=1 if gan.generator.num_classes else None,
            stats=stats,
        )
        assert found.images.shape == images.shape
        assert (*found.ws.shape[:2], found.ws.shape[-1]) == (2, gan.generator.num_ws, gan.generator.w_dim)
        assert np.isfinite(found.loss).all()
        assert found.logits.shape == found.prior.shape == (2,)
        assert not found.failed.any()
        more = extras(gan.generator, found.extras)
        again = call(gan.generator, generator, jnp.asarray(found.ws), "const", method="synthesize", **more)
        np.testing.assert_allclose(found.images, again, atol=1e-4)


def test_an_image_of_a_known_w_comes_back(model):
    found = run(model, steps=300, optimizer__lr=0.05, weights__l1=0.0, weights__l2=1.0)
    assert (found.terms["l2"] < 0.05 * found.losses[0]).all()


def test_permuting_the_batch_permutes_the_results(model):
    order = [2, 0, 3, 1]
    one = run(model, rows=slice(0, 4))
    # An image's key is that of its place: without draws the program does not use it.
    other = run(model, rows=order)
    np.testing.assert_allclose(other.ws, one.ws[order], rtol=1e-5, atol=1e-6)


def test_the_gradient_of_an_image_alone_is_that_in_a_batch(model):
    """At the first step, of terms that look at pixels, at the discriminator and at the latent."""
    gan, generator, discriminator, images, stats = model
    weights = {"l1": 10.0, "hog": 1.0, "realism": 0.3, "prior": 0.1, "mean": 0.1, "spread": 0.1, "delta": 0.1}
    c = config(**{f"weights__{name}": weight for name, weight in weights.items()})
    objective, variables = make_objective(SPACES["w+"](gan.generator), gan, c, generator, discriminator, stats)

    @jax.jit
    def gradient(code, image):
        keys = jax.vmap(jax.random.key)(jnp.arange(len(image)))
        target = objective.make_target(variables, image, {"code": jnp.zeros_like(code)})

        def total(code):
            return objective(variables, {"code": code}, target, keys, jnp.float32(0.5))[0].sum()

        return jax.grad(total)(code)

    code = objective.space.sample(generator, jax.random.key(5), 4)
    together = gradient(code, images[:4])
    for i in range(4):
        alone = gradient(code[i : i + 1], images[i : i + 1])[0]
        assert float(jnp.abs(alone - together[i]).max()) < 1e-5 * float(jnp.abs(alone).max())


def test_one_at_a_time_equals_the_batch(model):
    """Near enough for float32; tests/latent/test_independence.py looks closer."""
    together, alone = (
        run(model, rows=slice(0, 4), batch=batch, steps=100, weights__l1=0.0, weights__l2=1.0) for batch in (4, 1)
    )
    np.testing.assert_allclose(alone.losses[0], together.losses[0], rtol=1e-5)
    np.testing.assert_allclose(alone.ws, together.ws, atol=1e-3)
    np.testing.assert_allclose(alone.loss, together.loss, rtol=0.05)


def test_batches_are_filled_up_and_independent(model):
    """Five images in batches of two: the last is filled up, and each is what it is in another batch size."""
    two, four = run(model, batch=2), run(model, batch=4)
    assert two.ws.shape[0] == four.ws.shape[0] == 5
    np.testing.assert_allclose(two.ws, four.ws, atol=1e-3)


def test_uint8_images_are_their_floats(model):
    given = np.random.default_rng(0).integers(0, 256, model[3][:2].shape, dtype=np.uint8)
    found, floats = run(model, given=given), run(model, given=given.astype(np.float32) / 127.5 - 1.0)
    np.testing.assert_array_equal(found.ws, floats.ws)
    with pytest.raises(UserError, match="images of type int64; give uint8"):
        run(model, given=given.astype(np.int64))


def test_a_nan_image_leaves_the_others_as_they_are(model):
    images = model[3][:4].copy()
    clean = run(model, rows=slice(0, 4))
    images[1] = np.nan
    found = run(model, given=images)
    assert found.failed.tolist() == [False, True, False, False]
    for i in (0, 2, 3):
        np.testing.assert_array_equal(found.ws[i], clean.ws[i])
    assert np.isfinite(found.ws).all()


def test_a_mask_of_ones_is_no_mask_and_one_of_zeros_leaves_the_start(model):
    ones = np.ones((5, 16, 16, 1), np.float32)
    plain, masked, nothing = run(model), run(model, masks=ones), run(model, masks=0 * ones)
    np.testing.assert_allclose(masked.ws, plain.ws, atol=1e-3)
    np.testing.assert_allclose(nothing.ws, np.broadcast_to(model[4].w_mean, plain.ws.shape), atol=1e-6)


def test_a_heavy_delta_gives_the_start(model):
    """Its gradient has the weight's length at every distance, so Adam swings about the start until its rate is 0."""
    found = run(model, weights__delta=1e3, steps=40)
    random = np.sqrt(model[0].generator.num_ws) * model[4].w_std  # how far random latents are
    assert (found.terms["delta"] < 0.01 * random).all()
    start = call(model[0].generator, model[1], model[4].w_mean[None], method="synthesize")
    np.testing.assert_allclose(found.images, np.broadcast_to(start, found.images.shape), atol=0.01)


def test_an_earlier_result_is_a_start(model):
    first = run(model, steps=50)
    second = run(model, start=first.ws, steps=10)
    np.testing.assert_allclose(second.losses[0], first.loss, rtol=1e-4)
    encoded = run(model, start=lambda images: first.ws[: len(images)], steps=10, batch=8)
    np.testing.assert_allclose(encoded.losses[0], first.loss, rtol=1e-4)


def test_candidates_begin_no_worse_than_one_of_them(model):
    few = run_start(model, 1)
    best = run_start(model, 16)
    assert (best.losses[0] <= few.losses[0] + 1e-6).all()
    assert (best.losses[0] < few.losses[0]).any()


def run_start(model, candidates):
    gan, generator, discriminator, images, stats = model
    c = config(candidates=candidates) | {"start": "candidates"}
    return invert(gan, generator, discriminator, images, c, stats=stats)


def test_noise_maps_are_optimised_and_stay_normal(model):
    found = run(model, noise_maps=True, weights__noise=1e3, perturbation=0.05)
    assert len(found.noise) == len(model[0].generator.noise_shapes)
    for maps in found.noise:
        np.testing.assert_allclose(maps.mean((1, 2, 3)), 0.0, atol=1e-5)
        np.testing.assert_allclose(np.square(maps).mean((1, 2, 3)), 1.0, rtol=1e-4)
    assert not np.array_equal(found.noise[-1][0], found.noise[-1][1])


def test_the_clamp_holds(model):
    found = run(model, prior_clamp=1.5, steps=40)
    assert (found.prior <= 1.5 * 1.02).all()
    assert run(model, steps=40).prior.max() > 1.6


def test_terms_on_latents_hold_them_near_the_mean(model):
    """Each of them, heavy, leaves less of what it weighs than the pixels alone do."""
    free = run(model, steps=60)
    assert run(model, steps=60, weights__prior=10.0, prior_from=10.0).prior.mean() < 0.5 * free.prior.mean()
    # The logits of an untrained discriminator hardly move.
    for term, weight, share in (("spread", 10.0, 0.7), ("realism", 1e5, 1 - 1e-6)):
        slight = run(model, steps=60, **{f"weights__{term}": 1e-6}).terms[term].mean()
        assert run(model, steps=60, **{f"weights__{term}": weight}).terms[term].mean() < share * slight, term


def test_lbfgs_counts_what_it_evaluates(model):
    found = run(model, optimizer__kind="lbfgs", weights__l1=0.0, weights__l2=1.0)
    assert (found.loss < found.losses[0]).all()
    assert (found.evaluations >= 2 * found.used).all()


class Stop(Exception):
    """As good as a kill."""


def test_a_job_continues_bit_for_bit(model, tmp_path):
    gan, generator, discriminator, images, stats = model
    c = config(batch=2, snapshots=(0, 20), noise_maps=True, weights__noise=1.0, perturbation=0.05)
    whole = invert(gan, generator, discriminator, images, c, stats=stats)
    calls = 0

    def stop(done, total):
        nonlocal calls
        calls += 1
        if calls == 4:  # inside the second batch, after the chunk that follows its checkpoint
            raise Stop

    job = Job(tmp_path / "job", {"a": 1}, every=0.0)
    with pytest.raises(Stop):
        invert(gan, generator, discriminator, images, c, stats=stats, job=job, progress=stop)
    assert (tmp_path / "job" / "part-00000.npz").exists()
    assert not (tmp_path / "job" / "part-00001.npz").exists()
    steps = []
    resumed = invert(
        gan,
        generator,
        discriminator,
        images,
        c,
        stats=stats,
        job=Job(tmp_path / "job", {"a": 1}, every=0.0),
        progress=lambda done, total: steps.append(done),
    )
    assert steps[0] == 2 * 20 + 2 * 20  # the second batch's second chunk
    for name in ("ws", "images", "losses", "snapshots", "loss", "used"):
        np.testing.assert_array_equal(getattr(resumed, name), getattr(whole, name), err_msg=name)
    for a, b in zip(resumed.noise, whole.noise):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(UserError, match="unfinished work of another"):
        Job(tmp_path / "job", {"a": 2})


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"space": "s"}, "z, w, w\\+"),
        ({"steps": 0}, "steps=0"),
        ({"weights__l1": 0.0}, "compares with nothing"),
        ({"weights__l1": -1.0}, "weights.l1=-1.0"),
        ({"optimizer__lr": 0.0}, "lr=0.0"),
        ({"start": "middle"}, "mean or candidates"),
    ],
)
def test_a_config_that_cannot_be_run_is_refused(model, changes, says):
    with pytest.raises(UserError, match=says):
        check_config(config(**changes), model[0].generator)


def test_images_of_another_size_are_refused(model):
    with pytest.raises(UserError, match="16, 16, 3"):
        run(model, given=np.zeros((1, 8, 8, 3), np.float32))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fashion-dcgan", "fashion-pggan", "fashion-stylegan2"])
def test_images_of_trained_generators_come_back(name):
    """The richest vector space, pixels alone: the perceptual distance to what a generator made is below 0.01."""
    model = jaxgan.load(f"zoo:{name}")
    images = np.asarray(model.sample(jax.random.key(7), 8))
    changes = {"optimizer__kind": "lbfgs", "weights__l1": 0.0, "weights__l2": 10.0, "start": "candidates"}
    c = config(space="w+", steps=400, chunk=50, batch=8, candidates=1024, **changes)
    found = invert(model.gan, *(model.variables[k] for k in ("generator", "discriminator")), images, c)
    assert quality(images, found.images, load_network("stlpips-alex"))["ST-LPIPS Alex"].mean() < 0.01
