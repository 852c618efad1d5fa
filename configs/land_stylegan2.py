"""A small StyleGAN2 on crops of satellite pictures at 32 px: what `land_spatial` is compared with.

jaxgan dataset --source=land --dest=data/land --resolution=32
jaxgan train --config=land_stylegan2 --workdir=runs/land_stylegan2
"""

from jaxgan.configs import fashion_stylegan2


def get_config():
    """The budget of the family on Fashion-MNIST; no path length and no mixing, as there."""
    c = fashion_stylegan2.get_config()
    c.data.source = "data/land"
    return c
