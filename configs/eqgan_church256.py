"""EqGAN-SA on LSUN Church at 256 px as published (Wang et al. 2022): all pictures, 25,000 kimg on 8 devices.

jaxgan train --config=eqgan_church256 --config.data.source=DATA --workdir=runs/eqgan_church256
"""

from jaxgan.configs import common


def get_config():
    """The released command's settings: paper256's, no augmentation, no path length, no mixing, no mirrored pictures."""
    return common.eqgan256()
