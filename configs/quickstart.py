"""The README's first run: Fashion-MNIST at 32 px in a few minutes on two CPU cores.

jaxgan train --config=quickstart --workdir=runs/quickstart

A network small enough to see 60,000 images in that time; `fashion` is its bigger sister.
"""

from jaxgan.configs import common


def get_config():
    """No path length: its second derivatives cost a minute of compilation."""
    c = common.small_float32(common.stylegan2())
    c.batch_size = 16
    c.total_kimg = 60.0
    c.tick_kimg = 5.0
    c.model.z_dim = c.model.w_dim = 64
    c.model.channel_base = 512
    c.model.channel_max = 32
    c.model.mbstd_group = 4
    c.loss.pl_weight = 0.0
    c.loss.style_mixing_prob = 0.0
    c.loss.r1_gamma = 0.3
    c.optimizer.g_lr = c.optimizer.d_lr = 0.003
    c.ema.kimg = 2.0
    c.checkpoint.every_ticks = 2
    c.invert.images = 8
    return c
