"""Scribbles whose latent stays likely: distance to the mean, prior and discriminator are terms too.

jaxgan scribble --run=zoo:fashion-stylegan2 --scribble=drawing.png --out=runs/drawn
"""

from jaxgan.configs import latent


def get_config():
    """Sixteen random latents are tried, four go on.

    `--space=w` makes what is least like the drawing and most like the data; see docs/results/scribbles.md.
    """
    c = latent.scribbling()
    c.weights.mean = 0.1
    c.weights.spread = 1.0
    c.weights.prior = 0.1
    c.prior_from = 1.0
    c.weights.realism = 0.3
    c.search.candidates = 16
    return c
