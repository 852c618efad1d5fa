"""DCGAN with its paper's settings, for your pictures (64 px is the paper's size).

jaxgan train --config=dcgan --config.data.source=DATA --workdir=runs/dcgan
"""

from jaxgan.configs import common


def get_config():
    """As in the paper; the data are yours to name."""
    c = common.dcgan()
    c.data.source = ""
    return c
