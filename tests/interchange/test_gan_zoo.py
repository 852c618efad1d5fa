"""Progressive GANs of pytorch_GAN_zoo: what its own code makes of a file, and ours; and files that do not fit."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxgan.errors import UserError
from jaxgan.interchange import archive, gan_zoo, reference
from jaxgan.networks.build import build, init
from jaxgan.networks.gan import call
from jaxgan.training.growth import phases
from jaxgan.weights import torch_file
from jaxgan.weights.unpickle import Object

# The source project and a Python with torch; neither is part of the library.
CHECKOUT, PYTHON = os.environ.get("JAXGAN_GAN_ZOO"), os.environ.get("JAXGAN_TORCH_PYTHON", sys.executable)
CASES = {
    "stable": {"depths": [32, 32, 16, 8], "miniBatchStdDev": True},
    "fading": {"depths": [32, 32, 16], "miniBatchStdDev": True, "alpha": 0.3, "leakyness": 0.1},
    "tanh": {"depths": [32, 16], "alpha": 0.6, "lossMode": "DCGAN", "dimOutput": 1},
    "plain_weights": {"depths": [16], "equalizedlR": False},
    "classes": {
        "depths": [16, 16, 16],
        "alpha": 1.0,
        "lossMode": "Logistic",
        "attribKeysOrder": {"kind": {"order": 0, "values": ["a", "b", "c"]}},
    },
}


def networks(found):
    """(Gan, variables of the averaged, of the trained generator, of the discriminator), shapes compared with ours."""
    gan = build(found.config.model.to_dict(), found.level)
    g, d = jax.eval_shape(lambda: init(gan, jax.random.key(0)))
    raw = found.raw and archive.fitted(found.raw, g, "raw")
    return gan, archive.fitted(found.ema, g, "ema"), raw, archive.fitted(found.discriminator, d, "D")


def close(ours, theirs):
    error = np.abs(np.asarray(ours) - theirs).max() / np.abs(theirs).max()
    assert error < 1e-4, error


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    """A folder with NAME.pt and NAME.npz of each case, written by the source project."""
    folder = tmp_path_factory.mktemp("gan_zoo")
    command = [PYTHON, str(Path(__file__).with_name("gan_zoo_peer.py")), json.dumps(CASES)]
    subprocess.run(command, cwd=folder, env=os.environ | {"PYTHONPATH": CHECKOUT}, check=True, timeout=600)
    return folder


@pytest.mark.skipif(not CHECKOUT, reason="JAXGAN_GAN_ZOO names no checkout of facebookresearch/pytorch_GAN_zoo")
@pytest.mark.parametrize("name", CASES)
def test_the_source_project_agrees(theirs, name):
    path = theirs / f"{name}.pt"
    tree = torch_file.read(path)
    assert gan_zoo.recognises(tree)
    found = gan_zoo.read(tree, path)
    results = {k: v.transpose(0, 2, 3, 1) if v.ndim == 4 else v for k, v in np.load(theirs / f"{name}.npz").items()}
    gan, ema, raw, d = networks(found)
    ws = results["latent"][:, None]
    with jax.default_matmul_precision("highest"):
        close(call(gan.generator, ema, ws, method="synthesize"), results["images"])
        close(call(gan.generator, raw, ws, method="synthesize"), results["raw"])
        out = call(gan.discriminator, d, results["judged"])
    close(out.logits, results["logits"][:, 0])
    if out.class_logits is not None:
        close(out.class_logits, results["logits"][:, :-1])


@pytest.mark.skipif(not CHECKOUT, reason="JAXGAN_GAN_ZOO names no checkout of facebookresearch/pytorch_GAN_zoo")
@pytest.mark.parametrize("name", CASES)
def test_the_source_projects_loader_agrees(theirs, name):
    """What `jaxgan import --reference=CHECKOUT` compares."""
    path = theirs / f"{name}.pt"
    reference.check("gan_zoo", CHECKOUT)
    found = reference.compare(gan_zoo.read(torch_file.read(path), path), path, CHECKOUT, PYTHON)
    assert {difference.output for difference in found} == {"images", "logits"}
    assert all(difference.relative < 1e-4 for difference in found), found


def checkpoint(depths=(16, 8), classes=0, deviation=True, seed=0, **settings):
    """What a file of the project holds, with random weights: netG, avgG, netD and config."""
    rng = np.random.default_rng(seed)

    def layer(state, name, *shape):
        state[f"{name}.module.weight"] = rng.standard_normal(shape).astype(np.float32)
        state[f"{name}.module.bias"] = rng.standard_normal(shape[0]).astype(np.float32)

    def generator():
        state = {}
        layer(state, "formatLayer", 16 * depths[0], 8 + classes)
        layer(state, "groupScale0.0", depths[0], depths[0], 3, 3)
        for n, width in enumerate(depths):
            layer(state, f"toRGBLayers.{n}", 3, width, 1, 1)
            if n:
                layer(state, f"scaleLayers.{n - 1}.0", width, depths[n - 1], 3, 3)
                layer(state, f"scaleLayers.{n - 1}.1", width, width, 3, 3)
        return state

    judge = {}
    layer(judge, "groupScaleZero.0", depths[0], depths[0] + deviation, 3, 3)
    layer(judge, "groupScaleZero.1", depths[0], 16 * depths[0])
    layer(judge, "decisionLayer", 1 + classes, depths[0])
    for n, width in enumerate(depths):
        layer(judge, f"fromRGBLayers.{n}", width, 3, 1, 1)
        if n:
            layer(judge, f"scaleLayers.{n - 1}.0", width, width, 3, 3)
            layer(judge, f"scaleLayers.{n - 1}.1", depths[n - 1], width, 3, 3)
    config = Object("BaseConfig", {"alpha": 0.0, "leakyReluLeak": 0.2, "lossCriterion": "WGANGP"} | settings)
    return {"config": config, "netG": generator(), "avgG": generator(), "netD": judge}


def test_every_tensor_is_accounted_for():
    tree = checkpoint((16, 16, 8))
    found = gan_zoo.read(tree, "a.pt")
    networks(found)
    account = found.account
    names = {f"{part}.{name.replace('.module', '')}" for part in ("netG", "avgG", "netD") for name in tree[part]}
    assert account.read.keys() | account.unused.keys() == names
    assert {name.rpartition(".")[0] for name in account.unused} == {
        f"{part}.{layers}.{n}"
        for part, layers in (("netG", "toRGBLayers"), ("avgG", "toRGBLayers"), ("netD", "fromRGBLayers"))
        for n in (0, 1)
    }
    assert account.read["netG.toRGBLayers.2.weight"] == "raw/params/torgb16/weight, times 1.414214"
    assert account.read["avgG.scaleLayers.0.1.weight"] == "ema/params/b8/conv1/weight"
    # What needs no other gain is only laid out anew.
    theirs = tree["avgG"]["scaleLayers.0.1.module.weight"].transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(found.ema["params"]["b8"]["conv1"]["weight"], theirs)


def test_training_goes_on_where_the_file_was():
    found = gan_zoo.read(checkpoint(), "a.pt")
    assert (found.level, found.images_seen) == (2, 0)
    assert phases(found.config, 1000)[0].level == 2
    assert found.config.loss.objective == "wgan"
    found = gan_zoo.read(checkpoint(alpha=0.25, lossCriterion="MSE"), "a.pt")
    assert found.level == 1
    phase = phases(found.config, 1_000_000)[0]
    assert (phase.level, phase.start) == (1, 0)
    assert phase.fade.alpha(np.int32(found.images_seen)) == found.ema["buffers"]["alpha"] == 0.75
    assert found.discriminator["buffers"]["alpha"] == 1  # theirs does not mix at 8 px
    assert (found.config.model.output, found.config.loss.objective) == ("tanh", "lsgan")
    assert phases(found.config, 10_000_000)[-1].level == 2


def test_a_file_without_a_config(tmp_path):
    tree = checkpoint()
    del tree["config"], tree["netD"]
    found = gan_zoo.read(tree, tmp_path / "faces_s1_i20.pt")
    assert found.discriminator is None
    assert {"config", "discriminator"} <= found.account.made_up.keys()
    beside = tmp_path / "faces_train_config.json"
    beside.write_text(json.dumps({"leakyness": 0.1, "lossMode": "DCGAN", "depthScales": [16, 8]}))
    found = gan_zoo.read(tree, tmp_path / "faces_s1_i20.pt")
    assert (found.config.model.leaky_slope, found.config.model.output) == (0.1, "tanh")
    assert "config" not in found.account.made_up
    beside.write_text("{")
    with pytest.raises(UserError, match=r"faces_train_config\.json cannot be read"):
        gan_zoo.read(tree, tmp_path / "faces_s1_i20.pt")


def test_without_a_minibatch_deviation_and_names_of_old_files():
    tree = checkpoint(deviation=False, classes=2)
    tree = tree | {part: {k.replace(".module", ""): v for k, v in tree[part].items()} for part in ("netG", "netD")}
    found = gan_zoo.read(tree, "a.pt")
    networks(found)
    assert (found.config.model.num_classes, found.config.model.z_dim) == (2, 8)
    assert not found.discriminator["params"]["b4"]["conv"]["weight"][:, :, -1].any()


@pytest.mark.parametrize(
    ("part", "name", "value", "text"),
    [
        (
            "netD",
            "scaleLayers.0.1.module.weight",
            np.ones((9, 8, 3, 3)),
            r"scaleLayers.0.1.weight has shape .* \(16, 8, 3, 3\) was",
        ),
        ("avgG", "groupScale0.0.module.bias", None, r"\(avgG\) lacks groupScale0.0.bias \(16,\)"),
        (
            "avgG",
            "scaleLayers.0.2.module.bias",
            np.ones(3),
            r"holds scaleLayers.0.2.bias \(3,\), which its network does",
        ),
        ("avgG", "scaleLayers.0.0.module.weight", np.ones((7, 16, 3, 3)), "scaleLayers.0.0.weight makes 7 maps where"),
        ("netG", "formatLayer.module.weight", np.full((256, 8), np.nan), "formatLayer.weight holds NaN"),
        ("config", "alpha", "much", "alpha='much'"),
        ("config", "lossCriterion", "hinge", "lossCriterion='hinge'"),
    ],
)
def test_what_does_not_fit_is_named(part, name, value, text):
    tree = checkpoint((16, 16) if "makes" in text else (16, 8))
    state = tree[part].state if part == "config" else tree[part]
    state[name] = value
    if value is None:
        del state[name]
    with pytest.raises(UserError, match=text):
        gan_zoo.read(tree, "a.pt")


def test_other_files_are_not_recognised():
    assert not gan_zoo.recognises([1])
    assert not gan_zoo.recognises({"netG": {"main.0.weight": np.ones((4, 4))}})
