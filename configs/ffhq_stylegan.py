"""StyleGAN (the first) on FFHQ at 1024 px: the official 8-GPU settings.

jaxgan train --config=ffhq_stylegan --config.data.source=DATA --workdir=runs/ffhq
"""

from jaxgan.configs import common


def get_config():
    """On 8 devices; 25,000 kimg."""
    c = common.stylegan()
    c.data.source = ""
    c.data.x_flip = True
    c.growth.batch_size = ((8, 256), (16, 128), (32, 64), (64, 32))
    c.growth.lr = ((128, 0.0015), (256, 0.002), (512, 0.003), (1024, 0.003))
    return c
