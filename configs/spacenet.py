"""StyleGAN2 on maps of z, on SpaceNet's satellite tiles at 256 px; 8 devices.

jaxgan dataset --source=geotiff:DIR_OF_TILES --dest=data/spacenet --resolution=256
jaxgan train --config=spacenet --workdir=runs/spacenet
"""

from jaxgan.configs import common


def get_config():
    """StyleGAN2-ADA's settings at 256 px with maps; SpaceNet's subset and settings in the paper are not known."""
    c = common.with_maps(common.paper(fmaps=0.5, batch_size=64, mbstd_group=8, lr=0.0025, gamma=1.0, ema_kimg=20.0))
    c.augment.kind = "none"
    c.data.source = "data/spacenet"
    c.data.x_flip = True
    return c
