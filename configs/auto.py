"""StyleGAN2-ADA's `auto`: every setting by rule from the resolution and the number of devices, with ADA.

jaxgan train --config=auto --config.data.source=DATA --workdir=runs/auto
"""

from jaxgan.configs import common


def get_config():
    """The base config as it is, but for the data, which are yours to name."""
    c = common.stylegan2()
    c.data.source = ""
    c.augment.kind = "ada"
    return c
