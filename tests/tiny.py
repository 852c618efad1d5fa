"""Networks and experiments small enough to compile in a test."""

import functools
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from jaxgan import config as configs
from jaxgan.networks import gan as gans
from jaxgan.networks.build import build, init
from jaxgan.networks.gan import Gan


def config(*overrides: str, image_shape: tuple[int, int, int] = (8, 8, 1), num_classes: int = 0) -> ConfigDict:
    """The quickstart's config with a network of a few hundred numbers, resolved for images of a shape."""
    c = configs.load("quickstart")
    small = {"z_dim": 8, "w_dim": 8, "mapping_layers": 1, "channel_base": 64, "channel_max": 8, "mbstd_group": 2}
    small = [f"model.{name}={value}" for name, value in small.items()]
    configs.override(c, [*small, "batch_size=4", "accumulate=1", *overrides])
    return configs.resolve(c, num_images=100, image_shape=image_shape, num_classes=num_classes, devices=1)


def model(**changes: Any) -> dict[str, Any]:
    """The model part alone, 16 px RGB unless changed."""
    return config(image_shape=(16, 16, 3)).model.to_dict() | changes


def filled(tree: Any, seed: int = 0, scale: float = 1.0) -> Any:
    """Normal numbers for a tree of shapes. To draw them in JAX would take most of a test's time to compile."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: (scale * rng.standard_normal(x.shape)).astype(np.float32), tree)


def gan_and_variables(model: dict[str, Any]) -> tuple[Gan, dict[str, Any], dict[str, Any]]:
    """(networks, variables of the generator, variables of the discriminator), all of them random, biases too."""
    gan = build(model)
    shapes = jax.eval_shape(functools.partial(init, gan), jax.random.key(0))
    g, d = filled(shapes)
    g["params"]["mapping"] = filled(g["params"]["mapping"], seed=1, scale=100.0)  # its learning rate multiplier is 0.01
    return gan, g, d


def call(module: Any, variables: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
    """`networks.gan.call` as one program. Arrays are its arguments, everything else is part of it."""

    def still(value: Any) -> bool:
        return not any(hasattr(leaf, "dtype") for leaf in jax.tree.leaves(value))

    fixed = {name: value for name, value in kwargs.items() if still(value)}
    fixed |= {i: value for i, value in enumerate(args) if still(value)}
    return _program(module, tuple(fixed.items()))(
        variables,
        {i: value for i, value in enumerate(args) if i not in fixed},
        {name: value for name, value in kwargs.items() if name not in fixed},
    )


def forget() -> None:
    """Programs of `call` are made anew: a choice that is made while they are traced has changed."""
    _program.cache_clear()


@functools.cache
def _program(module: Any, fixed: tuple[tuple[int | str, Any], ...]) -> Any:
    kept = {name: value for name, value in fixed if isinstance(name, str)}
    places = {i: value for i, value in fixed if isinstance(i, int)}

    @jax.jit
    def program(variables, args, kwargs):
        ordered = [value for _, value in sorted((places | args).items())]
        return gans.call(module, variables, *ordered, **kept, **kwargs)

    return program
