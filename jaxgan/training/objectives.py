"""Adversarial losses on logits, as data: a config names one of OBJECTIVES. One value an image."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.nn import relu, softplus


class Objective(NamedTuple):
    """Losses of both networks; each takes (real logits [B], fake logits [B]) and gives [B].

    `paired`: the generator's loss reads the real logits too, so its step needs real images.
    """

    generator: Callable[[jax.Array, jax.Array], jax.Array]
    discriminator: Callable[[jax.Array, jax.Array], jax.Array]
    paired: bool = False


OBJECTIVES = {
    # Goodfellow et al. 2014, in the form that StyleGAN calls logistic.
    "nonsaturating": Objective(
        generator=lambda real, fake: softplus(-fake),
        discriminator=lambda real, fake: softplus(fake) + softplus(-real),
    ),
    # Arjovsky et al. 2017; needs a penalty on the critic (loss.gp_weight).
    "wgan": Objective(
        generator=lambda real, fake: -fake,
        discriminator=lambda real, fake: fake - real,
    ),
    # Mao et al. 2017, labels 0 and 1.
    "lsgan": Objective(
        generator=lambda real, fake: 0.5 * jnp.square(fake - 1),
        discriminator=lambda real, fake: 0.5 * (jnp.square(real - 1) + jnp.square(fake)),
    ),
    # Lim and Ye 2017; BigGAN's.
    "hinge": Objective(
        generator=lambda real, fake: -fake,
        discriminator=lambda real, fake: relu(1 - real) + relu(1 + fake),
    ),
    # Jolicoeur-Martineau 2018 in the paired form of R3GAN (Huang et al. 2024); with loss.r1_gamma and r2_gamma.
    "relativistic": Objective(
        generator=lambda real, fake: softplus(real - fake),
        discriminator=lambda real, fake: softplus(fake - real),
        paired=True,
    ),
}


def class_loss(class_logits: jax.Array, labels: jax.Array) -> jax.Array:
    """AC-GAN's term (Odena et al. 2017): cross-entropy of class logits [B, K] against labels [B], [B]."""
    return -jnp.take_along_axis(jax.nn.log_softmax(class_logits), labels[:, None], axis=1)[:, 0]
