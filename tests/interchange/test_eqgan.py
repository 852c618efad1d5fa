"""EqGAN-SA's pickles: a file in its layout, of the weights that the released code's own values belong to."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import experiment
from jaxgan.errors import UserError
from jaxgan.interchange import eqgan, parity
from jaxgan.interchange.read import open_file
from jaxgan.networks import heatmaps
from tests.interchange import layouts

VALUES = Path(__file__).parents[1] / "data" / "parity" / "eqgan_32.npz"


@pytest.fixture(scope="module")
def values():
    return dict(np.load(VALUES))


def snapshot(values, path, without=""):
    g, d = (
        {
            name[2:]: value
            for name, value in values.items()
            if name.startswith(prefix) and (not without or without not in name)
        }
        for prefix in ("G.", "D.")
    )
    attributes = {f"synthesis.b{r}": {"architecture": "skip", "num_torgb": 1} for r in (4, 8, 16, 32)}
    attributes["synthesis.b4.conv1"] = {"conv_clamp": 256, "activation": "lrelu"}
    judge = layouts.module(d, {}, "Discriminator")
    epilogue = judge.arguments[0]["state"]["_modules"]["b4"].arguments[0]["state"]["_modules"]
    epilogue["mbstd"] = layouts.module({}, {"": {"group_size": 3}}, "MinibatchStdLayer")
    return layouts.nvidia(path, layouts.module(g, attributes, "Generator"), None, judge)


def test_the_released_codes_images_and_logits(values, tmp_path):
    imported = open_file(snapshot(values, tmp_path / "eqgan.pkl"))
    assert imported.format == eqgan.NAME
    assert imported.config.model.architecture == "eqgan"
    assert (imported.config.model.sel_hidden, imported.config.model.heatmap_features) == (64, 32)
    unused = parity.facts(imported, tmp_path / "eqgan.pkl", None)["unused"]
    assert all(name.endswith("resample_filter") for name in unused)
    model = experiment.model_of(imported, "eqgan.pkl")
    placement = heatmaps.Placement(
        jnp.asarray(values["centers_yx"]),
        tuple(jnp.asarray(values[name]).swapaxes(1, 2) for name in ("l2_delta_yx", "l3_delta_yx")),
        (jnp.full((3, 1), values["sigma_l1"]), *(jnp.asarray(values[f"sigma_l{i}"])[:, 0, 0] for i in (2, 3))),
    )
    images = model.synthesize(model.map(jnp.asarray(values["z"])), heatmaps=placement)
    wanted = values["image_noise_const"]
    np.testing.assert_allclose(images, wanted, rtol=0, atol=1e-4 * np.abs(wanted).max())
    np.testing.assert_array_equal(model.w_avg, values["G.mapping.w_avg"])


def test_a_missing_tensor_is_named_as_the_file_has_it(values, tmp_path):
    path = snapshot(values, tmp_path / "eqgan.pkl", without="b16.conv0.sel.mu.weight")
    with pytest.raises(UserError, match=r"lacks G_ema: synthesis\.b16\.conv0\.sel\.mu\.weight"):
        open_file(path)
