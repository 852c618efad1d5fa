"""The generators that come with the package: all there, small, documented, ready for use."""

import jax
import numpy as np
import pytest

import jaxgan
from jaxgan import zoo
from jaxgan.errors import UserError

ARCHITECTURES = ("dcgan", "pggan", "stylegan", "stylegan2", "wgan_gp")


def test_one_of_each_architecture():
    assert zoo.names() == [f"fashion-{a.replace('_', '-')}" for a in ARCHITECTURES]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_loads_and_makes_images(architecture):
    name = f"fashion-{architecture.replace('_', '-')}"
    assert zoo.path(name).stat().st_size < 4_000_000
    card = zoo.card(name)
    assert {"commands", "data", "licence", "device", "measures"} <= card.keys()
    model = jaxgan.load(f"zoo:{name}")
    assert model.config.model.architecture == architecture
    assert model.images_seen >= 200_000
    images = np.asarray(model.sample(jax.random.key(0), 8))
    assert images.shape == (8, 32, 32, 1)
    assert np.isfinite(model.discriminate(images)).all()
    # Clothes on black: more than half of the pixels are dark, and no two pictures are the same.
    assert 0.4 < (images < -0.8).mean() < 0.9
    assert np.abs(images[0] - images[1]).mean() > 0.05


def test_what_is_not_there_is_said():
    with pytest.raises(UserError, match=r"zoo:none is not in the zoo; it has zoo:fashion-dcgan"):
        jaxgan.load("zoo:none")
    with pytest.raises(UserError, match="holds the ema weights"):
        jaxgan.load("zoo:fashion-dcgan", weights="raw")
