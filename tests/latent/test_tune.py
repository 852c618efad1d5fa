"""Pivotal tuning: the loss falls, buffers and what makes the latents stay, it ends where it should and goes on."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import config as configs
from jaxgan.errors import UserError
from jaxgan.features.networks import Network
from jaxgan.latent import tune as tuning
from jaxgan.latent.stream import Job
from jaxgan.latent.tune import check_tuning, tune
from jaxgan.networks.build import ARCHITECTURES
from jaxgan.networks.gan import call
from tests.networks.test_contracts import networks

DEFAULT = ("stylegan2", "dcgan")  # the other architectures are slow tests


class Edges(nn.Module):
    """Differences of neighbouring rows, in place of a perceptual network, which takes long to compile."""

    def __call__(self, x):
        return [(x[:, 1:] - x[:, :-1]) / 255.0]


EDGES = Network("edges", Edges(), {}, 0, "bicubic", 0, "", "")


@pytest.fixture(autouse=True)
def edges(monkeypatch):
    monkeypatch.setattr(tuning, "load_network", lambda name, weights: EDGES)


def config(**changes):
    """A few steps, to the end."""
    c = configs.load("invert")
    c.chunk = 2
    c.tune.steps, c.tune.threshold, c.tune.lr = 4, 0.0, 3e-3
    c.tune.update(changes)
    return c.to_dict()


def problem(architecture, num_classes=0):
    """(generator, its variables, pivots of two latents, photographs that are not quite their images)."""
    gan, variables, _ = networks(architecture, num_classes)
    labels = jnp.arange(2) if num_classes else None
    z = jax.random.normal(jax.random.key(1), (2, gan.generator.z_dim))
    ws = np.asarray(jax.jit(lambda v: call(gan.generator, v, z, labels, method="map"))(variables))
    images = np.asarray(render(gan.generator, variables, ws))
    rng = np.random.default_rng(0)
    return gan.generator, variables, ws, images + 0.3 * rng.standard_normal(images.shape).astype(np.float32)


@functools.partial(jax.jit, static_argnums=0)
def render(generator, variables, ws, maps=()):
    return call(generator, variables, ws, maps or "const", method="synthesize")


@pytest.fixture(scope="module")
def dcgan():
    return problem("dcgan")


def run(given, rows=slice(None), images=None, **changes):
    """(results, {number: tuned parameters})."""
    generator, variables, ws, own = given
    kept, more = {}, {k: changes.pop(k) for k in ("job", "keep", "noise") if k in changes}
    more = {"keep": lambda number, params: kept.update({number: jax.device_get(params)})} | more
    photos = own if images is None else images
    w_avg = jnp.zeros(generator.w_dim)
    return tune(generator, variables, photos[rows], ws[rows], config(**changes), w_avg=w_avg, **more), kept


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


@pytest.mark.parametrize(
    "architecture", [pytest.param(a, marks=() if a in DEFAULT else pytest.mark.slow) for a in ARCHITECTURES]
)
def test_every_architecture_comes_nearer(architecture):
    given = problem(architecture, 3 if architecture == "biggan" else 0)
    generator, variables, ws, images = given
    before = jax.device_get(variables)
    rng = np.random.default_rng(2)
    maps = tuple(rng.standard_normal((2, *shape, 1)).astype(np.float32) for shape in generator.noise_shapes)
    found, kept = run(given, lr=3e-4, noise=maps)
    assert found.images.shape == images.shape
    assert found.losses.shape == (4, 2)
    assert (found.l2 + found.lpips < found.losses[0]).all()
    assert not found.failed.any()
    assert found.used.tolist() == [4, 4]
    # The parameters that were kept make those images with the buffers there were, and the maps that were found.
    for i in range(2):
        made = render(generator, variables | {"params": kept[i]}, ws, maps)
        np.testing.assert_allclose(found.images[i], made[i], atol=1e-4)
    assert same(before, variables)
    assert not same(kept[0], kept[1])
    assert not same(kept[0], variables["params"])
    if "mapping" in kept[0]:
        assert same(kept[0]["mapping"], variables["params"]["mapping"])


def test_no_steps_and_no_weights_change_no_bit(dcgan):
    for changes in ({"steps": 0}, {"l2": 0.0, "lpips": 0.0}):
        found, kept = run(dcgan, rows=[0], **changes)
        assert same(kept[0], dcgan[1]["params"]), changes
    assert found.used.tolist() == [4]


def test_it_ends_before_the_step_at_which_it_is_near_enough(dcgan):
    distances = run(dcgan, rows=[0], l2=0.0)[0].losses[:, 0]
    assert (np.diff(distances) < 0).all()
    found, kept = run(dcgan, rows=[0], l2=0.0, threshold=float(distances[2]))
    assert found.used.tolist() == [2]
    np.testing.assert_array_equal(found.losses[:3, 0], distances[:3])
    assert np.isnan(found.losses[3:]).all()
    np.testing.assert_allclose(found.lpips, distances[2], rtol=1e-4)
    assert not found.failed.any()
    found, kept = run(dcgan, rows=[0], threshold=1e9)
    assert found.used.tolist() == [0]
    assert same(kept[0], dcgan[1]["params"])


def test_a_photograph_that_is_none_leaves_the_others_as_they_are(dcgan):
    images = dcgan[3].copy()
    images[0] = np.nan
    found, kept = run(dcgan, images=images)
    assert found.failed.tolist() == [True, False]
    assert same(kept[0], dcgan[1]["params"])
    clean, _ = run(dcgan)
    np.testing.assert_array_equal(found.images[1], clean.images[1])


def local(given, params, **changes):
    """Locality's term for parameters, at the first photograph."""
    generator, variables, ws, images = given
    program = tuning.Program(generator, EDGES.static(), local=True)
    w_avg = jnp.zeros(generator.w_dim)
    whole = {"generator": variables, "lpips": {}, "w_avg": w_avg}

    @jax.jit
    def term(params):
        target = tuning.make_target(program, whole, images[:1], ws[:1], {"noise": (), "extras": None}, None)
        settings = tuning.settings_of(config(**changes)["tune"])
        return tuning.locality(program, whole, params, target, jax.random.key(0), settings)

    return float(term(params))


def test_locality_holds_what_is_around_the_pivot(dcgan):
    params = dcgan[1]["params"]
    assert local(dcgan, params) < 1e-10  # rounding
    _, free = run(dcgan, rows=[0])
    assert local(dcgan, free[0]) > 0.0
    held, near = run(dcgan, rows=[0], locality=10.0, radius=3.0)
    assert local(dcgan, near[0], radius=3.0) < local(dcgan, free[0], radius=3.0)
    assert np.isfinite(held.losses).all()


class Stop(Exception):
    """As good as a kill."""


def test_a_job_goes_on_with_the_next_photograph(dcgan, tmp_path):
    whole, _ = run(dcgan)
    kept = []

    def stop(number, params):
        if number == 1:
            raise Stop
        kept.append(number)

    with pytest.raises(Stop):
        run(dcgan, job=Job(tmp_path / "job", {"a": 1}), keep=stop)
    resumed, _ = run(dcgan, job=Job(tmp_path / "job", {"a": 1}), keep=lambda number, params: kept.append(number))
    assert kept == [0, 1]
    for name in ("images", "losses", "l2", "lpips", "used"):
        np.testing.assert_array_equal(getattr(resumed, name), getattr(whole, name), err_msg=name)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"steps": 0}, "tune.steps=0"),
        ({"lr": 0.0}, "tune.lr=0.0"),
        ({"threshold": -1.0}, "tune.threshold=-1.0"),
        ({"psi": float("nan")}, "tune.psi=nan"),
        ({"l2": 0.0, "lpips": 0.0}, "compares with nothing"),
    ],
)
def test_a_config_that_cannot_be_run_is_refused(dcgan, changes, says):
    with pytest.raises(UserError, match=says):
        check_tuning(config(**changes), dcgan[0])


def test_locality_of_classes_needs_one():
    generator = networks("dcgan", 3)[0].generator
    check_tuning(config(), generator)
    check_tuning(config(locality=0.1), generator, 2)
    with pytest.raises(UserError, match=r"--label=0\.\.2"):
        check_tuning(config(locality=0.1), generator)
