"""Scribbles by the assignment's program: nothing keeps the latent where the generator makes realistic images.

jaxgan scribble --config=scribble_plain --run=zoo:fashion-stylegan2 --scribble=drawing.png --out=runs/drawn
"""

from jaxgan.configs import latent


def get_config():
    """See `latent.py` for the fields."""
    return latent.scribbling()
