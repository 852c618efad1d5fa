"""A model out to every format by the command line, and back in where this library reads it."""

import jax
import numpy as np
import pytest

from jaxgan.cli import main
from jaxgan.experiment import export, load, model_of
from jaxgan.interchange import archive
from jaxgan.interchange.torch_dcgan import read
from tests.interchange.test_torch_dcgan import pair


def exported(capsys, run, out, *flags):
    with pytest.raises(SystemExit) as stopped:
        main(["jaxgan", "export", f"--run={run}", f"--out={out}", *flags])
    assert stopped.value.code == 0, capsys.readouterr().err
    return out


@pytest.mark.parametrize("name", ["a.npz", "a.safetensors"])
def test_round_trips_are_bit_equal(capsys, tmp_path, name):
    model = load("zoo:fashion-dcgan")
    same = load(exported(capsys, "zoo:fashion-dcgan", tmp_path / "to" / name))
    assert (same.config.to_dict(), same.level) == (model.config.to_dict(), model.level)
    jax.tree.map(np.testing.assert_array_equal, same.variables, model.variables)
    np.testing.assert_array_equal(same.w_avg, model.w_avg)


def test_a_generator_alone(tmp_path):
    """As out of files that hold no discriminator."""
    model = model_of(read({"netG": pair()["netG"]}, "a.pth"), "a.pth")
    for suffix in archive.SUFFIXES:
        export(model, tmp_path / f"a{suffix}", {})
        same = load(tmp_path / f"a{suffix}")
        assert same.variables["discriminator"] is None
        jax.tree.map(np.testing.assert_array_equal, same.variables, model.variables)


def test_a_program(capsys, tmp_path):
    pytest.importorskip("flatbuffers")
    out = exported(capsys, "zoo:fashion-dcgan", tmp_path / "a.stablehlo", "--format=stablehlo")
    program = jax.export.deserialize(out.read_bytes())
    model = load("zoo:fashion-dcgan")
    z = np.random.default_rng(0).standard_normal((2, 64)).astype(np.float32)
    np.testing.assert_allclose(program.call(z, np.float32(1)), model.synthesize(model.map(z)), atol=1e-5)


def test_other_projects(capsys, tmp_path):
    """What NVIDIA's projects open comes back the same; what a project cannot build is said."""
    run = "zoo:fashion-stylegan2"
    same = load(exported(capsys, run, tmp_path / "a.pkl", "--format=nvidia"))
    for name, tree in load(run).variables.items():
        jax.tree.map(np.testing.assert_array_equal, same.variables[name]["params"], tree["params"])
    with pytest.raises(SystemExit):
        main(["jaxgan", "export", f"--run={run}", f"--out={tmp_path / 'a.pt'}", "--format=rosinality"])
    assert "rosinality's networks have channels 3" in capsys.readouterr().err
