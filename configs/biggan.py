"""BigGAN with its paper's ImageNet settings at 128 px, for labelled pictures.

jaxgan train --config=biggan --config.data.source=DATA --workdir=runs/biggan
"""

from jaxgan.configs import common


def get_config():
    """As in the paper; the data are yours to name."""
    c = common.biggan()
    c.data.source = ""
    return c
