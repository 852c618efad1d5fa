"""The realism direction as released for Progressive GAN, CelebA at 128 px."""

from jaxgan.configs import latent


def get_config():
    """arXiv 2104.05518, the constants of its configuration file."""
    return latent.released(pixels=2.0, away=3.0)
