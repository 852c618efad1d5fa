"""Runs facebookresearch/pytorch_GAN_zoo beside the library: checkpoints by its own classes, and what they make of them.

PYTHONPATH=CHECKOUT python gan_zoo_peer.py '{"NAME": {"depths": [32, 16], "alpha": 0.3, ...}, ...}'

writes NAME.pt and NAME.npz where it is started. It needs torch and NumPy, not jaxgan.
"""

import json
import sys

import numpy as np
import torch
from torch import optim


def write(name: str, depths: list[int], alpha: float = 0.0, **options) -> None:
    """Writes a file with random weights, biases too, and the images and logits of its networks."""
    from models.progressive_gan import ProgressiveGAN

    model = ProgressiveGAN(dimLatentVector=16, depthScale0=depths[0], useGPU=False, **options)
    for depth in depths[1:]:
        model.addScale(depth)
    model.config.alpha = alpha
    for network in (model.netG, model.avgG, model.netD):
        network.setNewAlpha(alpha)
        for parameter in network.parameters():
            parameter.data.normal_()
    model.save(f"{name}.pt")
    with torch.no_grad():
        latent = model.buildNoiseData(8)[0]
        found = {"latent": latent, "images": model.avgG(latent), "raw": model.netG(latent)}
        found["judged"] = torch.randn_like(found["images"])
        found["logits"] = model.netD(found["judged"])
    np.savez(f"{name}.npz", **{key: value.numpy() for key, value in found.items()})


if __name__ == "__main__":
    torch.manual_seed(0)
    torch.set_num_threads(1)
    adam = optim.Adam
    # The project's betas are [0, 0.99], which newer versions of torch refuse.
    optim.Adam = lambda parameters, betas, lr: adam(parameters, lr=lr, betas=tuple(map(float, betas)))
    for case, chosen in json.loads(sys.argv[1]).items():
        write(case, **chosen)
