"""Inversion of images: 10 L1 + 30 conv_5 of ST-LPIPS's VGG, in w+; `invert_projector` is NVIDIA's program.

jaxgan invert --run=zoo:fashion-stylegan2 --images=photos/ --out=runs/inverted
"""

from jaxgan.configs import latent


def get_config():
    """See `latent.py` for the fields."""
    c = latent.inversion()
    c.tune = latent.tuning()
    return c
