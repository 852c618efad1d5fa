"""Training steps compiled for slices of TPUs that are not here."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from benchmarks.aot_tpu import SMALL, Slice, roofline, summary
from benchmarks.chips import CHIPS
from jaxgan import config as configs

ROOT = Path(__file__).parents[2]


class Device:
    """As much of a device as a summary asks for."""

    device_kind = "TPU v5 lite"


@pytest.fixture(scope="module")
def slice_():
    config = configs.load("quickstart")
    configs.override(config, ["model.channel_base=8192", "model.channel_max=256"])
    return Slice(config, 32, jax.devices())


def row(kind, regularise, **more):
    found = {"program": [kind, regularise], "memory": 2e9, "flops": 197e10, "bytes": 819e6, "unexpected": []}
    return found | {"collectives": {"all-reduce": {"count": 1, "bytes": 200_000_000, "largest": 200_000_000}}} | more


def rows(**more):
    return [row(kind, regularise, **more) for kind in "GD" for regularise in (False, True)]


def test_what_may_be_said_between_chips(slice_):
    kernel = max((x for x in jax.tree.leaves(slice_.place.shapes.generator["params"])), key=lambda x: x.size)
    gradient = f"f32[{','.join(map(str, kernel.shape))}]"
    size = 4 * kernel.size
    assert size > SMALL
    assert slice_.expected("all-reduce", gradient, size, "G")
    assert not slice_.expected("all-gather", gradient, size, "G")  # parameters are whole everywhere
    assert not slice_.expected("all-reduce", "f32[64,32,32,64]", 2**24, "G")  # activations
    assert not slice_.expected("all-gather", "bf16[64,32,32,64]", 2**23, "D")
    assert slice_.expected("all-gather", "f32[64,3]", 768, "D")


def test_the_roofline():
    times = roofline(row("G", False), CHIPS["TPU v5 lite"], 2)
    assert times == pytest.approx({"compute": 0.01, "memory": 0.001, "links": 0.001})


def test_a_summary(slice_):
    found = summary(slice_, rows(), "v5e:2x1", [Device(), Device()])
    iteration = 2 * (0.01 + 0.001)  # both halves
    assert found["images_per_second"] == pytest.approx(slice_.config["batch_size"] / iteration)
    assert found["share_of_peak"] == pytest.approx(0.01 / 0.011)
    assert found["bound"] == "compute"
    assert found["faults"] == []


def test_what_does_not_fit_is_a_fault(slice_):
    found = summary(slice_, rows(memory=17e9, unexpected=["all-gather of f32[9]"]), "v5e:2x1", [Device()] * 2)
    assert len(found["faults"]) == 8
    assert any("17.0 of 16 GB" in fault for fault in found["faults"])


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="needs libtpu: pip install '.[tpu]'")
@pytest.mark.parametrize("fsdp", [1, 4])
def test_quickstart_on_eight_chips(tmp_path, fsdp):
    command = [sys.executable, "benchmarks/aot_tpu.py", "--configs=quickstart", "--resolution=32"]
    command += [
        "--config.batch_size=64",
        "--topologies=v5e:2x4",
        f"--config.fsdp={fsdp}",
        f"--json={tmp_path / 'aot.json'}",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = json.loads((tmp_path / "aot.json").read_text())["results"]
    assert found["devices"] == 8
    assert found["faults"] == []
    assert found["images_per_second"] > 0
    reduced = found["collectives"]["G"]
    assert reduced["all-reduce"]["bytes"] > 0
    assert ("all-gather" in reduced) == (fsdp > 1)
