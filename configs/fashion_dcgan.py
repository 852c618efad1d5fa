"""A small DCGAN on Fashion-MNIST at 32 px.

jaxgan train --config=fashion_dcgan --workdir=runs/fashion_dcgan
"""

from jaxgan.configs import common


def get_config():
    """4x4 kernels, as in the common port: 5x5 ones cost twice the time at this size."""
    c = common.small_fashion(common.dcgan())
    c.batch_size = 32
    c.model.kernel = 4
    c.optimizer.l2 = 0.0
    return c
