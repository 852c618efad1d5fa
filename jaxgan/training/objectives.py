"""Adversarial losses on logits; one value an image."""

import jax
from jax.nn import softplus


def generator_loss(fake_logits: jax.Array) -> jax.Array:
    """Non-saturating logistic loss of the generator: softplus(-D(G(z))), [B]."""
    return softplus(-fake_logits)


def discriminator_loss(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    """Logistic loss of the discriminator: softplus(D(G(z))) + softplus(-D(x)), [B]."""
    return softplus(fake_logits) + softplus(-real_logits)
