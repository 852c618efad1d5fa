"""The realism direction for any generator with a discriminator, whatever that was trained with.

The critic is counted in deviations of its scores of random images, and the selection aims at its mean score of real
ones. The constants that belong to one network and data set of the paper are in realism_celeba, realism_hq512 and so on.
"""

from jaxgan.configs import latent


def get_config():
    """The method's defaults, the prototype and the selection as searches for one number."""
    return latent.realism()
