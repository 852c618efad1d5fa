"""StyleGAN (the first), growing from 8 px to the size of your pictures.

jaxgan train --config=stylegan --config.data.source=DATA --workdir=runs/stylegan
"""

from jaxgan.configs import common


def get_config():
    """The official code's FFHQ settings; the data are yours to name."""
    c = common.stylegan()
    c.data.source = ""
    return c
