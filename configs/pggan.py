"""Progressive GAN, growing from 4 px to the size of your pictures, 600 + 600 kimg a resolution.

jaxgan train --config=pggan --config.data.source=DATA --workdir=runs/pggan
"""

from jaxgan.configs import common


def get_config():
    """The TensorFlow code's defaults; the data are yours to name."""
    c = common.pggan()
    c.data.source = ""
    return c
