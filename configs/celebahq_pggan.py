"""Progressive GAN on CelebA-HQ at 1024 px: the code's 8-GPU preset (batch by resolution, learning rates).

jaxgan train --config=celebahq_pggan --config.data.source=DATA --workdir=runs/celebahq
"""

from jaxgan.configs import common


def get_config():
    """On 8 devices; 12,000 kimg."""
    c = common.pggan()
    c.data.source = ""
    c.data.x_flip = True
    c.total_kimg = 12000.0
    c.batch_size = 32
    c.growth.batch_size = ((4, 512), (8, 256), (16, 128), (32, 64), (64, 32))
    c.growth.lr = ((128, 0.0015), (256, 0.002), (512, 0.003), (1024, 0.003))
    return c
