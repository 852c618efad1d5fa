"""What a config of the realism direction may say, the released presets, and the critic's scale."""

import numpy as np
import pytest

from jaxgan import config as configs
from jaxgan.errors import UserError
from jaxgan.latent.realism import Search
from jaxgan.latent.realism_settings import calibrate
from tests.latent.test_realism import config, dcgan


@pytest.mark.parametrize(("gain", "bias"), [(1e6, -3e7), (1e-4, 0.0)])
def test_a_critic_s_scale_does_not_matter(gain, bias):
    """Scores of any size and zero give the same choice; WGAN's raw ones are left alone."""
    rng = np.random.default_rng(0)
    fake, real = rng.standard_normal(500), 1 + rng.standard_normal(300)
    plain, _ = calibrate(config(), fake, real)
    scaled, note = calibrate(config(), gain * fake + bias, gain * real + bias)
    np.testing.assert_allclose(scaled["target"], plain["target"], rtol=1e-4)
    np.testing.assert_allclose(plain["target"], (real.mean() - fake.mean()) / fake.std(), rtol=1e-6)
    assert "300 real ones" in note
    assert "the mean of the real ones" in note
    assert "deviations away" not in note
    raw, note = calibrate(config(name="realism_celeba_wgan_gp"), gain * fake + bias, None)
    assert raw == {"offset": 0.0, "scale": 1.0, "target": -1.0}
    assert "deviations away: a critic of another kind" in note
    alone, note = calibrate(config(), fake, None)
    assert 1.0 < alone["target"] < 1.6
    assert "no real images are at hand" in note


@pytest.mark.parametrize(
    ("logits", "message"),
    [
        (np.full(9, np.nan), "not finite"),
        (np.full(9, 2.0), "gives every image the score 2"),
        ([1e9] * 9, "every image"),
    ],
)
def test_a_critic_that_says_nothing_is_refused(logits, message):
    with pytest.raises(UserError, match=message):
        calibrate(config(), np.asarray(logits), None)


def test_a_generator_without_a_discriminator_is_refused():
    gan, generator, _ = dcgan()
    with pytest.raises(UserError, match=r"has no discriminator, .*load a run directory"):
        Search(gan, generator, None, config())


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("features=('b3',)", "has no 'b3'; it has"),
        ("space=w+", "is searched in z$"),
        ("recover.steps=0", "config.recover.steps=0 must be"),
        ("prototype.lr=0.0", "config.prototype.lr"),
        ("prototype.points=1", "config.prototype.points=1"),
        ("prototype.method=magic", "use grid or forward or recursion or walk"),
        ("prototype.largest=180.0", "largest=180"),
        (("prototype.both_sides=True", "prototype.method=forward"), "is for config.prototype.method=grid"),
        ("select.low=0.8", "must rise"),
        ("critic.units=volts", "use spread or raw"),
        ("critic.target=high", "give a number, or real"),
        ("critic.target=nan", "give a number, or real"),
    ],
)
def test_configs_that_make_no_sense_are_refused(override, message):
    gan, generator, discriminator = dcgan()
    with pytest.raises(UserError, match=message):
        Search(gan, generator, discriminator, config(*([override] if isinstance(override, str) else override)))


@pytest.mark.parametrize(
    ("name", "pixels", "away", "box"),
    [
        ("realism_celeba_wgan_gp", 10, 0.2, (0.5, 0.6, 0.75)),
        ("realism_celeba", 2, 3, (0.5, 0.6, 0.75)),
        ("realism_hq512", 15, 50, (0.5, 0.6, 0.75)),
        ("realism_hq1024", 15, 50, (0.4, 0.6, 0.7)),
        ("realism_church", 2, 5, (0.5, 0.6, 0.7)),
        ("realism_train", 5, 50, (0.5, 0.6, 0.7)),
    ],
)
def test_presets_carry_the_release_s_constants(name, pixels, away, box):
    c = configs.load(name)
    assert (c.recover.pixels, c.recover.radius, c.recover.lr, c.recover.steps) == (pixels, 1, 0.1, 500)
    assert (c.prototype.away, c.prototype.lr, c.prototype.method) == (away, 0.1, "recursion")
    assert (c.select.low, c.select.start, c.select.high, c.select.lr) == (*box, 0.01)
    assert c.critic.target == ("-1" if "wgan" in name else "0")
    assert configs.load("realism_biggan").prototype.method == "walk"
