"""Fashion-MNIST at 32 px: a small StyleGAN2 for two CPU cores (hours) or one GPU (minutes).

jaxgan train --config=fashion --workdir=runs/fashion
"""

from jaxgan.configs import common


def get_config():
    """The embedded subset; the full set with --config.data.source=DATA (see `jaxgan dataset`)."""
    c = common.small_float32(common.stylegan2())
    c.batch_size = 16
    c.total_kimg = 2000.0
    c.tick_kimg = 10.0
    c.model.z_dim = c.model.w_dim = 128
    c.model.channel_base = 512
    c.model.channel_max = 64
    c.model.mbstd_group = 4
    c.loss.pl_weight = 0.0
    c.loss.r1_gamma = 0.3
    c.optimizer.g_lr = c.optimizer.d_lr = 0.0025
    c.ema.kimg = 10.0
    return c
