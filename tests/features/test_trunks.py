"""Trunks against the networks that they are cut from: which convolution is which, what it sees, what it needs."""

import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.errors import UserError
from jaxgan.features import networks, trunks
from jaxgan.features.lpips import StLpips
from jaxgan.features.trunks import LABELS, Trunk, apply_trunk, load_trunk, smallest
from jaxgan.features.vgg import Vgg

NETWORKS = {"vgg19": "vgg19", "st-vgg": "stlpips-vgg"}
LAST = {"vgg19": (2, 4, 8, 12, 16), "st-vgg": (2, 4, 7, 10, 13)}  # the last convolution of each block


@functools.cache
def params(kind):
    """Random, with heads of ST-LPIPS that only normalise. VGG19's dense layers are left out."""
    found = networks.random_params(NETWORKS[kind])
    found = {k: np.ones_like(v) if k.startswith("lin") else v for k, v in found.items()}
    return {k: v for k, v in found.items() if not k.startswith("classifier")}


def used(kind, convs):
    """The parameters that a trunk has."""
    trunk = Trunk(kind, convs)
    shapes = jax.eval_shape(trunk.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32))
    return trunk, {name: params(kind)[name] for name in shapes["params"]}


def pictures(seed=0, shape=(2, 32, 32, 3)):
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def relative(found, expected):
    return float(jnp.abs(found - expected).max() / jnp.abs(expected).max())


apply = jax.jit(apply_trunk, static_argnums=0)


def test_vgg19_is_the_network_that_classifies():
    trunk, own = used("vgg19", LAST["vgg19"])
    images = pictures()
    found = apply(trunk, own, images)
    static = (Vgg("vgg19", classifier=False), 0, "bilinear", 0)
    expected = networks.measure(static, own, images * 127.5 + 127.5)
    assert len(found) == len(expected)
    for block, conv in enumerate(LAST["vgg19"], start=1):
        map, tap = found[f"conv_{conv}"], expected[f"relu{block}"]
        assert float(map.min()) < 0  # before the ReLU
        assert relative(jax.nn.relu(map), tap) < 1e-4


def test_st_vgg_is_the_trunk_of_the_distance():
    """Its taps are seen through heads of ones: divided by their length over channels."""
    trunk, own = used("st-vgg", LAST["st-vgg"])
    images = pictures(1)
    found = apply(trunk, own, images)
    expected = networks.measure((StLpips("vgg"), 0, "bicubic", 0), params("st-vgg"), images * 127.5 + 127.5)
    assert len(found) == len(expected)
    for conv, tap in zip(LAST["st-vgg"], expected):
        assert float(found[f"conv_{conv}"].min()) < 0
        map = jax.nn.relu(found[f"conv_{conv}"])
        np.testing.assert_allclose(map / jnp.linalg.norm(map, axis=-1, keepdims=True), tap, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("kind", "conv", "name", "shape"),
    [
        ("vgg19", 1, "features.0", (32, 32, 64)),
        ("vgg19", 3, "features.5", (16, 16, 128)),
        ("vgg19", 5, "features.10", (8, 8, 256)),  # conv3_1
        ("vgg19", 9, "features.19", (4, 4, 512)),
        ("vgg19", 16, "features.34", (2, 2, 512)),
        ("st-vgg", 5, "net.slice3.12", (9, 9, 256)),
        ("st-vgg", 13, "net.slice5.32", (3, 3, 512)),
    ],
)
def test_which_convolution_is_which(kind, conv, name, shape):
    """With its kernel set to zero a convolution gives its bias, negative numbers too; the names above it are unused."""
    trunk, own = used(kind, (conv,))
    assert len(own) == 2 * conv
    own[f"{name}.weight"] = np.zeros_like(own[f"{name}.weight"])
    (found,) = apply(trunk, own, pictures()).values()
    assert found.shape == (2, *shape)
    np.testing.assert_array_equal(found, np.broadcast_to(own[f"{name}.bias"], found.shape))


def test_nothing_is_computed_beyond_the_last_and_all_in_full_precision():
    trunk, own = used("vgg19", (2, 5))
    jaxpr = jax.make_jaxpr(functools.partial(apply_trunk, trunk))(own, pictures())
    convs = [e for e in jaxpr.jaxpr.eqns if e.primitive.name == "jaxgan_conv"]
    assert [str(e.params["precision"]) for e in convs] == ["highest"] * 5
    assert jaxpr.jaxpr.eqns[-1].primitive.name == "add"  # the last bias, and no ReLU


def test_grey_alpha_and_ranges():
    trunk, own = used("st-vgg", (1,))
    grey = pictures(2, (2, 8, 8, 1))
    colour = pictures(3, (2, 8, 8, 3))
    opaque, clear = (np.concatenate([colour, np.full_like(grey, a)], -1) for a in (1, -1))
    found = {k: apply(trunk, own, x)["conv_1"] for k, x in (("grey", grey), ("opaque", opaque), ("clear", clear))}
    for name, same in (("grey", np.repeat(grey, 3, -1)), ("opaque", colour), ("clear", np.ones_like(colour))):
        np.testing.assert_allclose(found[name], apply(trunk, own, same)["conv_1"], rtol=0, atol=1e-5)
        np.testing.assert_allclose(
            found[name], trunk.apply({"params": own}, jnp.asarray(127.5 * (same + 1)))["conv_1"], rtol=0, atol=1e-4
        )
    with pytest.raises(ValueError, match="2 channels"):
        apply_trunk(trunk, own, np.zeros((1, 8, 8, 2), np.float32))


@pytest.mark.parametrize("kind", ["vgg19", "st-vgg"])
def test_a_gradient_reaches_every_pixel_and_no_other_image(kind):
    trunk, own = used(kind, (2, 5))

    @jax.jit
    def gradient(images):
        def first(images):
            return sum(jnp.square(m[0]).mean() for m in apply_trunk(trunk, own, images).values())

        return jax.grad(first)(images)

    found = gradient(pictures(4, (2, 16, 16, 3)))
    assert np.isfinite(found).all()
    assert (jnp.abs(found[0]).sum(-1) > 0).all()
    np.testing.assert_array_equal(found[1], 0)
    assert np.isfinite(gradient(np.full((2, 16, 16, 3), -1, np.float32))).all()


@pytest.mark.parametrize(
    ("kind", "conv", "side"),
    [("vgg19", 2, 1), ("vgg19", 5, 4), ("vgg19", 13, 16), ("st-vgg", 2, 1), ("st-vgg", 5, 6), ("st-vgg", 13, 18)],
)
def test_images_that_are_too_small(kind, conv, side):
    trunk, own = used(kind, (conv,))
    assert smallest(kind, conv) == side

    def shape(height, width):
        return jax.eval_shape(functools.partial(apply_trunk, trunk, own), jnp.zeros((1, height, width, 3)))

    assert min(shape(side, side)[f"conv_{conv}"].shape) >= 1
    if side > 1:
        with pytest.raises(UserError, match=rf"{side - 1}x40 images are too small for conv_{conv} of .*{side} px"):
            shape(side - 1, 40)
        with pytest.raises(UserError, match="too small") as error:
            trunk.apply({"params": own}, jnp.zeros((1, 40, side - 1, 3)))
        assert "\n" not in str(error.value)


def test_loading_the_trunk_that_a_package_carries():
    pytest.importorskip("stlpips_pytorch", reason="needs the package stlpips-pytorch")
    trunk, own = load_trunk("st-vgg", (1, 5))
    whole = networks.load("stlpips-vgg").params
    assert trunk == Trunk("st-vgg", (1, 5))
    assert set(own) == set(used("st-vgg", (1, 5))[1])
    for name, value in own.items():
        np.testing.assert_array_equal(value, whole[name])
    maps = apply(trunk, own, pictures())
    assert {name: m.shape for name, m in maps.items()} == {"conv_1": (2, 32, 32, 64), "conv_5": (2, 9, 9, 256)}
    assert all(np.isfinite(m).all() for m in maps.values())


def test_loading_vgg19_from_a_file(monkeypatch):
    asked = []

    def load(name, weights):
        asked.append((name, weights))
        return types.SimpleNamespace(params=params("vgg19"))

    monkeypatch.setattr(trunks, "load", load)
    trunk, own = load_trunk("vgg19", [5, 2], "vgg19.pth")
    assert asked == [("vgg19", "vgg19.pth")]
    assert sorted(own) == sorted(f"features.{i}.{part}" for i in (0, 2, 5, 7, 10) for part in ("weight", "bias"))
    assert {name: m.shape[-1] for name, m in apply(trunk, own, pictures()).items()} == {"conv_2": 64, "conv_5": 256}
    hash(trunk)  # static under jit


def test_names_and_errors(tmp_path):
    assert LABELS["vgg19"] == "VGG19"
    assert "VGG19" not in LABELS["st-vgg"]
    for arguments, message in (
        (("vgg16", (5,)), "trunk 'vgg16' is not known; use one of vgg19, st-vgg"),
        (("vgg19", (17,)), "trunk vgg19 has no convolution 17; give numbers from 1 to 16"),
        (("st-vgg", (5, 0)), "trunk st-vgg has no convolution 0; give numbers from 1 to 13"),
        (("st-vgg", (1.5,)), r"no convolution 1\.5; give numbers from 1 to 13"),
        (("st-vgg", ("conv_5",)), "no convolution 'conv_5'"),
        (("st-vgg", ()), "asked for no convolution; give numbers from 1 to 13"),
        (("vgg19", (5,)), "vgg19 has no weights in any package"),
    ):
        with pytest.raises(UserError, match=message) as error:
            load_trunk(*arguments)
        assert "\n" not in str(error.value)
    (tmp_path / "empty.pth").write_bytes(b"")
    with pytest.raises(UserError, match=r"empty\.pth"):
        load_trunk("vgg19", (5,), tmp_path / "empty.pth")
