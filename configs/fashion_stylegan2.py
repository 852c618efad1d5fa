"""The quickstart's StyleGAN2 on Fashion-MNIST at 32 px, with the budget of its relatives.

jaxgan train --config=fashion_stylegan2 --workdir=runs/fashion_stylegan2
"""

from jaxgan.configs import common, quickstart


def get_config():
    """No path length, no mixing."""
    c = common.small_fashion(quickstart.get_config())
    c.checkpoint.every_ticks = 10
    return c
