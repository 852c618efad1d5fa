"""EqGAN-SA on Fashion-MNIST at 32 px: `fashion_stylegan2` led by heatmaps and aligned with its discriminator.

jaxgan train --config=eqgan_fashion32 --workdir=runs/eqgan_fashion32
"""

from jaxgan.configs import common


def get_config():
    """Without alignment: --config.loss.align_weight=0."""
    c = common.small_fashion(common.eqgan())
    c.model.mbstd_group = 4
    c.model.sel_hidden, c.model.heatmap_features = 16, 8  # in proportion to the network's 32 maps
    c.loss.r1_gamma = 0.3
    c.optimizer.g_lr = c.optimizer.d_lr = 0.003
    c.eval_every = 20  # ticks: at the end
    return c
