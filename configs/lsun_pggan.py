"""Progressive GAN on LSUN at 256 px: the paper's schedule of 800 + 800 kimg on one device.

jaxgan train --config=lsun_pggan --config.data.source=DATA --workdir=runs/lsun
"""

from jaxgan.configs import common


def get_config():
    """Mirrored pictures for the subsets of 100,000: --config.data.x_flip=True."""
    c = common.pggan()
    c.data.source = ""
    c.batch_size = 16
    c.total_kimg = 20000.0
    c.model.mbstd_group = 16
    c.model.fused_scale = False  # as the Theano code, whose schedule this is
    c.growth.batch_size = ((256, 14),)
    c.optimizer.rampup_kimg = 40.0
    c.growth.stable_kimg = c.growth.fade_kimg = 800.0
    return c
