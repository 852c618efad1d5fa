"""Scribbles whose latent stays likely: distance to the mean, spread of layers, prior and discriminator are terms too.

jaxgan scribble --run=zoo:fashion-stylegan2 --scribble=drawing.png --out=runs/drawn
"""

from jaxgan.configs import latent


def get_config():
    """Sixteen random latents are tried, four go on."""
    c = latent.scribbling()
    c.weights.mean = 0.1
    c.weights.spread = 0.01
    c.weights.prior = 0.02
    c.prior_from = 0.05
    c.weights.realism = 0.3
    c.search.candidates = 16
    return c
