"""The study of the assignment: four pairs of model and space times three perceptual weights, on held-out images.

jaxgan study --out=runs/study
"""

from ml_collections import ConfigDict

from jaxgan.configs import latent


def get_config():
    """10 L1 + weight * conv_5, Adam with the projector's ramp; one budget of steps for all.

    The weights are for st-vgg. With `config.invert.trunk=vgg19` and its weights take 0, 0.01 and 0.1.
    """
    c = ConfigDict()
    c.source = "fashion"  # of the images; see `jaxgan invert --images`
    c.split = "test"
    c.first = 0
    c.count = 16
    c.pairs = (  # (run, space)
        ("zoo:fashion-dcgan", "z"),
        ("zoo:fashion-stylegan2", "z"),
        ("zoo:fashion-stylegan2", "w"),
        ("zoo:fashion-stylegan2", "w+"),
    )
    c.perceptual = (0.0, 10.0, 100.0)  # weights of conv_5
    c.frames = 20  # of an interpolation between two inversions, both counted
    c.walks = 4  # so many of them, between the first images
    c.invert = latent.inversion()
    c.invert.steps = 1000

    c.scribbles = ConfigDict()  # the plain and the revised program in some spaces, on the same drawings
    c.scribbles.run = "zoo:fashion-stylegan2"  # empty: none
    c.scribbles.drawings = ()  # files or folders; those that come with the package
    c.scribbles.spaces = ("z", "w", "w+")
    c.scribbles.steps = 1000
    c.scribbles.batch = 32
    c.scribbles.conv = 0.0  # weight of conv_5 where something is drawn
    return c
