"""StyleGAN2's own settings for 1024 px ("config F"): FFHQ FID 2.84 in the paper, on 8 devices.

jaxgan train --config=stylegan2 --config.data.source=DATA --workdir=runs/stylegan2
"""

from jaxgan.configs import common


def get_config():
    """Config F, without augmentation as in its paper."""
    c = common.paper(fmaps=1, batch_size=32, mbstd_group=4, lr=0.002, gamma=10.0, ema_kimg=10.0)
    c.augment.kind = "none"
    return c
