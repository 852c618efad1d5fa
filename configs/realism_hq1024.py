"""The realism direction as released for Progressive GAN, CelebA-HQ at 1024 px."""

from jaxgan.configs import latent


def get_config():
    """arXiv 2104.05518, the constants of its configuration file."""
    return latent.released(pixels=15.0, away=50.0, low=0.4, high=0.7)
