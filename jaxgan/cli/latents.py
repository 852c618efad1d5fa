"""The latents that a verb is given: of seeds, or of a file that `jaxgan invert` or `edit` wrote."""

import dataclasses

import jax.numpy as jnp
import numpy as np

from jaxgan.cli.sample import choose_labels
from jaxgan.errors import UserError
from jaxgan.experiment import Model, seeds_to_keys, seeds_to_z
from jaxgan.latent.invert import with_maps_as
from jaxgan.latent.keys import Keys
from jaxgan.latent.walk import check_extras, check_ws
from jaxgan.networks.gan import extras_dim


def of_seeds(model: Model, seeds: list[int], label: int | None) -> tuple[Keys, np.ndarray | None]:
    """(latents of seeds, their classes or None), with what the generator takes beside ws as `sample` draws it.

    Raises:
        UserError: a class that the model does not have.
    """
    generator = model.gan.generator
    labels = choose_labels(model, seeds, label)
    z = seeds_to_z(seeds, generator)
    ws = model.map(jnp.asarray(z), None if labels is None else jnp.asarray(labels))
    extras = np.asarray(generator.draw_extras(seeds_to_keys(seeds))) if extras_dim(generator) else None
    return Keys([str(seed) for seed in seeds], np.asarray(ws), z, extras=extras), labels


def as_found(model: Model, keys: Keys) -> Model:
    """The model that treats maps as it did where the latents were found."""
    if keys.maps_as is None:
        return model
    generator = with_maps_as(model.gan.generator, *keys.maps_as)
    return dataclasses.replace(model, gan=model.gan._replace(generator=generator))


def checked(keys: Keys, model: Model, path: str) -> Keys:
    """Latents of a file, checked against the generator; where nothing says what it takes beside ws, its own choice.

    Raises:
        UserError: they are another generator's, or of a space whose maps differ in size.
    """
    generator, count = model.gan.generator, len(keys.names)
    if keys.ws.ndim not in (3, 5):
        raise UserError(
            f"--latents={path}: ws of {keys.ws.shape} are not [N, num_ws, w_dim]; maps that differ in size are not "
            "taken, use --space=sw+:8"
        )
    keys = dataclasses.replace(keys, ws=check_ws(generator, keys.ws))
    if not extras_dim(generator):
        return keys
    given = generator.rest_extras(count) if keys.extras is None else keys.extras
    return dataclasses.replace(keys, extras=check_extras(generator, given, count))
