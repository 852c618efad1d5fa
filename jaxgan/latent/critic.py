"""Codes on the sphere of a latent space, and what a discriminator makes of their images."""

import dataclasses
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan import compiler
from jaxgan.errors import UserError
from jaxgan.latent.space import Space, Statistics, has_mapping
from jaxgan.latent.spaces import from_prior, make_space, to_prior
from jaxgan.metrics.fakes import quantised
from jaxgan.networks.gan import Gan, call
from jaxgan.ops.sphere import to_sphere

SPACES = ("z", "w")


class Seen(NamedTuple):
    """What there is of codes: images [B, H, W, C], logits [B] in the critic's units, features by name."""

    images: jax.Array
    logits: jax.Array
    features: dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class Critic:
    """A generator behind a sphere of codes, and the discriminator that judges it; hashable.

    Codes are [B, D] of length sqrt(D): the z that a generator is given, or whitened w, which are as Gaussian
    (`jaxgan.latent.spaces.to_prior`). Its `variables` are {"generator", "discriminator", "statistics", "critic":
    {"offset", "scale"}, ...}: logits are counted from `offset` in units of `scale`.

    Attributes:
        space: z or w.
        discriminator: the module.
        features: names of the features that inversion compares.
    """

    space: Space
    discriminator: nn.Module
    features: tuple[str, ...]

    @property
    def dim(self) -> int:
        """Numbers of a code."""
        generator = self.space.generator
        return generator.z_dim if self.space.name == "z" else generator.w_dim

    def ws(self, variables: Any, code: jax.Array, labels: jax.Array | None) -> jax.Array:
        """Codes [B, D] -> ws [B, num_ws, w_dim]."""
        generator = self.space.generator
        if self.space.name == "w":
            code = from_prior(generator, variables["statistics"], code[:, None])
        return self.space.to_ws(variables["generator"], code, labels)

    def render(self, variables: Any, code: jax.Array, labels: jax.Array | None) -> jax.Array:
        """Codes [B, D] -> images [B, H, W, C], with constant noise."""
        ws = self.ws(variables, code, labels)
        return call(self.space.generator, variables["generator"], ws, "const", method="synthesize")

    def see(self, variables: Any, code: jax.Array, labels: jax.Array | None) -> Seen:
        """Renders and judges codes, each image on its own."""
        images = self.render(variables, code, labels)
        out = call(self.discriminator, variables["discriminator"], images, labels, group_size=1)
        units = variables["critic"]
        logits = (out.logits - units["offset"]) / units["scale"]
        return Seen(images, logits, {name: out.features[name] for name in self.features})

    def from_z(self, variables: Any, z: jax.Array, labels: jax.Array | None) -> jax.Array:
        """The codes on the sphere that stand for z [B, z_dim]."""
        if self.space.name == "z":
            return to_sphere(z)
        ws = call(self.space.generator, variables["generator"], z, labels, method="map")[:, :1]
        return to_sphere(to_prior(self.space.generator, variables["statistics"], ws)[:, 0])


def make_critic(gan: Gan, space: str, features: tuple[str, ...], discriminator: Any) -> Critic:
    """The critic of a pair of networks.

    Args:
        gan: the modules.
        space: "z", or "w" of a generator with a mapping network.
        features: names; empty for the last one.
        discriminator: its variables, or None.

    Raises:
        UserError: there is no discriminator, no such space, or no such feature.
    """
    if discriminator is None:
        raise UserError(
            "this model has no discriminator, whose features and score the realism direction is made of; load a run "
            "directory or a file that brings one"
        )
    if hasattr(gan.generator, "draw_z"):
        raise UserError(
            "the realism direction turns one vector an image, and this generator's latents are maps; use a generator "
            "of vectors"
        )
    if space not in SPACES or (space == "w" and not has_mapping(gan.generator)):
        has = "z" + (" or w" if has_mapping(gan.generator) else "")
        raise UserError(f"config.space={space!r}: the realism direction of this generator is searched in {has}")
    generator = gan.generator
    image = jax.ShapeDtypeStruct((1, *generator.image_shape), jnp.float32)
    labels = jax.ShapeDtypeStruct((1, generator.num_classes), jnp.float32) if generator.num_classes else None
    shown = jax.eval_shape(
        lambda v, x, y: call(gan.discriminator, v, x, y, group_size=1).features, discriminator, image, labels
    )
    unknown = [name for name in features if name not in shown]
    if unknown:
        raise UserError(f"config.features: this discriminator has no {unknown[0]!r}; it has {', '.join(shown)}")
    return Critic(make_space(space, generator), gan.discriminator, tuple(features) or (list(shown)[-1],))


def variables_of(
    critic: Critic, generator: Any, discriminator: Any, stats: Statistics | None, weights: dict[str, float]
) -> dict[str, Any]:
    """Variables of a critic in raw units, with the weights of the objectives."""
    return {
        "generator": generator,
        "discriminator": discriminator,
        "statistics": stats if critic.space.name == "w" else None,
        "critic": {"offset": jnp.float32(0.0), "scale": jnp.float32(1.0)},
        "weights": {name: jnp.float32(value) for name, value in weights.items()},
    }


class Bank(NamedTuple):
    """Random codes that inversions may begin at: codes [K, D], features [K, F], labels [K, classes] or None."""

    codes: jax.Array
    features: jax.Array
    labels: jax.Array | None


def _bank_of(critic: Critic, variables: Any, z: jax.Array, labels: jax.Array | None) -> tuple[jax.Array, ...]:
    """(codes, features, logits) of random z."""
    code = critic.from_z(variables, z, labels)
    seen = critic.see(variables, code, labels)
    return code, _flat(seen.features), seen.logits


def _flat(features: dict[str, jax.Array]) -> jax.Array:
    """Features by name as one vector an image, [B, F]."""
    return jnp.concatenate([f.reshape(f.shape[0], -1) for f in features.values()], axis=1)


@jax.jit
def nearest(bank: Bank, features: dict[str, jax.Array], labels: jax.Array | None) -> jax.Array:
    """The bank's codes whose features are nearest, of the same class, [B, D]."""
    wanted = _flat(features)
    products = jnp.dot(wanted, bank.features.T, precision=jax.lax.Precision.HIGHEST)
    distance = jnp.square(bank.features).sum(1) - 2.0 * products
    if labels is not None:
        same = jnp.dot(labels, bank.labels.T, precision=jax.lax.Precision.HIGHEST)
        distance = jnp.where(same == same.max(1, keepdims=True), distance, jnp.inf)
    return bank.codes[distance.argmin(1)]


def _picture(critic: Critic, variables: Any, code: jax.Array, labels: jax.Array | None) -> jax.Array:
    return quantised(critic.render(variables, code, labels))


to_codes = jax.jit(Critic.from_z, static_argnums=0)
"""`Critic.from_z`, compiled."""
to_ws = jax.jit(Critic.ws, static_argnums=0)
"""`Critic.ws`, compiled."""
banked = compiler.jit(_bank_of, static_argnums=0)
"""`banked(critic, variables, z, labels)`: (codes, features as rows of a `Bank`, logits) of random z."""
pictured = compiler.jit(_picture, static_argnums=0)
"""`pictured(critic, variables, code, labels)`: uint8 images [B, H, W, C]."""
