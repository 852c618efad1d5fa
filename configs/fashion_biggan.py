"""A small class-conditional BigGAN on Fashion-MNIST at 32 px.

jaxgan train --config=fashion_biggan --workdir=runs/fashion_biggan
"""

from jaxgan.configs import common


def get_config():
    """One discriminator step; the ten classes of the set."""
    c = common.small_fashion(common.biggan())
    c.model.z_dim = 80
    c.model.shared_dim = 32
    c.model.width = 8
    c.model.attention = (16,)
    c.batch_size = 32
    c.optimizer.g_lr, c.optimizer.d_lr = 2e-4, 4e-4
    c.loss.critic_steps = 1
    return c
