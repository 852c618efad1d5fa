"""StyleGAN2 on maps of z, on crops of satellite pictures at 32 px: pictures of any size.

jaxgan dataset --source=land --dest=data/land --resolution=32
jaxgan train --config=land_spatial --workdir=runs/land_spatial
jaxgan sample --run=runs/land_spatial --size=2048x512 --seeds=0 --out=large
"""

from jaxgan.configs import common, land_stylegan2


def get_config():
    """The networks and budget of `land_stylegan2`, with maps; --config.loss.pl_weight=2 adds path length."""
    return common.with_maps(land_stylegan2.get_config())
