"""WGAN-GP, DCGAN-shaped, with its paper's settings, for your pictures (64 px is the paper's size).

jaxgan train --config=wgan_gp --config.data.source=DATA --workdir=runs/wgan_gp
"""

from jaxgan.configs import common


def get_config():
    """As in the paper; the data are yours to name."""
    c = common.wgan_gp()
    c.data.source = ""
    return c
