"""A small WGAN-GP on Fashion-MNIST at 32 px.

jaxgan train --config=fashion_wgan_gp --workdir=runs/fashion_wgan_gp
"""

from jaxgan.configs import common


def get_config():
    """Five critic steps to a generator step, as in the paper."""
    c = common.small_fashion(common.wgan_gp())
    c.model.kernel = 4
    c.model.critic_norm = "none"
    c.optimizer.g_lr = c.optimizer.d_lr = 5e-4
    return c
