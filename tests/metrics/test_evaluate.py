"""The whole suite on a tiny generator: every value has its card, and equals what the plain functions say."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import parallel
from jaxgan.data.sources import ImageSet
from jaxgan.errors import UserError
from jaxgan.features.extract import features
from jaxgan.features.networks import load
from jaxgan.metrics import Settings, Subject, evaluate, frechet_distance
from jaxgan.metrics.evaluate import METRICS, check
from jaxgan.metrics.fakes import make_fakes, quantised
from jaxgan.metrics.perceptual_path import on_the_sphere
from tests import tiny

SETTINGS = Settings(num_samples=20, batch_size=8)


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory):
    """Features of the reals are kept in a folder of this module's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


def noise_images() -> ImageSet:
    """26 grey pictures of three classes."""
    pixels = np.random.default_rng(0).integers(0, 256, (26, 16, 16, 1), dtype=np.uint8)
    labels = (np.arange(26) % 3).astype(np.int32)
    return ImageSet("noise", "train", pixels, labels, 3, ("a", "b", "c"), "f" * 64, None)


@pytest.fixture(scope="module")
def images() -> ImageSet:
    return noise_images()


def subject_of(num_classes: int = 0) -> Subject:
    config = tiny.config(image_shape=(16, 16, 1), num_classes=num_classes)
    model = config.model.to_dict() | {"num_classes": num_classes}
    gan, g, d = tiny.gan_and_variables(model)
    raw = jax.tree.map(lambda x: 1.1 * x, g)
    return Subject(gan, g, raw, d, mbstd_group=2, w_avg=jnp.zeros(model["w_dim"]))


@pytest.fixture(scope="module")
def subject() -> Subject:
    return subject_of()


@pytest.fixture(scope="module")
def everything(subject, images):
    metrics = tuple(m for m in METRICS if m not in ("ppl", "ppl_zfull", "ppl_wfull"))
    return evaluate(subject, images, dataclasses.replace(SETTINGS, metrics=metrics))


def test_every_metric_has_cards_with_provenance(everything):
    names = [c.metric for c in everything.cards]
    assert names == [
        "FD-lite0",
        "KD-lite0",
        "precision-lite0",
        "recall-lite0",
        "density-lite0",
        "coverage-lite0",
        "class-score-lite0",
        "SWD-16 x1000",
        "SWD-mean x1000",
        "MS-SSIM",
        "ST-LPIPS-alex diversity",
        "PPL-wend-stlpips-alex",
        "PPL-zend-stlpips-alex",
        "DI (raw)",
        "DI (EMA)",
        "nearest-real-lite0",
    ]
    for card in everything.cards:
        assert np.isfinite(card.value), card
        assert card.fakes > 0
        assert card.version
        assert card.data == "noise (train, ffffffffffff)"
        assert "weights" in card.generator
        if "lite0" in card.metric:
            assert card.weights_sha256.startswith("579344248a93")
            assert card.resize == "bicubic 16x16 to 224x224"
            assert card.conversion == "grey repeated to RGB"
        assert card.metric in card.line()
        assert f"{card.fakes:,} fakes" in card.details()
        assert card.to_dict()["value"] == card.value


def test_distances_have_floors_and_warnings(everything):
    cards = {c.metric: c for c in everything.cards}
    for name in ("FD-lite0", "KD-lite0", "SWD-16 x1000"):
        assert cards[name].floor is not None, name
    assert cards["FD-lite0"].floor_counts == (13, 13)
    assert "26 reals and 20 fakes for 1,280 features" in cards["FD-lite0"].warnings[0]
    assert cards["MS-SSIM"].of_reals is not None
    assert everything.pictures["nearest"].shape == (32, 16, 16, 1)


def test_frechet_distance_is_that_of_the_same_fakes(everything, subject, images):
    mesh, fakes = parallel.make_mesh(), []
    for first in range(0, 20, 8):
        key = jax.random.fold_in(jax.random.key(0), first)
        made, _ = make_fakes(subject.gan.generator, mesh, 8, subject.ema, None, jnp.float32(1), key, None)
        fakes.append(np.asarray(quantised(made)))
    fakes = np.concatenate(fakes)[:20]
    assert fakes.std() > 10
    network = load("lite0")
    expected = frechet_distance(features(network, images.images)["pool"], features(network, fakes)["pool"])
    assert everything.cards[0].value == pytest.approx(expected, rel=1e-4)


def test_the_same_seed_gives_the_same_and_another_does_not(subject, images):
    settings = dataclasses.replace(SETTINGS, metrics=("ms_ssim", "di"))
    first, again = (evaluate(subject, images, settings).cards for _ in range(2))
    other = evaluate(subject, images, dataclasses.replace(settings, seed=1)).cards
    assert [c.value for c in first] == [c.value for c in again]
    assert all(a.value != b.value for a, b in zip(first, other))


def test_repeats_give_a_mean_and_a_spread(subject, images):
    settings = dataclasses.replace(SETTINGS, metrics=("ms_ssim",))
    single = [evaluate(subject, images, dataclasses.replace(settings, seed=s)).cards[0].value for s in (0, 1, 2)]
    card = evaluate(subject, images, dataclasses.replace(settings, repeats=3)).cards[0]
    assert card.value == pytest.approx(np.mean(single))
    assert card.spread == pytest.approx(np.std(single, ddof=1))
    assert card.spread_over == "3 draws of fakes"


def test_truncation_and_labels(images):
    subject = subject_of(num_classes=3)
    settings = dataclasses.replace(SETTINGS, metrics=("ms_ssim", "di", "ppl_wend"), num_samples=8)
    full = evaluate(subject, images, settings).cards
    assert all(np.isfinite(c.value) for c in full)
    truncated = evaluate(dataclasses.replace(subject, truncation_psi=0.0), images, settings).cards
    assert "truncation_psi 0," in truncated[0].generator
    assert truncated[0].value > full[0].value  # all fakes are one, but for noise


def test_images_that_are_not_finite(subject, images):
    broken = dataclasses.replace(subject, ema=jax.tree.map(lambda x: x * np.nan, subject.ema))
    with pytest.raises(UserError, match="images that are not finite"):
        evaluate(broken, images, dataclasses.replace(SETTINGS, metrics=("ms_ssim",)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metrics": ("fid",)}, "--metrics=fid: choose of fd, kid"),
        ({"metrics": ()}, "choose of"),
        ({"num_samples": 1}, "num_samples=1"),
        ({"metrics": ("is",), "num_samples": 9}, "is needs at least 10 images of each kind; there are 26 reals and 9"),
        ({"network": "stlpips-alex"}, "the first must be a classifier"),
        ({"perceptual": "lite0"}, "the second a distance"),
        ({"network": "inception"}, "inception has no weights in any package"),
        ({"network": "inception", "weights": {"inception": "/no/such.pth"}}, r"/no/such\.pth: cannot be read"),
    ],
)
def test_settings_that_cannot_be_measured(subject, images, changes, message):
    with pytest.raises(UserError, match=message):
        check(dataclasses.replace(SETTINGS, **changes), subject, images)


def test_subjects_that_cannot_be_measured(subject, images):
    wide = dataclasses.replace(images, images=np.repeat(images.images, 3, -1))
    with pytest.raises(UserError, match=r"makes images of \(16, 16, 1\) and noise holds \(16, 16, 3\)"):
        check(SETTINGS, subject, wide)
    with pytest.raises(UserError, match="di needs a discriminator"):
        check(dataclasses.replace(SETTINGS, metrics=("di",)), dataclasses.replace(subject, discriminator=None), images)
    oblong = subject_of()
    oblong = dataclasses.replace(
        oblong, gan=oblong.gan._replace(generator=oblong.gan.generator.clone(base_shape=(4, 8)))
    )
    wide = dataclasses.replace(images, images=np.concatenate([images.images] * 2, 2))
    with pytest.raises(UserError, match="swd needs square images"):
        check(dataclasses.replace(SETTINGS, metrics=("swd",)), oblong, wide)


def test_features_of_reals_are_kept(images, subject, monkeypatch):
    """A second evaluation, even by another process, does not look at the reals again."""
    settings = dataclasses.replace(SETTINGS, metrics=("fd",))
    first = evaluate(subject, images, settings).cards[0]
    silent = dataclasses.replace(images, images=np.zeros_like(images.images))  # the same fingerprint
    assert evaluate(subject, silent, settings).cards[0].value == first.value
    other = dataclasses.replace(silent, fingerprint="0" * 64)
    assert evaluate(subject, other, settings).cards[0].value != first.value


def test_labels_that_are_not_the_generators(images):
    subject = subject_of(num_classes=3)
    with pytest.raises(UserError, match="the generator has 3 classes and noise 10"):
        check(SETTINGS, subject, dataclasses.replace(images, num_classes=10))
    unlabelled = dataclasses.replace(images, labels=None, num_classes=0)
    check(SETTINGS, subject, unlabelled)
    with pytest.raises(UserError, match="di needs the labels"):
        check(dataclasses.replace(SETTINGS, metrics=("di",)), subject, unlabelled)


def test_disequilibrium_needs_a_whole_group(subject, images):
    wide = dataclasses.replace(subject, mbstd_group=32)
    with pytest.raises(UserError, match="di needs at least 32 images"):
        check(dataclasses.replace(SETTINGS, metrics=("di",)), wide, images)


def test_path_lengths_are_in_float32_whatever_the_generator_computes_in(subject, images):
    settings = dataclasses.replace(SETTINGS, metrics=("ppl_wend",), num_samples=8)
    generator = subject.gan.generator.clone(dtype=jnp.bfloat16, low_precision_levels=4)
    low = dataclasses.replace(subject, gan=subject.gan._replace(generator=generator), truncation_psi=0.5)
    exact, found = (evaluate(s, images, settings).cards[0] for s in (subject, low))
    assert found.value == pytest.approx(exact.value, rel=1e-3)
    assert "no truncation, the same random noise at both ends, float32" in found.generator


def test_latents_on_the_sphere_have_the_length_of_latents():
    a, b = np.random.default_rng(0).standard_normal((2, 5, 64))
    found = on_the_sphere(a, b, jnp.full((5, 1), 0.3))
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 8, rtol=1e-5)


def test_mirrored_reals_are_said(subject, images):
    settings = dataclasses.replace(SETTINGS, metrics=("swd",))
    plain, mirrored = (evaluate(dataclasses.replace(subject, x_flip=f), images, settings).cards for f in (False, True))
    assert mirrored[0].settings["reals"] == "half of them mirrored, as in training"
    assert plain[0].value != mirrored[0].value
    assert "Progressive GAN's tables have 16,384" in plain[0].warnings[0]
