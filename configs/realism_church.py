"""The realism direction as released for Progressive GAN, LSUN church.

The release begins at an encoder's code: in Python `Search.find(start=encoder)` does; the command line has candidates.
"""

from jaxgan.configs import latent


def get_config():
    """arXiv 2104.05518, the constants of its configuration file."""
    return latent.released(pixels=2.0, away=5.0, high=0.7)
