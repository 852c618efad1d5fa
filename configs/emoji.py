"""The embedded emoji at 64 px in colour: a small StyleGAN2.

jaxgan train --config=emoji --workdir=runs/emoji
"""

from jaxgan.configs import common


def get_config():
    """1,720 training pictures, mirrored ones as well."""
    c = common.small_float32(common.stylegan2())
    c.data.source = "emoji"
    c.data.x_flip = True
    c.batch_size = 32
    c.total_kimg = 4000.0
    c.tick_kimg = 10.0
    c.model.z_dim = c.model.w_dim = 256
    c.model.channel_base = 4096
    c.model.channel_max = 256
    c.model.mbstd_group = 4
    c.loss.r1_gamma = 0.5
    c.ema.kimg = 10.0
    return c
