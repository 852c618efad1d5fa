"""Progressive GAN on CIFAR-10, as in the paper's appendix: gradient norm 750, 400 + 400 kimg, at most 128 maps.

jaxgan dataset --source=cifar-10-python.tar.gz --dest=data/cifar10 --resolution=32
jaxgan train --config=cifar_pggan --config.data.source=data/cifar10 --workdir=runs/cifar_pggan
"""

from jaxgan.configs import common


def get_config():
    """As in Karras et al. 2018; its code updates both networks together, ours one after the other."""
    c = common.pggan()
    c.data.source = ""
    c.total_kimg = 20000.0
    c.model.z_dim = 128
    c.model.channel_base = 8192
    c.model.channel_max = 128
    c.loss.gp_target = 750.0
    c.growth.stable_kimg = c.growth.fade_kimg = 400.0
    return c
