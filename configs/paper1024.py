"""The StyleGAN2-ADA paper's 1024 px settings, on 8 devices.

jaxgan train --config=paper1024 --config.data.source=DATA --workdir=runs/paper1024
"""

from jaxgan.configs import common


def get_config():
    """paper1024."""
    return common.paper(fmaps=1, batch_size=32, mbstd_group=4, lr=0.002, gamma=2.0, ema_kimg=10.0)
