"""Scribbles whose latent stays likely: distance to the mean, prior and discriminator are terms too.

jaxgan scribble --run=zoo:fashion-stylegan2 --scribble=drawing.png --out=runs/drawn
"""

from jaxgan.configs import latent


def get_config():
    """Sixteen random latents are tried, four go on; in w, the prior's weight being such that it ends near 1.

    In w+ (`--space=w+`) colours are met better and garments are less real; see docs/results/scribbles.md.
    """
    c = latent.scribbling()
    c.space = "w"
    c.weights.mean = 0.1
    c.weights.spread = 1.0  # of w+
    c.weights.prior = 0.1
    c.prior_from = 1.0
    c.weights.realism = 0.3
    c.search.candidates = 16
    return c
