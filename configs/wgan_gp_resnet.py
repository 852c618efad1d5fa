"""WGAN-GP's residual networks with the paper's CIFAR-10 settings, for pictures of 32 px.

jaxgan train --config=wgan_gp_resnet --config.data.source=DATA --workdir=runs/wgan_gp_resnet
"""

from jaxgan.configs import common


def get_config():
    """As in the paper; the data are yours to name."""
    c = common.wgan_gp_resnet()
    c.data.source = ""
    return c
