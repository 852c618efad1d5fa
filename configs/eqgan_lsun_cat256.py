"""EqGAN-SA on LSUN Cat at 256 px as published (Wang et al. 2022): 25,000 kimg on 8 devices.

Published on 200,000 of the pictures, cut to squares. With as many in FOLDER:
jaxgan dataset --source=FOLDER --dest=DATA --resolution=256
jaxgan train --config=eqgan_lsun_cat256 --config.data.source=DATA --workdir=runs/eqgan_lsun_cat256
"""

from jaxgan.configs import common


def get_config():
    """The released command's settings: paper256's, no augmentation, no path length, no mixing, no mirrored pictures."""
    return common.eqgan256()
