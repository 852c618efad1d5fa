"""Scribbles on a photograph, which is inverted first: in w+, where the photograph is, and near likely latents.

jaxgan scribble --run=zoo:fashion-stylegan2 --photo=photo.png --scribble=drawing.png --out=runs/edited
"""

from jaxgan.configs import latent


def get_config():
    """Weaker than `scribble`, whose prior would carry the photograph away; nothing is searched."""
    c = latent.scribbling()
    c.weights.mean = 0.1
    c.weights.spread = 0.01
    c.weights.prior = 0.02
    c.prior_from = 0.05
    c.weights.realism = 0.3
    return c
