"""Inversion of images: the assignment's program, 10 L1 + 0.01 conv_5, in w+; `invert_projector` is NVIDIA's.

jaxgan invert --run=zoo:fashion-stylegan2 --images=photos/ --out=runs/inverted
"""

from jaxgan.configs import latent


def get_config():
    """See `latent.py` for the fields."""
    return latent.inversion()
