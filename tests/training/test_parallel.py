"""The same run on one device, on eight, and with its parameters sharded; in a process that has eight devices."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh

from jaxgan import config as configs
from jaxgan import parallel
from jaxgan.networks.build import build
from jaxgan.networks.gan import Gan
from jaxgan.training.programs import Layout, Programs, fresh_state, layout
from tests import tiny

ROOT = Path(__file__).parents[2]
ITERATIONS = 3
LAYOUTS = ("one", "data", "fsdp")
BATCH_NORM = ("model.z_dim=8", "model.channel_base=64", "model.channel_max=8")
EQGAN = (*BATCH_NORM, "model.w_dim=8", "model.sel_hidden=4", "model.heatmap_features=4", "model.mbstd_group=1")


def placed(gan: Gan, config: dict, name: str) -> Layout:
    """Where the state of a config lies: over all devices, or on the first one alone."""
    place = layout(gan, config)
    if name != "one":
        return place
    mesh = Mesh(np.array(jax.devices()[:1]).reshape(1, 1), parallel.AXES, axis_types=(AxisType.Auto,) * 2)
    return Layout(mesh, place.shapes, parallel.state_shardings(mesh, place.shapes))


def run(name: str) -> dict:
    """The first iterations of a tiny run, with both lazy terms; what `test_*` look at."""
    config = tiny.config(
        "batch_size=32",
        "model.mbstd_group=4",
        "loss.pl_weight=2.0",
        "loss.pl_interval=1",
        "loss.r1_interval=2",
        "loss.r1_gamma=1.0",
        f"fsdp={4 if name == 'fsdp' else 1}",
    ).to_dict()
    gan = build(config["model"])
    place = placed(gan, config, name)
    images = np.random.default_rng(0).integers(0, 256, (ITERATIONS, 32, 8, 8, 1), np.uint8)
    put = parallel.put_batch(place.mesh)
    batches = [put({"images": x, "labels": np.zeros(32, np.int32)}) for x in images]

    state = fresh_state(gan, config, place)
    weight = state.discriminator["params"]["b8"]["conv0"]["weight"]
    sharded = {"shape": weight.shape, "shard": weight.addressable_shards[0].data.shape}
    programs = Programs(gan, config, place)
    programs.compile(batches[0])
    metrics = []
    for i, batch in enumerate(batches):
        state, row = programs.run(i, state, (batch,))
        metrics.append({key: float(value) for key, value in row.items()})
    kept = state.discriminator["params"]["b8"]["conv0"]["weight"].sharding == weight.sharding
    text = {kind: programs.executable(kind, True).as_text() for kind in ("G", "D")}
    devices = sorted(d.id for d in weight.sharding.device_set)
    return {"metrics": metrics, "weight": sharded, "kept": kept, "devices": devices, "text": text}


def one_iteration(name: str, config: str, shape: tuple[int, int, int], overrides: tuple[str, ...], count: int) -> dict:
    """An iteration of a packaged config on so many images: its losses and the generator's buffers."""
    config = configs.load(config)
    configs.override(config, [*overrides, f"batch_size={count}", f"fsdp={4 if name == 'fsdp' else 1}"])
    config = configs.resolve(config, num_images=100, image_shape=shape, num_classes=0, devices=1).to_dict()
    gan = build(config["model"])
    place = placed(gan, config, name)
    images = np.random.default_rng(0).integers(0, 256, (count, *shape), np.uint8)
    batch = parallel.put_batch(place.mesh)({"images": images, "labels": np.zeros(count, np.int32)})
    state = fresh_state(gan, config, place)
    programs = Programs(gan, config, place)
    programs.compile(batch)
    state, metrics = programs.run(0, state, (batch,))
    moments = jax.tree.map(lambda x: np.asarray(x).tolist(), state.generator["buffers"])
    return {"metrics": {key: float(value) for key, value in metrics.items()}, "moments": moments}


def everywhere() -> dict:
    """What the tests of a small StyleGAN2 and of batch normalisation look at."""
    found = {name: run(name) for name in LAYOUTS}
    for name in ("one", "data"):
        found[f"batch_norm_{name}"] = one_iteration(name, "fashion_dcgan", (8, 8, 1), BATCH_NORM, 32)
    return found


def aligned() -> dict:
    """What the test of an EqGAN looks at."""
    return {name: one_iteration(name, "eqgan_fashion32", (32, 32, 1), EQGAN, 8) for name in ("one", "fsdp")}


def main(out: str, what: str) -> None:
    parallel._SMALL = 0  # split everything that divides
    Path(out).write_text(json.dumps({"everywhere": everywhere, "aligned": aligned}[what]()))


def in_a_process(folder: Path, what: str) -> dict:
    """`main` where there are eight devices."""
    out = folder / "runs.json"
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",  # what is looked at here does not depend on them, and they take minutes
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
    }
    code = f"from tests.training import test_parallel; test_parallel.main({str(out)!r}, {what!r})"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=True, timeout=600)
    return json.loads(out.read_text())


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return in_a_process(tmp_path_factory.mktemp("parallel"), "everywhere")


@pytest.mark.parametrize("name", ["data", "fsdp"])
def test_losses_are_those_of_one_device(runs, name):
    assert len(runs["one"]["devices"]) == 1
    assert len(runs[name]["devices"]) == 8
    for ours, one in zip(runs[name]["metrics"], runs["one"]["metrics"], strict=True):
        assert set(ours) == set(one)
        for key, value in one.items():
            assert ours[key] == pytest.approx(value, rel=1e-5, abs=1e-5), key
            assert np.isfinite(value)


def test_parameters_are_sharded(runs):
    shape = runs["data"]["weight"]["shape"]
    assert runs["one"]["weight"]["shard"] == runs["data"]["weight"]["shard"] == shape
    assert np.prod(runs["fsdp"]["weight"]["shard"]) == np.prod(shape) / 4
    assert all(runs[name]["kept"] for name in LAYOUTS)


def test_batch_moments_are_those_of_the_whole_batch(runs):
    one, eight = runs["batch_norm_one"], runs["batch_norm_data"]
    for key, value in one["metrics"].items():
        assert eight["metrics"][key] == pytest.approx(value, rel=1e-5, abs=1e-5), key
    leaves = zip(*(jax.tree.leaves(r["moments"]) for r in (one, eight)), strict=True)
    np.testing.assert_allclose(*map(np.asarray, zip(*leaves)), rtol=1e-4, atol=1e-5)
    assert one["moments"]


@pytest.mark.slow
def test_alignment_is_that_of_one_device(tmp_path):
    """One width of the heatmaps for the whole batch, means over the numbers of all images that count."""
    found = in_a_process(tmp_path, "aligned")
    one, eight = found["one"]["metrics"], found["fsdp"]["metrics"]
    assert {"G_align_b8", "G_align_b16", "G_align_b32", "D_r1_penalty"} <= set(one)
    for key, value in one.items():
        assert eight[key] == pytest.approx(value, rel=1e-4, abs=1e-5), key


def collectives(text: str) -> dict[str, int]:
    return {
        op: len(re.findall(rf" {op}(?:-start)?\(", text))
        for op in ("all-reduce", "all-gather", "all-to-all", "collective-permute")
    }


@pytest.mark.parametrize("kind", ["G", "D"])
def test_what_devices_exchange(runs, kind):
    """Deviation groups, latents and noise stay where they are; gradients are summed, and split parameters gathered."""
    assert not any(collectives(runs["one"]["text"][kind]).values())
    data, fsdp = ({op for op, n in collectives(runs[name]["text"][kind]).items() if n} for name in ("data", "fsdp"))
    assert data == {"all-reduce"}
    assert fsdp == {"all-reduce", "all-gather"}
