"""The generator as a StableHLO program: run where this library is never imported, it makes the same images."""

import json
import subprocess
import sys

import jax
import numpy as np
import pytest

from jaxgan import config as configs
from jaxgan.errors import UserError
from jaxgan.experiment import Model
from jaxgan.interchange import stablehlo
from jaxgan.networks.build import build, init
from tests import tiny

ALONE = """
import json, sys
import numpy as np
from jax import export
for name in sys.argv[1:]:
    inputs = np.load(name + ".npz")
    order = [value["name"] for value in json.load(open(name + ".stablehlo.json"))["inputs"]]
    program = export.deserialize(open(name + ".stablehlo", "rb").read())
    for rows in (1, 3):  # a batch of any size
        values = [inputs[key][:rows] if inputs[key].ndim else inputs[key] for key in order]
        images = np.asarray(program.call(*values))
        assert images.shape[0] == rows
    np.save(name + ".npy", images)
assert not any(module.startswith(("jaxgan", "flax")) for module in sys.modules)
"""


def model(architecture):
    overrides = ("data.use_labels=True", f"model.architecture={architecture}")
    config = configs.complete(tiny.config(*overrides, image_shape=(16, 16, 3), num_classes=3))
    gan = build(config.model.to_dict())
    g, d = tiny.filled(jax.eval_shape(lambda: init(gan, jax.random.key(0))))
    w_avg = np.ones(gan.generator.w_dim, np.float32)
    return Model(gan, config, {"generator": g, "discriminator": d}, w_avg, 7)


def test_runs_without_the_library(tmp_path):
    pytest.importorskip("flatbuffers")
    rng = np.random.default_rng(0)
    expected = {}
    others = tmp_path / "stylegan2.json"  # what lies there of the same name stays
    others.write_text("{}")
    for name, psi in (("stylegan2", 0.6), ("pggan", 1.0)):
        made = model(name)
        stablehlo.write(made, tmp_path / f"{name}.stablehlo")
        z, labels = rng.standard_normal((3, made.gan.generator.z_dim)).astype(np.float32), np.array([2, 0, 1], np.int32)
        np.savez(tmp_path / f"{name}.npz", z=z, labels=labels, truncation_psi=np.float32(psi))
        expected[name] = np.asarray(made.synthesize(made.map(z, labels, psi)))
    subprocess.run([sys.executable, "-c", ALONE, *expected], cwd=tmp_path, check=True, timeout=600)
    for name, images in expected.items():
        error = np.abs(np.load(tmp_path / f"{name}.npy") - images).max() / np.abs(images).max()
        assert error < 1e-5, (name, error)
    assert others.read_text() == "{}"
    signature = json.loads((tmp_path / "stylegan2.stablehlo.json").read_text())
    assert signature["inputs"] == [
        {"name": "z", "shape": ["batch", 8], "dtype": "float32"},
        {"name": "labels", "shape": ["batch"], "dtype": "int32"},
        {"name": "truncation_psi", "shape": [], "dtype": "float32"},
    ]
    assert signature["outputs"] == [{"name": "images", "shape": ["batch", 16, 16, 3], "dtype": "float32"}]
    assert set(signature["platforms"]) == {"cpu", "cuda", "tpu"}
    # Truncation changes nothing where the latent is normalised, so it is no input there.
    assert [v["name"] for v in json.loads((tmp_path / "pggan.stablehlo.json").read_text())["inputs"]] == ["z", "labels"]


def test_without_the_package_that_writes_it(tmp_path, monkeypatch):
    monkeypatch.setattr(stablehlo.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install jaxgan\[stablehlo\]"):
        stablehlo.write(None, tmp_path / "a.stablehlo")
