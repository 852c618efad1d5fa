"""StyleGAN2 files of other projects: what goes in comes out bit for bit, and what does not fit is said by name."""

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

import jaxgan
from jaxgan import config as configs
from jaxgan.configs import common
from jaxgan.errors import UserError
from jaxgan.experiment import Model
from jaxgan.interchange import nvidia, rosinality, tensorflow
from jaxgan.interchange.official import FILTER, official
from jaxgan.interchange.read import open_file
from jaxgan.weights import torch_file, torch_writer
from jaxgan.weights.pickle_writer import dumps
from tests import tiny
from tests.interchange import layouts

W_AVG = np.linspace(-1, 1, 8, dtype=np.float32)


def tiny_model(**changes) -> Model:
    """A model of random numbers, every bias and noise strength too."""
    settings = tiny.model(mbstd_group=2, conv_clamp=256.0, mapping_layers=2, dtype="float32") | changes
    gan, generator, discriminator = tiny.gan_and_variables(settings)
    config = configs.complete(common.stylegan2())
    config.model.update(settings)
    return Model(gan, config, {"generator": generator, "discriminator": discriminator}, W_AVG, 0)


def assert_same(model: Model, variables, w_avg, discriminator=None) -> None:
    jax.tree.map(np.testing.assert_array_equal, model.variables["generator"], variables)
    np.testing.assert_array_equal(model.w_avg, w_avg)
    if discriminator is not None:
        jax.tree.map(np.testing.assert_array_equal, model.variables["discriminator"], discriminator)


@pytest.fixture
def snapshot(tmp_path):
    """Writes a model as StyleGAN2-ADA-PyTorch does; `change(generator, discriminator)` may spoil it."""

    def write(model: Model, change=None):
        variables = model.variables
        networks = layouts.nvidia_networks(
            model.config.model, variables["generator"], variables["discriminator"], W_AVG
        )
        if change is not None:
            networks = change(*networks)
        return layouts.nvidia(tmp_path / "network.pkl", networks[0], networks[0], networks[1])

    return write


def inner(module, *path):
    """The state of a module inside another."""
    for key in path:
        module = module.arguments[0]["state"]["_modules"][key]
    return module.arguments[0]["state"]


@pytest.mark.parametrize(
    "changes",
    [{}, {"num_classes": 3, "d_architecture": "orig", "channels": 1, "conv_clamp": 0.0}],
    ids=["unconditional", "conditional"],
)
def test_nvidia(snapshot, changes):
    model = tiny_model(**changes)
    imported = open_file(snapshot(model))
    assert_same(model, imported.ema, imported.w_avg, imported.discriminator)
    assert_same(model, imported.raw, imported.w_avg)
    found, wanted = imported.config.model, model.config.model
    different = {k: (found[k], wanted[k]) for k in wanted if found[k] != wanted[k]}
    assert different == {}
    account = imported.account
    assert len(account.read) == 2 * len(official(model.variables["generator"])) + 1 + len(
        official(model.variables["discriminator"])
    )
    assert account.made_up == {}
    assert account.read["G_ema: synthesis.b8.conv0.weight"] == "ema/params/synthesis/b8/conv0/weight"


@pytest.mark.parametrize("changes", [{}, {"num_classes": 3, "d_architecture": "orig"}], ids=["plain", "conditional"])
def test_what_nvidia_is_given_comes_back(tmp_path, changes):
    """The layout of TensorFlow's pickles, which their own code opens."""
    model = tiny_model(**changes)
    nvidia.write(model, tmp_path / "network.pkl")
    imported = open_file(tmp_path / "network.pkl")
    assert imported.format == tensorflow.NAME
    assert_same(model, imported.ema, imported.w_avg, imported.discriminator)
    assert_same(model, imported.raw, imported.w_avg)
    assert {k: imported.config.model[k] for k in model.config.model} == model.config.model.to_dict()


def test_tensorflow_names(tmp_path):
    nvidia.write(tiny_model(num_classes=3), tmp_path / "network.pkl")
    generator, judge, _ = torch_file.read(tmp_path / "network.pkl")
    scopes = {"": generator.state} | {f"{k}/": v.state for k, v in generator.state["components"].items()}
    names = {f"{scope}{name}" for scope, state in scopes.items() for name, _ in state["variables"]}
    assert {"dlatent_avg", "mapping/LabelEmbed/weight", "mapping/Dense0/bias", "synthesis/4x4/Const/const"} < names
    assert {
        "synthesis/4x4/Conv/mod_weight",
        "synthesis/8x8/Conv0_up/noise_strength",
        "synthesis/16x16/ToRGB/bias",
    } < names
    assert {f"synthesis/noise{i}" for i in range(5)} < names
    names = {name for name, _ in judge.state["variables"]}
    assert {"16x16/FromRGB/weight", "16x16/Conv1_down/bias", "8x8/Skip/weight", "4x4/Dense0/weight"} < names
    assert {"Output/weight", "LabelEmbed/weight", "Mapping7/bias"} < names


def test_rosinality(tmp_path):
    model = tiny_model(resolution=8, channels=3, channel_base=4096, channel_max=512)
    rosinality.write(model, tmp_path / "model.pt")
    imported = open_file(tmp_path / "model.pt")
    assert_same(model, imported.ema, imported.w_avg, imported.discriminator)
    assert_same(model, imported.raw, imported.w_avg)
    tree = torch_file.read(tmp_path / "model.pt")
    shapes = {name: tree["g_ema"][name].shape for name in ("conv1.conv.weight", "noises.noise_2", "to_rgb1.bias")}
    assert shapes == {
        "conv1.conv.weight": (1, 512, 512, 3, 3),
        "noises.noise_2": (1, 1, 8, 8),
        "to_rgb1.bias": (1, 3, 1, 1),
    }
    assert {"convs.0.conv.blur.kernel", "to_rgbs.0.upsample.kernel"} < tree["g_ema"].keys()
    assert {"convs.1.conv2.0.kernel", "convs.1.skip.1.weight", "final_linear.1.bias"} < tree["d"].keys()


def test_rosinality_without_noise_maps_or_mean(tmp_path):
    """As its older checkpoints: both are made up, and said so."""
    model = tiny_model(resolution=8, channels=3, channel_base=4096, channel_max=512)
    rosinality.write(model, tmp_path / "model.pt")
    tree = torch_file.read(tmp_path / "model.pt")
    g_ema = {name: value for name, value in tree["g_ema"].items() if not name.startswith("noises")}
    (tmp_path / "old.pt").write_bytes(torch_writer.encode({"g_ema": g_ema}))
    imported = open_file(tmp_path / "old.pt")
    assert imported.raw is None
    assert imported.discriminator is None
    assert sum("noise_const" in name for name in imported.account.made_up) == 3
    assert {"raw", "discriminator", "w_avg"} < imported.account.made_up.keys()
    assert np.abs(imported.w_avg).max() > 0
    jax.tree.map(np.testing.assert_array_equal, imported.ema["params"], model.variables["generator"]["params"])
    with pytest.raises(UserError, match="holds no raw weights"):
        jaxgan.load(tmp_path / "old.pt", weights="raw")


@pytest.mark.parametrize(
    ("changes", "text"),
    [({"num_classes": 3}, "num_classes 0"), ({"channels": 1}, "channels 3"), ({"channels": 3}, "channel_base 32768")],
)
def test_what_rosinality_cannot_build(tmp_path, changes, text):
    with pytest.raises(UserError, match=text):
        rosinality.write(tiny_model(**changes), tmp_path / "model.pt")


def test_load_opens_such_files(snapshot):
    model = tiny_model(num_classes=3)
    loaded = jaxgan.load(snapshot(model))
    assert loaded.gan == model.gan
    z = np.random.default_rng(0).standard_normal((2, 8)).astype(np.float32)
    images = loaded.synthesize(loaded.map(z, np.arange(2), truncation_psi=0.5))
    np.testing.assert_array_equal(images, model.synthesize(model.map(z, np.arange(2), truncation_psi=0.5)))


def spoiled(what):
    """A change to a snapshot's networks that must be refused."""

    def change(generator, judge):
        conv = inner(generator, "synthesis", "b8", "conv0")
        if what == "shape":
            conv["_parameters"]["weight"] = layouts.tensor(np.zeros((8, 8, 3, 2)))
        elif what == "missing":
            del conv["_parameters"]["bias"]
        elif what == "more":
            conv["_parameters"]["gate"] = layouts.tensor(np.zeros(2))
        elif what == "nan":
            conv["_parameters"]["bias"] = layouts.tensor(np.full(8, np.nan))
        elif what == "filter":
            inner(generator, "synthesis", "b8")["_buffers"]["resample_filter"] = layouts.tensor(np.ones((4, 4)) / 16)
        elif what == "activation":
            inner(generator, "synthesis", "b4", "conv1")["activation"] = "relu"
        elif what == "architecture":
            inner(generator, "synthesis", "b8")["architecture"] = "resnet"
        elif what == "multiplier":
            inner(generator, "mapping", "fc0")["bias_gain"] = 1.0
        elif what == "widths":
            inner(generator, "synthesis", "b8", "conv1")["_parameters"]["weight"] = layouts.tensor(
                np.zeros((2, 8, 3, 3))
            )
        elif what == "discriminator":
            inner(judge, "b4", "out")["_parameters"]["weight"] = layouts.tensor(np.zeros((2, 8)))
        elif what == "stylegan3":
            synthesis = inner(generator, "synthesis")["_modules"]
            synthesis.clear()
            synthesis["input"] = layouts.module({"weight": np.zeros((4, 4))}, {}, "SynthesisInput")
        return generator, judge

    return change


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("shape", r"G_ema: synthesis\.b8\.conv0\.weight has shape \(8, 8, 3, 2\) where \(8, 8, 3, 3\) was expected"),
        ("missing", r"lacks G_ema: synthesis\.b8\.conv0\.bias"),
        ("more", r"holds G_ema: synthesis\.b8\.conv0\.gate \(2,\)"),
        ("nan", r"synthesis\.b8\.conv0\.bias holds NaN"),
        ("filter", r"synthesis\.b8\.resample_filter is not the filter"),
        ("activation", r"synthesis\.b4\.conv1 has the activation 'relu'"),
        ("architecture", r"synthesis\.b8 belongs to a generator of the architecture 'resnet'"),
        ("multiplier", r"mapping\.fc0 has the learning rate multiplier 1"),
        ("widths", r"synthesis\.b8\.conv1\.weight makes 2 feature maps where"),
        ("discriminator", r"D: b4\.out\.weight has shape \(2, 8\) where \(1, 8\) was expected"),
        ("stylegan3", "StyleGAN3"),
    ],
)
def test_what_does_not_fit_is_named(snapshot, what, text):
    with pytest.raises(UserError, match=text) as error:
        open_file(snapshot(tiny_model(), spoiled(what)))
    assert "network.pkl" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_discriminator_that_is_not_known_is_left_out(snapshot):
    """The generator is read all the same, and the account says why its judge is not."""

    def change(generator, judge):
        layer = {"fromrgb": {"weight": np.zeros((8, 3, 1, 1)), "bias": np.zeros(8)}}
        inner(judge, "b8")["_modules"] |= {k: layouts.module(v, {}, "Conv2dLayer") for k, v in layer.items()}
        return generator, judge

    imported = open_file(snapshot(tiny_model(), change))
    assert imported.discriminator is None
    assert "'skip'" in imported.account.made_up["discriminator"]
    assert "'skip'" in imported.account.unused["D: b4.out.weight"]


def state_dicts(model: Model) -> dict:
    """What `state_dict()` of the networks gives, filters among the buffers."""
    generator = official(model.variables["generator"]) | {"mapping.w_avg": W_AVG}
    return {
        "G": generator | {"synthesis.b8.resample_filter": FILTER.astype(np.float32)},
        "G_ema": generator,
        "D": official(model.variables["discriminator"]),
    }


@pytest.mark.parametrize("whole", [True, False], ids=["snapshot", "generator alone"])
def test_state_dicts_with_the_official_names(tmp_path, whole):
    model = tiny_model(num_classes=3, mbstd_group=4, conv_clamp=0.0, low_precision_levels=0)
    states = state_dicts(model)
    (tmp_path / "a.pt").write_bytes(torch_writer.encode(states if whole else states["G_ema"]))
    imported = open_file(tmp_path / "a.pt")
    assert imported.format == nvidia.NAME
    assert_same(model, imported.ema, imported.w_avg, imported.discriminator)
    assert (imported.raw is None, imported.discriminator is None) == (not whole, not whole)
    assert {k: imported.config.model[k] for k in model.config.model} == model.config.model.to_dict()
    says = "conv_clamp 0, low_precision_levels 0, mbstd_group 4: state dicts do not say"
    assert imported.account.made_up["config.model"] == says
    # Not read of G: its filter and its mean of w.
    assert len(imported.account.read) == (sum(map(len, states.values())) - 2 if whole else len(states["G_ema"]))


def test_a_generator_that_is_the_whole_file(tmp_path):
    """As `pickle.dump(G_ema, file)` leaves it."""
    model = tiny_model()
    average, judge = layouts.nvidia_networks(
        model.config.model, model.variables["generator"], model.variables["discriminator"], W_AVG
    )
    (tmp_path / "a.pkl").write_bytes(dumps(average, protocol=3))
    imported = open_file(tmp_path / "a.pkl")
    assert_same(model, imported.ema, imported.w_avg)
    assert imported.config.model.conv_clamp == 256
    assert {"raw", "discriminator"} == imported.account.made_up.keys()
    (tmp_path / "d.pkl").write_bytes(dumps(judge, protocol=3))
    with pytest.raises(UserError, match=r"d\.pkl: G_ema is no StyleGAN2 \(Discriminator\)"):
        open_file(tmp_path / "d.pkl")


def test_names_that_promise_a_huge_image(tmp_path):
    """A tensor of one number a resolution costs a file nothing; what its name promises must not be made up."""
    names = {f"synthesis.b{4 << i}.conv1.weight": np.zeros((1, 1, 3, 3)) for i in range(30)}
    network = layouts.module(names | {"synthesis.b4.const": np.zeros((1, 4, 4))}, {}, "Generator")
    network.arguments[0]["state"]["_modules"]["mapping"] = layouts.module({}, {}, "MappingNetwork")
    with pytest.raises(UserError, match="above 4096 px"):
        open_file(layouts.nvidia(tmp_path / "network.pkl", network, None, None))


def test_older_tensorflow_pickles(tmp_path):
    nvidia.write(tiny_model(), tmp_path / "network.pkl")
    state = {"version": 2, "static_kwargs": {}, "variables": [], "components": {}}
    network = tensorflow.Call(tensorflow.Global("dnnlib.tflib.network", "Network"), (), state)
    (tmp_path / "old.pkl").write_bytes(dumps((network, network, network), protocol=3))
    with pytest.raises(UserError, match="has version 2"):
        open_file(tmp_path / "old.pkl")


def test_other_files(tmp_path):
    (tmp_path / "other.pkl").write_bytes(dumps({"epoch": 3}))
    with pytest.raises(UserError, match=r"a dict of 1 \(epoch\); it must be a file of EqGAN-SA, "):
        open_file(tmp_path / "other.pkl")
    (tmp_path / "object.pkl").write_bytes(dumps(layouts.Call(layouts.Global("argparse", "Namespace"), ()), protocol=3))
    with pytest.raises(UserError, match=r"object\.pkl holds an object of the class Namespace; it must"):
        open_file(tmp_path / "object.pkl")
    (tmp_path / "a.stablehlo").write_bytes(b"program")
    with pytest.raises(UserError, match=r"a\.stablehlo is a program for jax\.export and no model \(docs/weights\.md"):
        jaxgan.load(tmp_path / "a.stablehlo")
    with pytest.raises(UserError, match=r"absent\.pt"):
        jaxgan.load(tmp_path / "absent.pt")


def test_config_of_an_import_can_be_trained_on(snapshot):
    """What is left to a rule is filled in from the data, and does not count as another config."""
    config = open_file(snapshot(tiny_model(channels=3))).config
    filled = configs.resolve(config, num_images=10, image_shape=(16, 16, 3), num_classes=0, devices=1)
    assert configs.differences(config.to_dict(), filled.to_dict()) == []
    assert configs.differences(filled.to_dict(), config.to_dict())
    assert isinstance(config, ConfigDict)
