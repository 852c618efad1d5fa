"""StyleGAN2 on maps of z, on images that have an up and a down: the control of `land_spatial`.

jaxgan train --config=fashion_spatial --workdir=runs/fashion_spatial
"""

from jaxgan.configs import common, fashion_stylegan2


def get_config():
    """The networks and budget of `fashion_stylegan2`; the constant base keeps its zeros at the border."""
    c = common.with_maps(fashion_stylegan2.get_config())
    c.model.base = "constant"
    return c
