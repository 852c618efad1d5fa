"""A small Progressive GAN on Fashion-MNIST, growing from 4 to 32 px.

jaxgan train --config=fashion_pggan --workdir=runs/fashion_pggan
"""

from jaxgan.configs import common


def get_config():
    """25 + 25 kimg a resolution; without growing: --config.growth.start_resolution=0."""
    c = common.small_fashion(common.pggan())
    c.optimizer.g_lr = c.optimizer.d_lr = 0.002
    c.ema.kimg = 2.0
    return c
