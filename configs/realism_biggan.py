"""The realism direction for BigGAN: the released inversion and eight steps of the plain walk.

The release's output is the walk itself (walk.png); it has no prototype of the critic's and chooses no point. Here the
walk's last point stands for the prototype, and the point on the arc is chosen as elsewhere, by scores in their
deviations, since a hinge critic's raw ones are not around 0.
"""

from jaxgan.configs import latent


def get_config():
    """arXiv 2104.05518, the constants of its configuration file."""
    c = latent.released(pixels=15.0, away=0.0)
    c.prototype.method = "walk"
    c.select = latent.realism().select
    c.critic = latent.realism().critic
    return c
