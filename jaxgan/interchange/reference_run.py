"""Runs in the Python of another project, not in ours: opens a file with that project's own code and draws from it.

python reference_run.py PROJECT CHECKOUT FILE INPUTS.npz OUTPUTS.npz

The project's loader executes what is in the file, which is why nobody but its user starts this. INPUTS holds z and, for
conditional networks, labels as codes; OUTPUTS gets ws, images with constant noise [N, C, H, W] and, where there is a
discriminator, the logits of each image on its own. All on the CPU in float32.
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


def main(project, checkout, path, inputs, outputs):
    """Writes the outputs."""
    import torch

    sys.path.insert(0, checkout)
    with np.load(inputs) as file:
        z, labels = file["z"], file.get("labels")
    with torch.no_grad():
        found = {"nvidia": nvidia, "rosinality": rosinality}[project](path, z, labels)
    np.savez(outputs, **{name: value.numpy() for name, value in found.items()})


if __name__ == "__main__":
    main(*sys.argv[1:])
