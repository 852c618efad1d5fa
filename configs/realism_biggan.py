"""The realism direction as released for BigGAN: eight steps of the plain walk, no prototype of the critic's."""

from jaxgan.configs import latent


def get_config():
    """arXiv 2104.05518, the constants of its configuration file."""
    c = latent.released(pixels=15.0, away=0.0)
    c.prototype.method = "walk"
    return c
