"""The StyleGAN2-ADA paper's 512 px settings, on 8 devices.

jaxgan train --config=paper512 --config.data.source=DATA --workdir=runs/paper512
"""

from jaxgan.configs import common


def get_config():
    """paper512."""
    return common.paper(fmaps=1, batch_size=64, mbstd_group=8, lr=0.0025, gamma=0.5, ema_kimg=20.0)
