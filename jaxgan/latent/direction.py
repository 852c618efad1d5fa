"""The objectives of the realism direction, each an image's own: recover a code, go past it, choose between.

The constants and formulas are those of the released code of "Diamond in the rough" (arXiv 2104.05518). Its means over a
batch are sums here, and its terms that tie the images of a batch together (deviations over the batch, in its WGAN-GP
programs) are left out. `target` holds "labels", rows or None, beside what each one names.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxgan.latent import losses
from jaxgan.latent.critic import Critic
from jaxgan.ops.sphere import arc, cosine, to_sphere, turned


def forward_derivative(function: Callable[[jax.Array], jax.Array], numbers: jax.Array) -> jax.Array:
    """`function(numbers)`, [B] -> [B], whose gradient is taken in forward mode: nothing is stored on the way.

    Row i of the result may depend on number i alone. The gradient holds for one reverse pass, not for a second one.
    """
    held = jax.lax.stop_gradient(numbers)
    value, slope = jax.jvp(function, (held,), (jnp.ones_like(held),))
    # The difference is 0, and its gradient 1.
    return jax.lax.stop_gradient(value) + jax.lax.stop_gradient(slope) * (numbers - held)


@dataclasses.dataclass(frozen=True)
class Recover:
    """Stage B, the image's code sought again: mean |F - F'| + pixels mean |I - I'| + radius (|z| - sqrt(D))^2.

    The latent is {"code": [B, D]}, free in length; the target {"images", "features", "labels" (or None)}.
    """

    critic: Critic

    def __call__(
        self, variables: Any, latent: Any, target: Any, keys: jax.Array, progress: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        code, weights = latent["code"], variables["weights"]
        seen = self.critic.see(variables, code, target["labels"])
        terms = {
            "features": sum(mean_abs(seen.features[name] - wanted) for name, wanted in target["features"].items()),
            "pixels": losses.l1(seen.images, target["images"]),
            "radius": jnp.square(jnp.sqrt(jnp.square(code).sum(-1)) - jnp.sqrt(jnp.float32(code.shape[-1]))),
        }
        loss = terms["features"] + weights["pixels"] * terms["pixels"] + weights["radius"] * terms["radius"]
        return loss, terms


@dataclasses.dataclass(frozen=True)
class _Away:
    """What the prototype minimises: sign D(G(z)) + away cos(z, x)."""

    critic: Critic

    def away(self, variables: Any, code: jax.Array, target: Any) -> jax.Array:
        """[B]."""
        weights = variables["weights"]
        logits = self.critic.see(variables, code, target["labels"]).logits
        return weights["sign"] * logits + weights["away"] * cosine(code, target["x"])


class Prototype(_Away):
    """Stage C as released: codes move on by what a vector of coefficients says of the direction they came from.

    The latent is {"push": a, "previous", "current"}, [B, D] each, the last two a pair that moves by itself: with d the
    unit vector from previous to current, the next one is N(current + <a, d> d). The target is {"x", "labels"}.
    """

    def __call__(
        self, variables: Any, latent: Any, target: Any, keys: jax.Array, progress: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        current, direction = _line(latent)

        def along(length: jax.Array) -> jax.Array:
            return self.away(variables, to_sphere(current + length[:, None] * direction), target)

        return forward_derivative(along, (latent["push"] * direction).sum(-1)), {}

    def after_step(self, variables: Any, before: Any, latent: Any) -> Any:
        """The pair moves on to the point that was judged."""
        current, direction = _line(before)
        moved = to_sphere(current + (before["push"] * direction).sum(-1, keepdims=True) * direction)
        return {"push": latent["push"], "previous": before["current"], "current": moved}


class _OneNumber:
    """A loss of one number an image, `at(variables, number [B], target) -> [B]`, as an objective.

    The latent is {"number", "low", "high"}, [B] each; the gradient is taken in forward mode.
    """

    at: Callable[[Any, jax.Array, Any], jax.Array]

    def __call__(
        self, variables: Any, latent: Any, target: Any, keys: jax.Array, progress: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        return forward_derivative(lambda number: self.at(variables, number, target), latent["number"]), {}

    def after_step(self, variables: Any, before: Any, latent: Any) -> Any:
        """The number within its box, which stays as it is."""
        return before | {"number": jnp.clip(latent["number"], before["low"], before["high"])}


class Angle(_OneNumber, _Away):
    """Stage C as a search for one number: the angle on the great circle of x and its recovered code, in radians.

    The recursion never leaves that circle, so nothing is lost. The target is {"x", "across" (`ops.sphere.across`),
    "labels"}.
    """

    def at(self, variables: Any, number: jax.Array, target: Any) -> jax.Array:
        """[B]: the loss at angles."""
        return self.away(variables, turned(target["x"], target["across"], number), target)


@dataclasses.dataclass(frozen=True)
class Share(_OneNumber):
    """Stage D, the point of the arc from x to p: (D(G(z(s))) - target)^2, s in a box.

    The target is {"x", "p", "labels"}.
    """

    critic: Critic

    def at(self, variables: Any, number: jax.Array, target: Any) -> jax.Array:
        """[B]: the loss at shares."""
        code = arc(target["x"], target["p"], number)
        logits = self.critic.see(variables, code, target["labels"]).logits
        return jnp.square(logits - variables["weights"]["target"])


def _line(latent: Any) -> tuple[jax.Array, jax.Array]:
    """(current, the unit vector from the previous one to it), not to be differentiated; zeros where they are one."""
    previous, current = jax.lax.stop_gradient((latent["previous"], latent["current"]))
    way = current - previous
    squares = jnp.square(way).sum(-1, keepdims=True)
    moved = squares > 1e-10
    return current, jnp.where(moved, way * jax.lax.rsqrt(jnp.where(moved, squares, 1.0)), 0.0)


def mean_abs(difference: jax.Array) -> jax.Array:
    """[B] of [B, ...]; its gradient where a number is 0 is 0."""
    return (difference * jnp.sign(difference)).reshape(difference.shape[0], -1).mean(1)
