"""Our own files as models to import: what they hold, and what they may not ask for."""

import json
import time

import jax
import numpy as np
import pytest

from jaxgan.errors import UserError
from jaxgan.experiment import Model, export, load
from jaxgan.interchange import archive, own
from jaxgan.interchange.official import official
from tests.interchange.test_stylegan2_files import W_AVG, tiny_model


def raw_model() -> Model:
    made = tiny_model(channels=3)
    return Model(made.gan, made.config, made.variables, W_AVG, 1234, weights="raw")


@pytest.mark.parametrize("suffix", archive.SUFFIXES)
def test_every_tensor_is_read_and_named(tmp_path, suffix):
    model, path = tiny_model(channels=3), tmp_path / f"a{suffix}"
    export(model, path, {})
    found, weights = own.read(path)
    assert (found.format, weights, found.images_seen) == (suffix[1:], "ema", 0)
    assert found.raw is None
    jax.tree.map(np.testing.assert_array_equal, found.ema, model.variables["generator"])
    jax.tree.map(np.testing.assert_array_equal, found.discriminator, model.variables["discriminator"])
    np.testing.assert_array_equal(found.w_avg, W_AVG)
    account = found.account
    assert len(account.read) == 1 + sum(len(official(tree)) for tree in model.variables.values())
    name = "generator/params/synthesis/b8/conv0/weight"
    assert account.read[name] == "ema/params/synthesis/b8/conv0/weight"
    assert (account.unused, set(account.made_up)) == ({}, {"raw"})


def test_raw_weights_stand_in_for_their_average(tmp_path):
    model = raw_model()
    export(model, tmp_path / "a.npz", {})
    found, weights = own.read(tmp_path / "a.npz")
    assert (weights, found.images_seen) == ("raw", 1234)
    assert found.raw is found.ema
    assert found.account.made_up == {"ema": "the raw weights: the file holds no average"}
    assert load(tmp_path / "a.npz").weights == "raw"
    with pytest.raises(UserError, match="holds the raw weights of its generator only"):
        load(tmp_path / "a.npz", "ema")


@pytest.fixture(scope="module")
def parts():
    """What a small file is made of: (tree, about)."""
    model = tiny_model(channels=3)
    about = {"config": model.config.to_dict(), "level": None, "images_seen": 0, "weights": "ema", "card": {}}
    return model.variables | {"w_avg": W_AVG}, about


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[("mapping_layers", n) for n in (10**6, 2**62, -1, 2.5, "8", None)],
        ("resolution", 2**40),
        ("z_dim", 2**40),
        ("w_dim", 10**9),
        ("channel_max", 10**9),
        ("channel_base", 2**60),
        ("num_classes", 10**9),
        ("base_shape", (10**6, 4)),
        ("channels", 10**6),
        ("level", 10**9),
        ("images_seen", 2**31),
    ],
)
def test_absurd_sizes_are_refused_at_once(tmp_path, parts, field, value):
    tree, about = parts
    about = json.loads(json.dumps(about))
    where = about if field in about else about["config"]["model"]
    where[field] = value
    archive.save(tmp_path / "a.safetensors", tree, about)
    begin = time.process_time()
    with pytest.raises(UserError, match=rf"a\.safetensors.*{field}") as raised:
        own.read(tmp_path / "a.safetensors")
    assert time.process_time() - begin < 2
    assert "\n" not in str(raised.value)


def test_the_largest_sizes_take_no_memory_before_shapes_are_compared(tmp_path, parts):
    tree, about = parts
    about = json.loads(json.dumps(about))
    largest = {"resolution": 4096, "base_shape": (64, 64), "channel_base": 1 << 26, "channel_max": 16_384}
    about["config"]["model"] |= largest | {
        "z_dim": 16_384,
        "w_dim": 16_384,
        "mapping_layers": 64,
        "num_classes": 32_768,
    }
    archive.save(tmp_path / "a.npz", tree, about)
    with pytest.raises(UserError, match=r"a\.npz (lacks|holds)|has shape"):
        own.read(tmp_path / "a.npz")


@pytest.mark.parametrize("field", ["resolution", "dtype", "architecture", "kernel"])
def test_a_config_that_makes_no_network_names_the_file(tmp_path, parts, field):
    tree, about = parts
    about = json.loads(json.dumps(about))
    about["config"]["model"][field] = {"resolution": 12, "kernel": 1}.get(field, "other")
    archive.save(tmp_path / "a.npz", tree, about)
    with pytest.raises(UserError, match=rf"a\.npz.*{field}"):
        own.read(tmp_path / "a.npz")
