"""Configs: found, changed, kept, completed by rule, checked; messages name the field and a fix that works."""

import itertools
import re

import pytest
from ml_collections import ConfigDict

from jaxgan import config as configs
from jaxgan.errors import UserError
from jaxgan.networks import build

OF_LATENTS = (
    "invert",
    "invert_projector",
    "realism",
    *(f"realism_{name}" for name in ("biggan", "celeba", "celeba_wgan_gp", "church", "hq1024", "hq512", "train")),
    "scribble",
    "scribble_photo",
    "scribble_plain",
    "study_inversion",
)  # of other verbs than train

# Each with its architecture.
PACKAGED = {
    "auto": "stylegan2",
    "biggan": "biggan",
    "celebahq_pggan": "pggan",
    "cifar": "stylegan2",
    "cifar_pggan": "pggan",
    "dcgan": "dcgan",
    "emoji": "stylegan2",
    "eqgan_church256": "eqgan",
    "eqgan_emoji64": "eqgan",
    "eqgan_fashion32": "eqgan",
    "eqgan_ffhq256": "eqgan",
    "eqgan_lsun_cat256": "eqgan",
    "fashion": "stylegan2",
    "fashion_biggan": "biggan",
    "fashion_dcgan": "dcgan",
    "fashion_pggan": "pggan",
    "fashion_spatial": "spatial",
    "fashion_stylegan": "stylegan",
    "fashion_stylegan2": "stylegan2",
    "fashion_wgan_gp": "wgan_gp",
    "ffhq_stylegan": "stylegan",
    "land_spatial": "spatial",
    "land_stylegan2": "stylegan2",
    "lsun_pggan": "pggan",
    "paper1024": "stylegan2",
    "paper256": "stylegan2",
    "paper512": "stylegan2",
    "pggan": "pggan",
    "quickstart": "stylegan2",
    "spacenet": "spatial",
    "stylegan": "stylegan",
    "stylegan2": "stylegan2",
    "wgan_gp": "wgan_gp",
    "wgan_gp_resnet": "wgan_gp_resnet",
}


def resolve(name="auto", *overrides, shape=(64, 64, 3), num_classes=0, devices=1, num_images=100):
    config = configs.load(name)
    config.data.source = config.data.source or "fashion"
    configs.override(config, list(overrides))
    return configs.resolve(config, num_images=num_images, image_shape=shape, num_classes=num_classes, devices=devices)


def checked(*, devices=1, **values):
    """A resolved config with some values changed, after `check`."""
    config = resolve()
    for name, value in values.items():
        part = config if name in config else config.model
        part[name] = value
    configs.check(config.to_dict(), devices=devices)


# Finding


@pytest.mark.parametrize("name", PACKAGED)
def test_packaged_configs_load_by_name(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for spelled in (name, f"{name}.py", f"configs/{name}.py"):
        assert configs.find(spelled) == configs.FOLDER / f"{name}.py"
    config = configs.load(name)
    assert isinstance(config, ConfigDict)
    assert config.model.architecture == PACKAGED[name]


def test_growth_is_checked():
    base = resolve("pggan", shape=(32, 32, 3)).to_dict()
    for growth, message in (
        ({"start_resolution": 6}, "start_resolution=6 is no power of two from 4 to the images' 32"),
        ({"start_resolution": 64}, "start_resolution=64"),
        ({"optimizer": "halve"}, "use reset or keep"),
        ({"batch_size": (8, 32)}, "no tuple of pairs"),
        ({"batch_size": ((8, 16.0),)}, "no tuple of pairs"),
        ({"batch_size": ((5, 16),)}, "no tuple of pairs"),
        ({"lr": ((8, "fast"),)}, "no tuple of pairs"),
        ({"stable_kimg": -1.0}, "stable_kimg=-1.0 must be 0 or more"),
        ({"batch_size": ((8, 6),)}, r"mbstd_group=4 does not divide the 6 images"),
    ):
        with pytest.raises(UserError, match=message):
            configs.check(base | {"growth": base["growth"] | growth}, devices=1)


def test_objective_and_augmentation_are_checked():
    base = resolve("dcgan").to_dict()
    with pytest.raises(UserError, match="objective='wasserstein' is not known"):
        configs.check(base | {"loss": base["loss"] | {"objective": "wasserstein"}}, devices=1)
    with pytest.raises(UserError, match=r"augment.kind='cutmix' is not known"):
        configs.check(base | {"augment": base["augment"] | {"kind": "cutmix"}}, devices=1)
    paired = base["loss"] | {"objective": "relativistic", "g_batch_multiple": 2}
    with pytest.raises(UserError, match="pairs each generated image"):
        configs.check(base | {"loss": paired}, devices=1)


def test_a_file_comes_before_the_packaged_config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    mine = tmp_path / "configs" / "fashion.py"
    lines = ("from jaxgan.configs import common", "", "def get_config():", "    return common.stylegan2()", "")
    mine.write_text("\n".join(lines))
    assert configs.find("configs/fashion.py").resolve() == mine
    assert configs.find(str(mine)) == mine
    assert configs.load("configs/fashion.py").batch_size == -1
    assert configs.load("fashion").batch_size > 0


@pytest.mark.parametrize("name", ["fashoin", "runs/fashion.py", "nowhere/mine.py", "fashion.yaml"])
def test_an_unknown_config_lists_the_packaged_ones(name):
    with pytest.raises(UserError, match=f"--config={name} is neither a file nor a packaged config") as error:
        configs.find(name)
    assert str(error.value).endswith("packaged: " + ", ".join(sorted([*PACKAGED, *OF_LATENTS])))


def test_a_file_without_get_config(tmp_path):
    path = tmp_path / "empty.py"
    path.write_text("x = 1\n")
    with pytest.raises(UserError, match=r"empty.py defines no get_config\(\); start from a copy of .*fashion.py"):
        configs.load(str(path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def get_config(:\n", "line 1: SyntaxError"),
        ("\nimport nosuchmodule\n", "line 2: ModuleNotFoundError: No module named 'nosuchmodule'"),
        ("def get_config():\n    c = 1\n    return c.batch\n", "line 3: AttributeError"),
    ],
)
def test_a_file_with_an_error_in_it(tmp_path, text, message):
    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises(UserError, match=f"mine.py, {message}"):
        configs.load(str(path))


# Overriding


def test_override_reads_the_fields_type():
    config = configs.load("auto")
    assignments = [
        "batch_size=64",
        "total_kimg=5",
        "loss.r1_gamma=1e-2",
        "data.source=/data/a=b",
        "data.x_flip=true",
        "data.use_labels=True",
        "model.base_shape=(4, 6)",
        "seed=-3",
    ]
    configs.override(config, assignments)
    assert (config.batch_size, config.seed, config.data.source) == (64, -3, "/data/a=b")
    assert (config.data.x_flip, config.data.use_labels, config.model.base_shape) == (True, True, (4, 6))
    assert (config.total_kimg, config.loss.r1_gamma) == (5.0, 0.01)
    assert isinstance(config.total_kimg, float)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("batchsize=4", "config has no field batchsize; did you mean batch_size?"),
        ("loss.r1_gama=4", "config has no field loss.r1_gama; did you mean loss.r1_gamma?"),
        ("model.r1_gamma=4", "config has no field model.r1_gamma; did you mean loss.r1_gamma?"),
        ("batch_size.x=4", "config has no field batch_size.x; did you mean batch_size?"),
        ("model=4", "config has no field model; did you mean"),
        ("batch_size", "--config.batch_size has no value; write --config.batch_size=VALUE"),
        ("batch_size=4.5", "--config.batch_size=4.5 is not of the type of -1 (int)"),
        ("batch_size=many", "--config.batch_size=many is not of the type of -1 (int)"),
        ("batch_size=True", "--config.batch_size=True is not of the type of -1 (int)"),
        ("data.x_flip=1", "--config.data.x_flip=1 is not of the type of False (bool)"),
        ("loss.r1_gamma=True", "--config.loss.r1_gamma=True is not of the type of -1.0 (float)"),
        ("model.base_shape=(4, 4, 4)", "--config.model.base_shape=(4, 4, 4) is not of the type of (-1, -1) (tuple)"),
    ],
)
def test_a_field_or_value_that_does_not_fit(text, message):
    config = configs.load("auto")
    with pytest.raises(UserError, match=re.escape(message)):
        configs.override(config, [text])


# Keeping


@pytest.mark.parametrize("name", PACKAGED)
def test_json_round_trip(name):
    config = resolve(name, shape=(32, 32, 3), num_classes=10)
    back = configs.from_json(configs.to_json(config))
    assert back.to_dict() == config.to_dict()
    assert isinstance(back.model.base_shape, tuple)
    assert configs.to_json(back) == configs.to_json(config)
    assert configs.differences(config.to_dict(), back.to_dict()) == []


def test_differences_name_the_field_and_both_values():
    old, new = resolve().to_dict(), resolve("auto", "batch_size=16", "loss.r1_gamma=0.0256", "ema.kimg=10").to_dict()
    assert configs.differences(old, new) == ["config.batch_size (32 in the run, 16 asked for)"]
    new = resolve("auto", "model.z_dim=64").to_dict()
    del new["seed"]
    assert configs.differences(old, new) == [
        "config.model.z_dim (512 in the run, 64 asked for)",
        "config.seed (0 in the run, None asked for)",
    ]


def test_what_a_continued_run_may_change():
    old = resolve().to_dict()
    new = resolve(
        "auto", "total_kimg=9", "fsdp=2", "data.source=elsewhere", "checkpoint.keep=9", "grid.images=4"
    ).to_dict()
    assert configs.differences(old, new) == []


@pytest.mark.parametrize("name", [*configs.MUTABLE, *configs.POSITIVE])
def test_lists_of_fields_name_fields(name):
    """Of the config of some architecture at least."""

    def has(part, keys):
        return not keys or (keys[0] in part and has(part[keys[0]], keys[1:]))

    assert any(has(base(), name.split(".")) for base in configs.common.BASES.values())


def test_an_older_runs_config_gets_later_fields():
    config = resolve("auto", "loss.r1_gamma=3")
    old = configs.from_json(configs.to_json(config))
    del old.loss.pl_weight
    del old.grid
    full = configs.complete(old)
    assert configs.differences(full.to_dict(), config.to_dict()) == []
    assert (full.loss.r1_gamma, full.loss.pl_weight, full.grid.images) == (3.0, 2.0, 64)


# Completing


@pytest.mark.parametrize(
    ("height", "width", "resolution", "base"),
    [
        (8, 8, 8, (4, 4)),
        (32, 32, 32, (4, 4)),
        (1024, 1024, 1024, (4, 4)),
        (64, 96, 64, (4, 6)),
        (96, 64, 64, (6, 4)),
        (64, 128, 64, (4, 8)),
        (28, 28, 16, (7, 7)),
        (48, 48, 32, (6, 6)),
        (64, 1024, 64, (4, 64)),
    ],
)
def test_shape_rule(height, width, resolution, base):
    assert configs.shape_rule(height, width) == (resolution, base)
    assert tuple(side * resolution // 4 for side in base) == (height, width)


@pytest.mark.parametrize(("height", "width"), [(4, 4), (100, 100), (33, 32), (30, 64), (64, 2048)])
def test_shapes_that_do_not_fit(height, width):
    with pytest.raises(UserError, match=f"images of {height}x{width} do not fit: .*jaxgan dataset --resolution=64"):
        configs.shape_rule(height, width)


def test_resolve_fills_in_every_rule_and_changes_nothing_else():
    config = configs.load("auto")
    before = config.to_dict()
    full = resolve(shape=(64, 96, 4), num_images=77)
    assert config.to_dict() == before
    assert (full.model.resolution, full.model.base_shape, full.model.channels) == (64, (4, 6), 4)
    assert full.data.num_images == 77
    assert "-1" not in configs.to_json(full)
    again = configs.resolve(full, num_images=77, image_shape=(64, 96, 4), num_classes=0, devices=1)
    assert again.to_dict() == full.to_dict()
    # What is given is kept.
    given = resolve("auto", "batch_size=8", "model.mbstd_group=2", "loss.r1_gamma=3", "model.channel_base=512")
    assert (given.batch_size, given.model.mbstd_group, given.loss.r1_gamma, given.model.channel_base) == (8, 2, 3, 512)


def test_the_precision_is_that_of_the_backend():
    for backend, dtype in (("cpu", "float32"), ("gpu", "bfloat16"), ("tpu", "bfloat16")):
        given = {"num_images": 9, "image_shape": (64, 64, 3), "num_classes": 0, "devices": 1, "backend": backend}
        assert configs.resolve(configs.load("auto"), **given).model.dtype == dtype
        assert configs.resolve(configs.load("fashion"), **given).model.dtype == "float32"


def test_labels_are_used_where_asked_for():
    assert resolve(num_classes=10).model.num_classes == 0
    assert resolve("auto", "data.use_labels=True", num_classes=10).model.num_classes == 10
    with pytest.raises(UserError, match=r"config.data.use_labels needs labels, and fashion has none; set it to False"):
        resolve("auto", "data.use_labels=True")


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("model.resolution=128", r"config.model.resolution=128 does not fit the 64x64x3 images .* \(it would be 64\)"),
        ("model.channels=1", r"config.model.channels=1 does not fit the 64x64x3 images of fashion \(it would be 3\)"),
        ("model.base_shape=(4, 6)", r"config.model.base_shape=\(4, 6\) does not fit .* \(it would be \(4, 4\)\)"),
        ("data.num_images=50", "fashion has 100 images and config.data.num_images=50"),
    ],
)
def test_a_config_that_does_not_fit_the_data(assignment, message):
    with pytest.raises(UserError, match=message):
        resolve("auto", assignment)


# Checking


@pytest.mark.parametrize("name", PACKAGED)
def test_packaged_configs_can_be_trained(name):
    """On pictures of the size that they are for, on the devices that they are for."""
    side = {"celebahq_pggan": 1024, "ffhq_stylegan": 1024, "lsun_pggan": 256, "biggan": 128}.get(name, 32)
    resolved = resolve(name, shape=(side, side, 3), num_classes=10)
    configs.check(resolved.to_dict(), devices=1)
    build.check(resolved.model.to_dict())
    assert configs.complete(resolved).to_dict() == resolved.to_dict()  # its base has every field that it has


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"batch_size": 10, "accumulate": 3},
            "accumulate=3 does not divide config.batch_size=10; use config.batch_size=12",
        ),
        ({"accumulate": 0}, "config.accumulate=0 must be above 0"),
        (
            {"batch_size": 20, "devices": 8},
            "config.batch_size=20 over 1 accumulation round.* the 8 devices; use config.batch_size=32",
        ),
        (
            {"batch_size": 6, "devices": 2},
            "mbstd_group=4 does not divide the 3 images .*use config.batch_size=8 or config.model.mbstd_group=1",
        ),
        ({"batch_size": 0}, "config.batch_size=0 must be above 0"),
        ({"batch_size": -8}, "config.batch_size=-8 must be above 0"),
        ({"mbstd_group": 0}, "config.model.mbstd_group=0 must be above 0"),
        ({"total_kimg": 0.0}, "config.total_kimg=0.0 must be above 0"),
        ({"tick_kimg": -1.0}, "config.tick_kimg=-1.0 must be above 0"),
        ({"fsdp": 0}, "config.fsdp=0 must be above 0"),
    ],
)
def test_a_config_that_cannot_be_trained(values, message):
    with pytest.raises(UserError, match=message):
        checked(**values)


def complaint(**values):
    try:
        checked(**values)
    except UserError as error:
        return str(error)
    return ""


def test_every_fix_that_is_suggested_works():
    suggestions = 0
    for batch, rounds, devices, group in itertools.product((4, 6, 20, 30, 32), (1, 2, 3), (1, 2, 3, 8), (1, 3, 4)):
        values = {"batch_size": batch, "accumulate": rounds, "mbstd_group": group, "devices": devices}
        message = complaint(**values)
        fixes = re.findall(r"config\.(?:model\.)?(\w+)=(\d+)", message.partition("; use ")[2])
        assert bool(message) == bool(fixes), message
        for name, value in fixes:
            suggestions += 1
            assert not complaint(**values | {name: int(value)}), message
    assert suggestions > 100
