"""The StyleGAN2-ADA paper's 256 px settings, on 8 devices.

jaxgan train --config=paper256 --config.data.source=DATA --workdir=runs/paper256
"""

from jaxgan.configs import common


def get_config():
    """paper256."""
    return common.paper(fmaps=0.5, batch_size=64, mbstd_group=8, lr=0.0025, gamma=1.0, ema_kimg=20.0)
