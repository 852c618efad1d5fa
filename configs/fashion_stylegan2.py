"""The quickstart's StyleGAN2 on Fashion-MNIST at 32 px, with the budget of its relatives.

jaxgan train --config=fashion_stylegan2 --workdir=runs/fashion_stylegan2
"""

from jaxgan.configs import common


def get_config():
    """No path length, no mixing."""
    c = common.small_fashion(common.stylegan2())
    c.model.mbstd_group = 4
    c.loss.pl_weight = 0.0
    c.loss.style_mixing_prob = 0.0
    c.loss.r1_gamma = 0.3
    c.optimizer.g_lr = c.optimizer.d_lr = 0.003
    return c
