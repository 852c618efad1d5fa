"""Runs in the Python of another project, not in ours: opens a file with that project's own code and draws from it.

python reference_run.py PROJECT CHECKOUT FILE INPUTS.npz OUTPUTS.npz

CHECKOUT is put on the path of imports. The project's loader executes what is in the file, which is why nobody but its
user starts this. INPUTS holds z and, for conditional networks, labels as codes; OUTPUTS gets images [N, C, H, W] with
constant noise, ws where the project has them and, where there is a discriminator, the logits of each image on its own.
All on the CPU in float32.
"""

import sys
import types

import numpy as np


def nvidia(path, z, labels):
    """StyleGAN2-ADA-PyTorch and the StyleGAN3 repository."""
    import torch

    if "pkg_resources" not in sys.modules:  # an older setuptools had it; one function of it is asked for
        stand_in = types.ModuleType("pkg_resources")
        stand_in.parse_version = lambda text: tuple(int(part) for part in text.split("+")[0].split(".")[:2])
        sys.modules["pkg_resources"] = stand_in
    import legacy

    with open(path, "rb") as file:
        data = legacy.load_network_pkl(file)
    generator, discriminator = data["G_ema"].eval().float(), data["D"].eval().float()
    z = torch.tensor(z)
    codes = torch.zeros([len(z), 0]) if labels is None else torch.tensor(labels)
    ws = generator.mapping(z, codes)
    images = generator.synthesis(ws, noise_mode="const", force_fp32=True)
    logits = [discriminator(images[i : i + 1], codes[i : i + 1], force_fp32=True) for i in range(len(z))]
    return {"ws": ws, "images": images, "logits": torch.cat(logits)[:, 0]}


def rosinality(path, z, labels):
    """rosinality/stylegan2-pytorch. Its operators are compiled for GPUs when they are imported; the CPU needs none."""
    import torch
    import torch.utils.cpp_extension

    torch.utils.cpp_extension.load = lambda *_, **__: None
    from model import Discriminator, Generator

    state = torch.load(path, map_location="cpu", weights_only=False)
    weights = state["g_ema"]
    size = 4 << sum(name.startswith("to_rgbs.") and name.endswith(".conv.weight") for name in weights)
    layers = sum(name.startswith("style.") and name.endswith(".weight") for name in weights)
    widest = weights[f"convs.{2 * size.bit_length() - 7}.conv.weight"].shape[1] * size
    multiplier = max(widest // 16384, 1)
    generator = Generator(size, weights["style.1.weight"].shape[0], layers, channel_multiplier=multiplier).eval()
    generator.load_state_dict(weights)
    ws, (images, _) = generator.style(torch.tensor(z)), generator([torch.tensor(z)], randomize_noise=False)
    found = {"ws": ws[:, None].expand(-1, generator.n_latent, -1), "images": images}
    if "d" in state:
        discriminator = Discriminator(size, channel_multiplier=multiplier).eval()
        discriminator.load_state_dict(state["d"])
        found["logits"] = torch.cat([discriminator(images[i : i + 1])[:, 0] for i in range(len(z))])
    return found


def gan_zoo(path, z, labels):
    """facebookresearch/pytorch_GAN_zoo, Progressive GAN."""
    import torch
    from torch import optim

    adam = optim.Adam
    # Loading makes optimisers, whose betas, [0, 0.99], newer versions of torch refuse.
    optim.Adam = lambda parameters, betas, lr: adam(parameters, lr=lr, betas=tuple(map(float, betas)))
    from models.progressive_gan import ProgressiveGAN

    model = ProgressiveGAN(useGPU=False)
    model.load_state_dict(torch.load(path, map_location="cpu", weights_only=False))
    generator, discriminator = model.getOriginalAvgG(), model.getOriginalD()
    images = generator(torch.tensor(z if labels is None else np.concatenate((z, labels), 1)))
    # A group of one image has the deviation 0 there; here, and in a group of its copies, it is the root of 1e-8.
    logits = [discriminator(images[i : i + 1].repeat(4, 1, 1, 1))[:1, 0] for i in range(len(z))]
    return {"images": images, "logits": torch.cat(logits)}


def torch_dcgan(path, z, labels):
    """DCGANs of PyTorch's tutorial, built of torch's layers by what a file holds, and netD beside netG."""
    import os

    import torch

    found = torch_dcgan_states(torch.load(path, map_location="cpu", weights_only=True))
    folder, name = os.path.split(path)
    beside = os.path.join(folder, name.replace("netG", "netD"))
    if "D" not in found and beside != path and os.path.isfile(beside):
        found = torch_dcgan_states(torch.load(beside, map_location="cpu", weights_only=True)) | found
    images = torch_dcgan_network(found["G"], transposed=True)(torch.tensor(z)[:, :, None, None])
    if "D" not in found:
        return {"images": images}
    return {"images": images, "logits": torch_dcgan_network(found["D"], transposed=False)(images)[:, 0, 0, 0]}


def torch_dcgan_states(tree):
    """{"G", "D"} -> state dicts, of a file that holds one or several of them by name."""
    found = {}
    for state in [tree, *tree.values()]:
        if not isinstance(state, dict):
            continue
        state = {name.removeprefix("module."): value for name, value in state.items() if isinstance(name, str)}
        if "main.0.weight" in state:
            # A generator normalises what its first layer makes, a discriminator does not.
            found.setdefault("G" if "main.1.weight" in state else "D", state)
    return found


def torch_dcgan_network(state, transposed):
    """The nn.Sequential that a state dict is of, without the discriminator's sigmoid."""
    import torch
    from torch import nn

    last = max(int(name.split(".")[1]) for name in state)
    layers = []
    for i in range(last + 1):
        weight = state.get(f"main.{i}.weight")
        if weight is None:
            layers.append(nn.ReLU() if transposed else nn.LeakyReLU(0.2))
        elif weight.ndim == 1:
            layers.append(nn.BatchNorm2d(len(weight)))
        else:
            shape = weight.shape[:2] if transposed else weight.shape[1::-1]
            stride, padding = (1, 0) if i == (0 if transposed else last) else (2, 1)
            kind = nn.ConvTranspose2d if transposed else nn.Conv2d
            layers.append(kind(*shape, 4, stride, padding, bias=False))
    network = nn.Sequential(*layers)
    network.load_state_dict({name.removeprefix("main."): torch.as_tensor(value) for name, value in state.items()})
    return nn.Sequential(network.eval(), nn.Tanh()) if transposed else network.eval()


def main(project, checkout, path, inputs, outputs):
    """Writes the outputs."""
    import torch

    sys.path.insert(0, checkout)
    with np.load(inputs) as file:
        z, labels = file["z"], file.get("labels")
    with torch.no_grad():
        found = PROJECTS[project](path, z, labels)
    np.savez(outputs, **{name: value.numpy() for name, value in found.items()})


PROJECTS = {"nvidia": nvidia, "rosinality": rosinality, "gan_zoo": gan_zoo, "torch_dcgan": torch_dcgan}

if __name__ == "__main__":
    main(*sys.argv[1:])
