"""The realism direction as released for WGAN-GP with DCGAN's networks, CelebA.

Its program has 0.2 in place of Lambda, and two terms that tie the images of a batch together, which are left out here.
"""

from jaxgan.configs import latent


def get_config():
    """arXiv 2104.05518, the constants of its configuration file."""
    return latent.released(pixels=10.0, away=0.2, target="-1")
