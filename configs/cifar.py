"""The StyleGAN2-ADA paper's CIFAR-10 settings, on 2 devices: no path length, no mixing, a discriminator without skips.

jaxgan dataset --source=cifar-10-python.tar.gz --dest=data/cifar10 --resolution=32
jaxgan train --config=cifar --config.data.source=data/cifar10 --workdir=runs/cifar
"""

from jaxgan.configs import common


def get_config():
    """cifar; conditional with --config.data.use_labels=True."""
    c = common.paper(fmaps=1, batch_size=64, mbstd_group=32, lr=0.0025, gamma=0.01, ema_kimg=500.0)
    c.total_kimg = 100000.0
    c.model.mapping_layers = 2
    c.model.d_architecture = "orig"
    c.loss.pl_weight = 0.0
    c.loss.style_mixing_prob = 0.0
    c.ema.rampup = 0.05
    return c
