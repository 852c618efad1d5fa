"""Models of random weights: a step and a frame take as long with them as with trained ones."""

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from jaxgan import config as configs
from jaxgan.experiment import Model
from jaxgan.networks.build import build, init


def untrained(config: ConfigDict, shape: tuple[int, int, int]) -> Model:
    """A model of an experiment's config for images of a shape (height, width, channels), without classes."""
    config = configs.resolve(
        config,
        num_images=1,
        image_shape=shape,
        num_classes=0,
        devices=jax.device_count(),
        backend=jax.default_backend(),
    )
    gan = build(config.model.to_dict())
    generator, discriminator = jax.jit(lambda: init(gan, jax.random.key(0)))()
    variables = {"generator": generator, "discriminator": discriminator}
    return Model(gan, config, variables, jnp.zeros(gan.generator.w_dim), 0, weights="raw")
