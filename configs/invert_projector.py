"""NVIDIA's StyleGAN2 projector to w: perceptual distance, noise maps, latent noise, a ramped learning rate.

Its VGG16 is in no package index, so the distance is ST-LPIPS's VGG; `config.lpips_network=lpips-vgg` with
`config.lpips_weights=FILE` is of the original's kind.
"""

from jaxgan.configs import latent


def get_config():
    """Karras et al. 2020, appendix D; its released code's constants."""
    c = latent.inversion()
    c.space = "w"
    c.start = "mean"
    c.weights.l1 = 0.0
    c.weights.conv = 0.0
    c.weights.lpips = 1.0
    c.weights.noise = 1e5
    c.noise_maps = True
    c.perturbation = 0.05
    c.tune = latent.tuning()
    return c
