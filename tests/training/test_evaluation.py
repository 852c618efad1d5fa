"""What a run is measured against, and the settings that its config asks for."""

import pytest

from jaxgan.data.sources import open_images
from jaxgan.errors import UserError
from jaxgan.networks.build import build
from jaxgan.training import evaluation
from tests import tiny


@pytest.fixture(scope="module")
def images():
    return open_images("fashion", split="test")


def test_reals_are_those_of_training_or_those_that_are_named(images):
    config = tiny.config("data.split=test", image_shape=(32, 32, 1))
    assert evaluation.reals(config, images) is images
    config.eval.split = "train"
    other = evaluation.reals(config, images)
    assert (other.name, other.split, len(other)) == (images.name, "train", 5000)
    config.eval.source = "nowhere"
    with pytest.raises(UserError, match="nowhere"):
        evaluation.reals(config, images)


def test_reals_shrink_to_a_generator_that_has_not_grown_up(images):
    config = tiny.config("data.split=test", image_shape=(32, 32, 1))
    config.model.update({"architecture": "pggan", "fused_scale": True})
    model = {k: v for k, v in config.model.items() if k in ("architecture", "resolution", "base_shape", "channels")}
    model |= {"z_dim": 8, "channel_base": 64, "channel_max": 8, "fused_scale": True, "num_classes": 0}
    model |= {"mbstd_group": 2, "dtype": "float32", "leaky_slope": 0.2, "unit_bias": False, "output": "linear"}
    grown, young = build(model), build(model, 1)
    assert evaluation.at_level({"model": model, "data": config.data}, images, grown) is images
    small = evaluation.at_level({"model": model, "data": config.data}, images, young)
    assert small.resolution == young.generator.image_shape[:2] != images.resolution


def test_settings_say_what_the_config_says():
    config = tiny.config("eval.metrics=swd", "eval.seed=3", "eval.filter=box", "eval.perceptual_weights=f.pth")
    found = evaluation.settings(config)
    assert (found.metrics, found.seed, found.filter) == (("swd",), 3, "box")
    assert found.perceptual == "stlpips-alex"
    assert found.weights == {"stlpips-alex": "f.pth"}
    assert evaluation.settings(tiny.config()).filter is None
