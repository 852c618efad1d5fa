"""Every preset has the official networks' parameter counts and constants. Shapes only: nothing is allocated."""

import functools
import math

import jax
import pytest

from jaxgan import config as configs
from jaxgan.networks.build import build, init


def resolved(name, resolution, devices=1, overrides=(), num_classes=0):
    config = configs.load(name)
    configs.override(config, list(overrides))
    return configs.resolve(
        config,
        num_images=1000,
        image_shape=(resolution, resolution, 3),
        num_classes=num_classes,
        devices=devices,
        backend="gpu",
    )


def counts(config):
    """(mapping, synthesis, discriminator), num_ws."""
    gan = build(config.model.to_dict())
    g, d = jax.eval_shape(functools.partial(init, gan), jax.random.key(0))

    def count(tree):
        return sum(math.prod(x.shape) for x in jax.tree.leaves(tree))

    return (count(g["params"]["mapping"]), count(g["params"]["synthesis"]), count(d["params"])), gan.generator.num_ws


@pytest.mark.parametrize(
    ("name", "resolution", "overrides", "num_ws", "generator", "discriminator"),
    [
        ("auto", 64, (), 10, 22_243_608, 23_407_361),
        ("auto", 128, (), 12, 22_949_277, 23_882_369),
        ("auto", 256, (), 14, 23_191_522, 24_001_089),
        ("paper256", 256, (), 14, 24_767_458, 24_001_089),
        ("paper256", 256, ("model.channel_base=32768",), 14, 30_034_338, 28_864_129),
        ("paper512", 512, (), 16, 30_276_583, 28_982_849),
        ("stylegan2", 1024, (), 18, 30_370_060, 29_012_513),
        ("paper1024", 1024, (), 18, 30_370_060, 29_012_513),
        ("cifar", 32, (), 8, 19_947_539, 20_720_641),
        ("cifar", 32, ("data.use_labels=True",), 8, 20_215_315, 23_089_664),
    ],
)
def test_parameter_counts(name, resolution, overrides, num_ws, generator, discriminator):
    (mapping, synthesis, d), rows = counts(resolved(name, resolution, overrides=overrides, num_classes=10))
    assert (rows, mapping + synthesis, d) == (num_ws, generator, discriminator)


@pytest.mark.parametrize(
    ("name", "resolution", "mapping", "synthesis"),
    [
        ("cifar", 32, 525_312, 19_422_227),
        ("paper256", 256, 2_101_248, 22_666_210),
        ("stylegan2", 1024, 2_101_248, 28_268_812),
    ],
)
def test_parts_of_the_generator(name, resolution, mapping, synthesis):
    assert counts(resolved(name, resolution))[0][:2] == (mapping, synthesis)


@pytest.mark.parametrize(
    ("resolution", "devices", "batch", "group", "channel_base", "lr", "gamma", "ema_kimg"),
    [
        (64, 1, 32, 4, 16384, 0.0025, 0.0256, 10),
        (128, 1, 32, 4, 16384, 0.0025, 0.1024, 10),
        (256, 1, 16, 4, 16384, 0.0025, 0.8192, 5),
        (512, 1, 8, 4, 32768, 0.0025, 6.5536, 2.5),
        (1024, 1, 4, 4, 32768, 0.002, 52.4288, 1.25),
        (256, 8, 64, 4, 16384, 0.0025, 0.2048, 20),
        (1024, 8, 32, 4, 32768, 0.002, 6.5536, 10),
        (1024, 128, 128, 1, 32768, 0.002, 1.6384, 40),
    ],
)
def test_auto_rule(resolution, devices, batch, group, channel_base, lr, gamma, ema_kimg):
    c = resolved("auto", resolution, devices)
    assert (c.batch_size, c.model.mbstd_group, c.model.channel_base) == (batch, group, channel_base)
    assert (c.optimizer.g_lr, c.optimizer.d_lr) == (lr, lr)
    assert c.loss.r1_gamma == pytest.approx(gamma)
    assert c.ema.kimg == pytest.approx(ema_kimg)
    assert (c.ema.rampup, c.model.mapping_layers, c.total_kimg) == (0.05, 2, 25000)
    configs.check(c.to_dict(), devices=devices)


@pytest.mark.parametrize(
    ("name", "resolution", "devices", "kimg", "batch", "group", "channel_base", "lr", "gamma", "ema", "ramp", "layers"),
    [
        ("stylegan2", 1024, 8, 25000, 32, 4, 32768, 0.002, 10, 10, 0, 8),
        ("paper256", 256, 8, 25000, 64, 8, 16384, 0.0025, 1, 20, 0, 8),
        ("paper512", 512, 8, 25000, 64, 8, 32768, 0.0025, 0.5, 20, 0, 8),
        ("paper1024", 1024, 8, 25000, 32, 4, 32768, 0.002, 2, 10, 0, 8),
        ("cifar", 32, 2, 100000, 64, 32, 32768, 0.0025, 0.01, 500, 0.05, 2),
    ],
)
def test_paper_presets(name, resolution, devices, kimg, batch, group, channel_base, lr, gamma, ema, ramp, layers):
    c = resolved(name, resolution, devices)
    assert (c.total_kimg, c.batch_size, c.model.mbstd_group) == (kimg, batch, group)
    assert (c.model.channel_base, c.model.channel_max, c.model.mapping_layers) == (channel_base, 512, layers)
    assert (c.optimizer.g_lr, c.optimizer.d_lr) == (lr, lr)
    assert (c.loss.r1_gamma, c.ema.kimg, c.ema.rampup) == (gamma, ema, ramp)
    configs.check(c.to_dict(), devices=devices)


@pytest.mark.parametrize("name", ["auto", "stylegan2", "paper256", "paper512", "paper1024", "cifar"])
def test_what_all_presets_share(name):
    c = resolved(name, 32)
    assert (c.model.z_dim, c.model.w_dim, c.model.channel_max, c.model.conv_clamp) == (512, 512, 512, 256)
    assert (c.model.low_precision_levels, c.model.dtype) == (4, "bfloat16")
    assert (c.optimizer.beta1, c.optimizer.beta2, c.optimizer.eps) == (0, 0.99, 1e-8)
    assert (c.loss.r1_interval, c.loss.pl_interval, c.loss.pl_decay, c.loss.pl_batch_shrink) == (16, 4, 0.01, 2)
    assert c.w_avg_beta == 0.995
    plain = name == "cifar"
    assert (c.loss.pl_weight, c.loss.style_mixing_prob) == ((0, 0) if plain else (2, 0.9))
    assert c.model.d_architecture == ("orig" if plain else "resnet")


@pytest.mark.parametrize("name", ["fashion", "emoji", "quickstart"])
def test_small_configs_are_float32_and_small(name):
    resolution = {"emoji": 64}.get(name, 32)
    c = resolved(name, resolution)
    configs.check(c.to_dict(), devices=1)
    assert c.model.low_precision_levels == 0
    assert sum(counts(c)[0]) < 15e6
