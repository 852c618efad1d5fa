"""Writes a file with the code of the project that it belongs to; runs in that project's Python, not in ours.

python stylegan2_peer.py PROJECT CHECKOUT OUT RESOLUTION CLASSES; every bias, noise strength and w_avg is random.
"""

import argparse
import copy
import os
import pickle
import sys

WIDTH = 64  # of the feature maps, at most; rosinality's are fixed


def shake(torch, network):
    """Random numbers where a fresh network has zeros or ones."""
    with torch.no_grad():
        for name, value in network.named_parameters():
            if name.endswith(("bias", "noise_strength", "noise.weight")):
                value.add_(0.1 * torch.randn_like(value))
        for name, value in network.named_buffers():
            if name.endswith("w_avg"):
                value.copy_(torch.randn_like(value))


def nvidia(torch, checkout, out, resolution, classes):
    """A snapshot as their training loop writes it, half precision and clamps as in their configs."""
    import dnnlib

    widths = {"channel_base": WIDTH * 16, "channel_max": WIDTH, "num_fp16_res": 4, "conv_clamp": 256}
    if os.path.exists(os.path.join(checkout, "training", "networks_stylegan2.py")):
        from training import networks_stylegan2 as networks

        synthesis = widths
    else:
        from training import networks

        synthesis = {"synthesis_kwargs": widths}
    shape = {"c_dim": classes, "img_resolution": resolution, "img_channels": 3}
    generator = networks.Generator(z_dim=WIDTH, w_dim=WIDTH, mapping_kwargs={"num_layers": 3}, **shape, **synthesis)
    group = {"epilogue_kwargs": {"mbstd_group_size": 4}}
    judge = networks.Discriminator(architecture="orig" if classes else "resnet", **shape, **widths, **group)
    average = copy.deepcopy(generator)
    networks = {"G": generator, "D": judge, "G_ema": average}
    for network in networks.values():
        shake(torch, network)
        network.eval().requires_grad_(False)
    with open(out, "wb") as file:
        pickle.dump({**networks, "augment_pipe": None, "training_set_kwargs": dnnlib.EasyDict(path="none")}, file)


def rosinality(torch, checkout, out, resolution, classes):
    """A checkpoint as train.py writes it, with an optimiser's state and the arguments."""
    import torch.utils.cpp_extension

    torch.utils.cpp_extension.load = lambda *_, **__: None
    from model import Discriminator, Generator

    networks = {
        "g": Generator(resolution, WIDTH, 3),
        "d": Discriminator(resolution),
        "g_ema": Generator(resolution, WIDTH, 3),
    }
    for network in networks.values():
        shake(torch, network)
    state = {name: network.state_dict() for name, network in networks.items()}
    optimiser = torch.optim.Adam(networks["g"].style.parameters())
    sum(p.sum() for p in networks["g"].style.parameters()).backward()
    optimiser.step()
    more = {"g_optim": optimiser.state_dict(), "args": argparse.Namespace(size=resolution, lr=0.002), "ada_aug_p": 0.0}
    torch.save(state | more, out)


def main(project, checkout, out, resolution, classes):
    """Writes the file."""
    import torch

    torch.manual_seed(0)
    sys.path.insert(0, checkout)
    {"nvidia": nvidia, "rosinality": rosinality}[project](torch, checkout, out, int(resolution), int(classes))


if __name__ == "__main__":
    main(*sys.argv[1:])
