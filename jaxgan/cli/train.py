"""Trains a GAN from a config, or continues the run that the workdir holds.

jaxgan train --config=fashion --workdir=runs/fashion [--config.batch_size=64 ...]
"""

import signal
from pathlib import Path

import jax
from absl import flags
from ml_collections import ConfigDict

from jaxgan import config as configs
from jaxgan import experiment, parallel
from jaxgan.cli import DEFINE_config, invert, parse, walk
from jaxgan.data.progress import progress_bar
from jaxgan.data.sources import ImageSet, is_embedded, open_images
from jaxgan.errors import UserError
from jaxgan.latent.space import has_mapping
from jaxgan.networks.build import GROWING, build
from jaxgan.networks.build import check as check_model
from jaxgan.training import evaluation
from jaxgan.training.augment import categories
from jaxgan.training.diff_augment import POLICIES
from jaxgan.training.loop import train
from jaxgan.training.run_report import INVERTED_FOLDER, WALK_FOLDER, write_run_report

FLAGS = flags.FlagValues()
DEFINE_config(FLAGS, "a config file or the name of a packaged one; not needed to continue")
flags.DEFINE_string("workdir", None, "the run directory", required=True, flag_values=FLAGS)
flags.DEFINE_string("coordinator", "", "host:port of process 0, where no cluster says so", flag_values=FLAGS)
flags.DEFINE_integer("num_processes", 0, "with --coordinator", flag_values=FLAGS)
flags.DEFINE_integer("process_id", -1, "with --coordinator", flag_values=FLAGS)


STOPPED = 128 + signal.SIGTERM  # so that a cluster which starts again what failed starts it again


def run(values: flags.FlagValues) -> int:
    """Checks everything, makes or opens the run directory, trains; 0, or STOPPED where it was told to stop before its
    end, by whatever signal to whichever process."""
    parallel.start_processes(values.coordinator, values.num_processes, values.process_id)
    config = read(values.config, values.overrides, values.workdir)
    with progress_bar("decoding") as progress:
        images = open_images(
            config.data.source,
            split=config.data.split,
            memory_map_gb=config.data.memory_map_gb,
            progress=progress,
        )
    config = complete(config, images)
    reals = images
    if config.eval_every:
        with progress_bar("decoding") as progress:
            reals = evaluation.reals(config.to_dict(), images, progress)
    evaluation.check_config(config.to_dict(), reals)
    with experiment.claimed(values.workdir, config):
        state = train(config.to_dict(), images, values.workdir, reals)
        done = bool(state.images_seen >= config.total_kimg * 1000)
        if config.invert.images and done and jax.process_count() == 1:
            demonstrate(Path(values.workdir), config)
    if jax.process_index() == 0:
        print(f"report: {Path(values.workdir) / 'report.html'}")
        print(f"next:   jaxgan sample --run={values.workdir} --seeds=0-63 --out={Path(values.workdir) / 'images'}")
    return 0 if done else STOPPED


def demonstrate(workdir: Path, config: ConfigDict) -> None:
    """Inverts held-out images of the run's set, walks between them, and puts both into its report."""
    held_out = "test"
    if not is_embedded(config.data.source) or config.data.split == held_out:
        print(f"no images are inverted: {config.data.source} has no images that are known to be held out")
        return
    out = workdir / INVERTED_FOLDER
    pixels = [f"--config.{field}" for field in ("weights.conv=0", f"chunk={min(50, config.invert.steps)}")]
    asked = [f"--run={workdir}", f"--images={config.data.source}", f"--split={held_out}"]
    asked += [f"--count={config.invert.images}", f"--steps={config.invert.steps}", f"--out={out}"]
    invert.run(parse(invert.FLAGS, ["invert", *asked, *pixels]))
    if config.invert.images > 1:
        latents = f"--latents={out / 'latents.npz'}"
        walk.run(parse(walk.FLAGS, ["walk", f"--run={workdir}", latents, "--frames=20", f"--out={out / WALK_FOLDER}"]))
    write_run_report(workdir, config.to_dict())


def read(name: str | None, overrides: list[str], workdir: str) -> ConfigDict:
    """The config that is asked for: of the file, or of the run that the workdir holds."""
    if name is not None:
        config = configs.load(name)
        if "model" not in config:
            raise UserError(f"--config={name} is no config of a training; start from one such as fashion")
    elif (Path(workdir) / experiment.CONFIG_FILE).exists():
        config = experiment.read_config(workdir)
    else:
        raise UserError(
            f"--config is missing and {workdir} holds no run to continue; name one, such as --config=fashion"
        )
    configs.override(config, overrides)
    if not config.data.source:
        raise UserError("config.data.source is missing; give --config.data.source=FOLDER, made by `jaxgan dataset`")
    return config


def check_augmentation(augment: ConfigDict) -> None:
    """Raises UserError for a pipeline or a policy that the augmentations do not have."""
    try:
        categories(augment.pipeline)
    except ValueError as error:
        raise UserError(f"config.augment.pipeline: {error}") from error
    unknown = [name for name in augment.policy if name not in POLICIES]
    if unknown:
        raise UserError(f"config.augment.policy: {unknown[0]!r} is not one of {', '.join(POLICIES)}")


def check_mapping(config: ConfigDict) -> None:
    """Raises UserError for terms of the loss that act on w where the generator has none."""
    generator = build(config.model.to_dict()).generator
    if config.loss.pl_weight and not has_mapping(generator):
        raise UserError(
            f"config.loss.pl_weight={config.loss.pl_weight:g} needs a W space and {config.model.architecture} has "
            "none; set it to 0"
        )
    if config.loss.style_mixing_prob and generator.num_ws == 1:
        raise UserError(
            f"config.loss.style_mixing_prob={config.loss.style_mixing_prob:g} mixes rows of w and "
            f"{config.model.architecture} has one; set it to 0"
        )


def complete(config: ConfigDict, images: ImageSet) -> ConfigDict:
    """The config resolved for the data and the devices, and checked."""
    devices = jax.device_count()
    shape = (*images.resolution, images.channels)
    config = configs.resolve(
        config,
        num_images=len(images),
        image_shape=shape,
        num_classes=images.num_classes,
        devices=devices,
        backend=jax.default_backend(),
    )
    check_model(config.model.to_dict())
    if config.growth.start_resolution and config.model.architecture not in GROWING:
        raise UserError(
            f"config.growth.start_resolution={config.growth.start_resolution}: {config.model.architecture} does not "
            f"grow, only {' and '.join(GROWING)} do; set it to 0"
        )
    check_mapping(config)
    configs.check(config.to_dict(), devices=devices)
    check_augmentation(config.augment)
    parallel.make_mesh(config.fsdp)
    for part in (config.data, config.eval):  # so that the run can be continued from any folder
        if part.source and not is_embedded(part.source) and Path(part.source).exists():
            part.source = str(Path(part.source).absolute())
    return config
