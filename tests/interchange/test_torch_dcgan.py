"""DCGANs of PyTorch's tutorial: equal to a plain reading of its layers, and files that do not fit."""

import importlib.util
import itertools
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxgan.errors import UserError
from jaxgan.interchange import archive, reference, torch_dcgan
from jaxgan.networks.build import build, init
from jaxgan.networks.gan import call
from jaxgan.weights import torch_file, torch_writer

PYTHON = os.environ.get("JAXGAN_TORCH_PYTHON", sys.executable)


def state(widths, transposed, seed=0):
    """A network of the tutorial's layers: `widths` from its input to its output; every number random."""
    rng = np.random.default_rng(seed)
    tensors, index = {}, 0
    for layer, (inputs, outputs) in enumerate(itertools.pairwise(widths)):
        shape = (inputs, outputs, 4, 4) if transposed else (outputs, inputs, 4, 4)
        tensors[f"main.{index}.weight"] = rng.normal(size=shape, scale=1 / np.sqrt(4 * inputs)).astype(np.float32)
        normalised = layer < len(widths) - 2 and (transposed or layer > 0)
        if normalised:
            for name in ("weight", "bias", "running_mean", "running_var"):
                tensors[f"main.{index + 1}.{name}"] = rng.uniform(0.5, 1.5, outputs).astype(np.float32)
            tensors[f"main.{index + 1}.num_batches_tracked"] = np.array(7)
        index += 3 if normalised else 2
    return tensors


def pair(**more):
    """A generator and a discriminator at 16 px."""
    return {"netG": state((5, 12, 6, 3), True), "netD": state((3, 6, 12, 1), False)} | more


def read(tree, path="a.pth"):
    assert torch_dcgan.recognises(tree)
    return torch_dcgan.read(tree, path)


def networks(found):
    gan = build(found.config.model.to_dict())
    g, d = jax.eval_shape(lambda: init(gan, jax.random.key(0)))
    return gan, archive.fitted(found.ema, g, "G"), found.discriminator and archive.fitted(found.discriminator, d, "D")


def convolved(x, kernel, stride, padding, transposed):
    """torch's convolution of x [N, C, H, W], number by number."""
    size = kernel.shape[-1]
    if transposed:
        grown = np.zeros((*x.shape[:2], (x.shape[2] - 1) * stride + 1, (x.shape[3] - 1) * stride + 1))
        grown[:, :, ::stride, ::stride] = x
        x, kernel, stride, padding = grown, kernel.transpose(1, 0, 2, 3)[:, :, ::-1, ::-1], 1, size - 1 - padding
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(2, 3))[:, :, ::stride, ::stride]
    return np.einsum("nihwkl,oikl->nohw", windows, kernel)


def plain(tensors, x, transposed):
    """The tutorial's network in NumPy: x [N, C, H, W] -> images, or logits before its sigmoid."""
    index, last = 0, max(int(name.split(".")[1]) for name in tensors)
    while True:
        ends = index == 0 if transposed else index == last
        stride, padding = (1, 0) if ends else (2, 1)
        x = convolved(x, tensors[f"main.{index}.weight"].astype(np.float64), stride, padding, transposed)
        if index == last:
            return np.tanh(x) if transposed else x[:, 0, 0, 0]
        norm = {k: tensors.get(f"main.{index + 1}.{k}") for k in ("weight", "bias", "running_mean", "running_var")}
        if norm["weight"] is not None:
            scale, shift, mean, variance = (v[:, None, None] for v in norm.values())
            x = (x - mean) / np.sqrt(variance + 1e-5) * scale + shift
        index += 3 if norm["weight"] is not None else 2
        x = np.maximum(x, 0 if transposed else 0.2 * x)


@pytest.mark.parametrize("widths", [(12, 6), (12, 6, 3), (5,)], ids=["16px", "32px", "8px"])
def test_equals_the_tutorials_layers(widths):
    tree = {"netG": state((5, *widths, 3), True), "netD": state((3, *widths[::-1], 1), False)}
    found = read(tree)
    assert found.config.model.resolution == 4 << len(widths)
    gan, g, d = networks(found)
    z = np.random.default_rng(1).standard_normal((3, 5)).astype(np.float32)
    with jax.default_matmul_precision("highest"):
        images = np.asarray(call(gan.generator, g, z))
        logits = call(gan.discriminator, d, images).logits
    theirs = plain(tree["netG"], z[:, :, None, None], True)
    np.testing.assert_allclose(images.transpose(0, 3, 1, 2), theirs, atol=1e-5)
    expected = plain(tree["netD"], images.transpose(0, 3, 1, 2), False)
    np.testing.assert_allclose(logits, expected, atol=1e-4 * np.abs(expected).max())


def test_training_normalises_maps_over_pixels():
    """As torch does: one moment a map, where the authors' code has one a unit."""
    gan, g, _ = networks(read(pair()))
    assert g["buffers"]["norm4"]["mean"].shape == (12,)
    z = np.random.default_rng(1).standard_normal((4, 5)).astype(np.float32)
    _, buffers = call(gan.generator, g, z, train=True)
    first = plain({"main.0.weight": pair()["netG"]["main.0.weight"]}, z[:, :, None, None], True)
    share = 1 / 8  # of the eighth batch
    expected = (1 - share) * g["buffers"]["norm4"]["mean"] + share * np.arctanh(first).mean((0, 2, 3))
    np.testing.assert_allclose(buffers["norm4"]["mean"], expected, rtol=1e-4)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda t: {"netG_state_dict": t["netG"], "netD_state_dict": t["netD"], "epoch": 3},
        lambda t: {"generator": t["netG"], "discriminator": t["netD"]},
        lambda t: {"G": t["netG"], "D": t["netD"]},
        lambda t: {k: {f"module.{name}": v for name, v in state.items()} for k, state in t.items()},
    ],
    ids=["state_dicts", "words", "letters", "parallel"],
)
def test_both_networks_however_they_are_named(wrap):
    found = read(wrap(pair()))
    networks(found)
    assert found.discriminator is not None
    assert len(found.account.read) == sum(map(len, pair().values()))


def test_a_generator_alone_and_its_discriminator_beside_it(tmp_path):
    path = tmp_path / "netG_epoch_3.pth"
    assert read(pair()["netG"], path).discriminator is None
    (tmp_path / "netD_epoch_3.pth").write_bytes(pickle.dumps(pair()["netD"], protocol=2))
    found = read(pair()["netG"], path)
    assert found.discriminator is not None
    assert "D: main.0.weight" in found.account.read
    with pytest.raises(UserError, match="a discriminator alone"):
        read(pair()["netD"])


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: b"no weights", "refused, neither a torch file nor a pickle of protocol 2"),
        (lambda: pickle.dumps(pair()["netD"], protocol=2)[:200], "cut short"),
        (lambda: pickle.dumps({"conv1.weight": np.ones(3)}, protocol=2), "holds no discriminator in this layout"),
        (lambda: pickle.dumps(state((3, 8, 16, 1), False), protocol=2), "has ndf=8 where its generator has ngf=6"),
        (lambda: pickle.dumps(state((3, 6, 1), False), protocol=2), r"main.2.weight has shape \(1, 6, 4, 4\) where"),
    ],
    ids=["text", "short", "other layout", "other width", "fewer layers"],
)
def test_a_discriminator_beside_it_that_cannot_be_used_is_left_out(tmp_path, make, text):
    (tmp_path / "netD_epoch_3.pth").write_bytes(make())
    found = read(pair()["netG"], tmp_path / "netG_epoch_3.pth")
    assert found.discriminator is None
    assert re.search(f"^none: .*netD_epoch_3.pth.*{text}", found.account.made_up["discriminator"])
    assert "netG" not in found.account.made_up["discriminator"]
    assert found.account.read.keys() == pair()["netG"].keys()


@pytest.mark.parametrize(
    ("judge", "text"),
    [
        (
            lambda: state((3, 6, 12, 1), False) | {"main.2.weight": np.ones((9, 6, 4, 4))},
            r"main.2.weight has shape \(9,",
        ),
        (lambda: state((3, 8, 16, 1), False), "has ndf=8 where"),
        (lambda: {"conv1.weight": np.ones(3)}, "lacks main.0.weight"),
    ],
    ids=["shape", "width", "layout"],
)
def test_a_discriminator_in_the_same_file_that_does_not_fit_is_left_out(judge, text):
    found = read(pair(netD=judge()))
    networks(found)
    assert found.discriminator is None
    assert re.search(f"^none: a.pth.*{text}", found.account.made_up["discriminator"])
    assert found.account.unused.keys() == {f"D: {name}" for name in judge()}
    assert found.account.read.keys() == pair()["netG"].keys()


def test_old_files_have_no_count():
    tree = {k: {n: v for n, v in t.items() if not n.endswith("tracked")} for k, t in pair().items()}
    found = read(tree)
    networks(found)
    assert found.account.made_up["generator/buffers/norm4/count"].startswith("1000")


@pytest.mark.parametrize(
    ("part", "name", "value", "text"),
    [
        (
            "netG",
            "main.3.weight",
            np.ones((12, 5, 4, 4)),
            r"main.3.weight has shape \(12, 5, 4, 4\) where \(12, 6, 4, 4\)",
        ),
        ("netG", "main.0.weight", np.ones((5, 12, 5, 5)), r"main.0.weight has shape \(5, 12, 5, 5\)"),
        ("netG", "main.6.bias", np.ones(3), r"holds main.6.bias \(3,\)"),
        ("netG", "main.4.running_var", None, r"lacks main.4.running_var \(6,\)"),
    ],
)
def test_what_does_not_fit_is_named(part, name, value, text):
    tree = pair()
    tree[part][name] = value
    if value is None:
        del tree[part][name]
    with pytest.raises(UserError, match=text):
        read(tree)


def test_other_files_are_not_recognised():
    assert not torch_dcgan.recognises({"netG": {"formatLayer.weight": np.ones((4, 4))}})
    assert not torch_dcgan.recognises(None)


@pytest.mark.skipif("JAXGAN_TORCH_PYTHON" not in os.environ, reason="JAXGAN_TORCH_PYTHON names no Python with torch")
@pytest.mark.parametrize("beside", [False, True], ids=["one file", "two files"])
def test_torchs_own_layers_agree(tmp_path, beside):
    """What `jaxgan import --reference=torch` compares."""
    path, whole = tmp_path / "netG_1.pth", pair()
    path.write_bytes(torch_writer.encode(whole["netG"] if beside else whole))
    if beside:
        (tmp_path / "netD_1.pth").write_bytes(torch_writer.encode({f"module.{k}": v for k, v in whole["netD"].items()}))
    reference.check("torch_dcgan", "torch")
    found = reference.compare(read(torch_file.read(path), path), path, "torch", PYTHON)
    assert {difference.output for difference in found} == {"images", "logits"}
    assert all(difference.relative < 1e-4 for difference in found), found


def test_what_cannot_be_compared_is_said(tmp_path):
    with pytest.raises(UserError, match="give --reference=torch"):
        reference.check("torch_dcgan", tmp_path)
    with pytest.raises(UserError, match=r"--reference=torch has no models/progressive_gan\.py; give a checkout"):
        reference.check("gan_zoo", "torch")
    with pytest.raises(UserError, match="no other project writes npz files"):
        reference.check("npz", tmp_path)
    without = tmp_path / "python"
    without.write_text("#!/bin/sh\necho \"ModuleNotFoundError: No module named 'torch'\" >&2\nexit 1\n")
    without.chmod(0o755)
    with pytest.raises(UserError, match="has no module torch; give --reference_python=PYTHON_WITH_TORCH"):
        reference.compare(read(pair()), "a.pth", "torch", str(without))


FACES = importlib.util.find_spec("gan_face_generate")
_RUN = """
import runpy, sys
import numpy as np, torch
models = runpy.run_path(sys.argv[1] + "/models.py")
generator = models["Generator"](0, 3, 100, 64)
state = torch.load(sys.argv[1] + "/weights.tar", map_location="cpu", weights_only=True)
generator.load_state_dict(state["netG_state_dict"])
with torch.no_grad():
    np.save("images.npy", generator.eval()(torch.tensor(np.load("z.npy"))).numpy())
"""


@pytest.mark.skipif(
    not FACES or "JAXGAN_TORCH_PYTHON" not in os.environ,
    reason="needs gan_face_generate, and JAXGAN_TORCH_PYTHON with torch",
)
def test_the_source_project_agrees_on_faces(tmp_path):
    import jaxgan

    folder = Path(FACES.submodule_search_locations[0])
    z = np.random.default_rng(0).standard_normal((4, 100)).astype(np.float32)
    np.save(tmp_path / "z.npy", z[:, :, None, None])
    subprocess.run([PYTHON, "-c", _RUN, str(folder)], cwd=tmp_path, check=True, timeout=300)
    model = jaxgan.load("zoo:faces-dcgan")
    with jax.default_matmul_precision("highest"):
        images = np.asarray(model.synthesize(model.map(z)))
    np.testing.assert_allclose(images.transpose(0, 3, 1, 2), np.load(tmp_path / "images.npy"), atol=1e-4)
