"""The released EqGAN-SA's heatmaps, image, attention and alignment, by weights and values out of its own code."""

import ast
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.configs import common
from jaxgan.interchange import eqgan
from jaxgan.interchange.official import to_ours
from jaxgan.networks import attention, heatmaps
from jaxgan.networks.build import build, init
from jaxgan.networks.gan import call
from jaxgan.training import alignment

PATH = Path(__file__).parents[1] / "data" / "parity" / "eqgan_32.npz"
LEVELS = dict(zip(alignment.FEATURES, range(3)))
TAKEN = 1e-4


@pytest.fixture(scope="module")
def released():
    """Arrays of the file, and networks with its weights."""
    file = np.load(PATH)
    given = ast.literal_eval(str(file["config"]))
    config = common.small_float32(common.eqgan())
    config.model.update({k: v for k, v in given.items() if k in config.model})
    config.model.conv_clamp = float(given["conv_clamp"])
    config.model.base_shape = (4, 4)
    gan = build(config.model.to_dict())
    generator, discriminator = init(gan, jax.random.key(0))
    return gan, filled(generator, file, "G."), filled(discriminator, file, "D."), file


def filled(variables, file, prefix):
    """Variables of the file's numbers, each leaf by its official name."""

    def take(path, leaf):
        name = ".".join(str(key.key) for key in path[1:])
        value = to_ours(name, file[prefix + eqgan.file_name(name)])
        assert value.shape == leaf.shape, (name, value.shape, leaf.shape)
        return jnp.asarray(value)

    return jax.tree_util.tree_map_with_path(take, variables)


@pytest.fixture(scope="module")
def placement(released):
    file = released[-1]
    return heatmaps.Placement(
        jnp.asarray(file["centers_yx"]),
        tuple(jnp.asarray(file[name]).swapaxes(1, 2) for name in ("l2_delta_yx", "l3_delta_yx")),
        (jnp.full((3, 1), file["sigma_l1"]), *(jnp.asarray(file[f"sigma_l{i}"])[:, 0, 0] for i in (2, 3))),
    )


def close(ours, theirs, relative=TAKEN):
    """Within a part of the largest number."""
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=relative * np.abs(theirs).max())


def test_heatmaps(released, placement):
    for level, maps in enumerate(heatmaps.render(placement, (32, 32))):
        close(maps, released[-1][f"heatmap_l{level + 1}"])


def test_image_and_discriminator(released, placement):
    gan, generator, discriminator, file = released
    ws = call(gan.generator, generator, file["z"], method="map")
    close(ws, file["ws"])
    close(
        call(gan.generator, generator, ws, "const", heatmaps=placement, method="synthesize"), file["image_noise_const"]
    )
    out = call(gan.discriminator, discriminator, file["image_noise_const"])
    close(out.logits, file["logits_fake"][:, 0])
    for name in alignment.FEATURES:
        close(out.features[name], file[f"d_feature_{name}"])


def test_attention_and_alignment(released, placement):
    gan, _, discriminator, file = released
    images = jnp.asarray(file["image_noise_const"])
    maps = heatmaps.render(placement, (32, 32))

    def total(images):
        out, weights = attention.look(gan.discriminator, discriminator, images, None, alignment.FEATURES)
        found = alignment.losses(out.features, weights["fake"], maps)
        return sum(found.values()), (found, out, weights["fake"])

    gradient, (losses, out, weights) = jax.grad(total, has_aux=True)(images)
    seen = attention.cam_maps(out.features, weights, (32, 32))
    for name, level in LEVELS.items():
        close(weights[name], file[f"gradcam_weight_{name}"])
        close(seen[name], file[f"cam_map_{name}"])
        close(alignment.targets(maps)[level], file[f"cam_target_{name}"])
        close(losses[name], file[f"align_loss_{name}"])
    close(sum(losses.values()), file["align_loss_total"])
    close(gradient, file["align_grad_image"])
