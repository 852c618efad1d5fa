"""A small StyleGAN (the first) on Fashion-MNIST, growing from 8 to 32 px.

jaxgan train --config=fashion_stylegan --workdir=runs/fashion_stylegan
"""

from jaxgan.configs import common


def get_config():
    """25 + 25 kimg a resolution."""
    c = common.small_fashion(common.stylegan())
    c.loss.r1_gamma = 1.0
    c.optimizer.g_lr = c.optimizer.d_lr = 0.002
    return c
