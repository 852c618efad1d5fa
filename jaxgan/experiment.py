"""The run directory: make one, open one, hand back a ready generator; out of single files too, ours and others'."""

import contextlib
import dataclasses
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from ml_collections import ConfigDict

from jaxgan import config as configs
from jaxgan import zoo
from jaxgan.checkpoint import Checkpoints
from jaxgan.errors import UserError
from jaxgan.interchange import archive, own
from jaxgan.interchange.imported import Imported
from jaxgan.interchange.read import open_file
from jaxgan.metrics.fakes import Subject
from jaxgan.networks.build import build
from jaxgan.networks.gan import DOut, Gan, call, check_truncation, draw_extras, draw_z, truncate
from jaxgan.report import write_atomic
from jaxgan.training.programs import layout
from jaxgan.training.state import adopted_state
from jaxgan.version import __version__

CONFIG_FILE = "config.json"
# A name that ends so is no run directory's, whether the file is there or not.
_OF_FILES = (*archive.SUFFIXES, ".pkl", ".pt", ".pth", ".tar", ".stablehlo")


@contextlib.contextmanager
def claimed(workdir: str | Path, config: ConfigDict) -> Iterator[None]:
    """Makes a run directory for a resolved config, or checks that the one that is there has the same, and holds it.

    Within the block no other command can claim it. Of several processes the first does all this and the others wait
    for its answer.

    Raises:
        UserError: the directory holds a run with another config, or files that are no run, cannot be written, or is
            being trained in by another command.
    """
    refused = None
    with contextlib.ExitStack() as held:
        if jax.process_index() == 0:
            try:
                held.enter_context(_claim(Path(workdir), config))
            except Exception as error:  # of any kind: the others are waiting for an answer
                refused = error
        if jax.process_count() > 1 and not multihost_utils.broadcast_one_to_all(np.asarray(refused is None)):
            raise refused or UserError(f"process 0 refused --workdir={workdir}; its output says why")
        if refused:
            raise refused
        yield


def _claim(workdir: Path, config: ConfigDict) -> filelock.BaseFileLock:
    """The lock, acquired, of a run directory that is fit for the config."""
    path = workdir / CONFIG_FILE
    if path.exists() and any(p.name.isdigit() for p in (workdir / "checkpoints").glob("*")):
        changed = configs.differences(read_config(workdir).to_dict(), config.to_dict())
        if changed:
            raise UserError(
                f"{workdir} holds a run with another config: {'; '.join(changed[:3])}"
                f"{' and more' if len(changed) > 3 else ''}; use another --workdir, or continue it as it is: "
                f"`jaxgan train --workdir={workdir}`"
            )
    # A name that begins with a dot is what a killed process left of a file that it was writing.
    elif not path.exists() and workdir.is_dir() and any(not p.name.startswith(".") for p in workdir.iterdir()):
        raise UserError(f"{workdir} is not empty and holds no run; choose an empty or new --workdir")
    # The system frees the lock of a process that dies, however it dies.
    lock = filelock.FileLock(workdir / ".lock")
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
        write_atomic(path, configs.to_json(config).encode())
    except filelock.Timeout as error:
        raise UserError(f"another command is training in {workdir}; stop it first or use another --workdir") from error
    except OSError as error:
        lock.release()
        raise UserError(f"--workdir={workdir} cannot be written ({error.strerror}); choose another") from error
    return lock


def read_config(run: str | Path) -> ConfigDict:
    """The resolved config of a run directory.

    Raises:
        UserError: there is no run there, or its config cannot be read.
    """
    path = Path(run) / CONFIG_FILE
    if not path.exists():
        raise UserError(
            f"{run} is no run directory (it has no {CONFIG_FILE}); train one with "
            f"`jaxgan train --config=fashion --workdir={run}`"
        )
    try:
        return configs.complete(configs.from_json(path.read_text()))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error})") from error


@dataclasses.dataclass(frozen=True)
class Model:
    """A trained pair of networks, ready to use; arrays are NHWC in [-1, 1], and the methods are jitted.

    Attributes:
        gan: the Flax modules.
        config: the experiment's config.
        variables: {"generator", "discriminator"}: each {"params", "buffers"}; the generator's are EMA or raw.
        w_avg: mean of w, [w_dim].
        images_seen: by the checkpoint that was loaded.
        level: of a growing network that was loaded before its end; None is the whole one.
        weights: "ema" or "raw", those of the generator.
    """

    gan: Gan
    config: ConfigDict
    variables: dict[str, Any]
    w_avg: jax.Array
    images_seen: int
    level: int | None = None
    weights: str = "ema"

    def __repr__(self) -> str:
        model = self.config.model
        return (
            f"Model({model.architecture}, {self.gan.generator.image_shape}, {model.num_classes} classes, "
            f"{self.images_seen:,} images seen)"
        )

    def map(
        self,
        z: jax.Array,
        labels: jax.Array | None = None,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
    ) -> jax.Array:
        """z [B, z_dim] (labels [B] or [B, K]) -> ws [B, num_ws, w_dim], drawn towards w_avg below the cutoff layer.

        Raises:
            UserError: truncation that changes nothing, because the generator normalises its latent.
        """
        check_truncation(self.gan.generator, truncation_psi)
        psi = jnp.float32(truncation_psi)
        return _map(self.gan.generator, self.variables["generator"], self.w_avg, z, labels, psi, truncation_cutoff)

    def synthesize(self, ws: jax.Array, noise: Any = "const", **extras: Any) -> jax.Array:
        """ws -> images [B, H, W, C], about [-1, 1]; `noise`: "const", "none", a key or a tuple of maps [B, H, W, 1]."""
        if isinstance(noise, str):
            return _synthesize_named(self.gan.generator, self.variables["generator"], ws, noise, extras)
        return _synthesize(self.gan.generator, self.variables["generator"], ws, noise, extras)

    def discriminate(self, images: jax.Array, labels: jax.Array | None = None) -> jax.Array:
        """images -> logits [B], each image judged on its own."""
        return self._discriminator(images, labels).logits

    def features(self, images: jax.Array, labels: jax.Array | None = None) -> dict[str, jax.Array]:
        """images -> the discriminator's features by name, each image on its own."""
        return self._discriminator(images, labels).features

    def sample(self, key: jax.Array, n: int, truncation_psi: float = 1.0) -> jax.Array:
        """n random images, classes in turn where the generator has some; constant noise."""
        z = draw_z(self.gan.generator, key, n)
        classes = self.gan.generator.num_classes
        labels = jnp.arange(n) % classes if classes else None
        more = draw_extras(self.gan.generator, jax.random.split(key, n))
        return self.synthesize(self.map(z, labels, truncation_psi), **more)

    def subject(self) -> Subject:
        """What `jaxgan.metrics.evaluate` measures."""
        generator = self.variables["generator"]
        return Subject(
            self.gan,
            ema=generator,
            raw=generator if self.weights == "raw" else None,
            discriminator=self.variables.get("discriminator"),
            mbstd_group=self.config.model.mbstd_group,
            w_avg=self.w_avg,
            x_flip=self.config.data.x_flip,
            name=f"{self.config.model.architecture} after {self.images_seen:,} images of {self.config.data.source}",
        )

    def _discriminator(self, images: jax.Array, labels: jax.Array | None) -> DOut:
        if self.variables.get("discriminator") is None:
            raise UserError("this model has no discriminator; load a run directory or a file that brings one")
        return _discriminate(self.gan.discriminator, self.variables["discriminator"], images, labels)


@functools.partial(jax.jit, static_argnums=(0, 6))
def _map(generator, variables, w_avg, z, labels, psi, cutoff):
    ws = call(generator, variables, z, labels, method="map")
    return truncate(generator, w_avg, ws, psi, cutoff)


@functools.partial(jax.jit, static_argnums=(0, 3))
def _synthesize_named(generator, variables, ws, noise, extras):
    return call(generator, variables, ws, noise, method="synthesize", **extras)


@functools.partial(jax.jit, static_argnums=0)
def _synthesize(generator, variables, ws, noise, extras):
    return call(generator, variables, ws, noise, method="synthesize", **extras)


@functools.partial(jax.jit, static_argnums=0)
def _discriminate(discriminator, variables, images, labels):
    return call(discriminator, variables, images, labels, group_size=1)


def model_file(source: str | Path) -> Path | None:
    """The file behind "zoo:NAME" or a file's path; None for a run directory.

    Raises:
        UserError: the zoo has none of that name.
    """
    text = str(source)
    if text.startswith(zoo.PREFIX):
        return zoo.path(text)
    return Path(source) if Path(source).is_file() or text.endswith(_OF_FILES) else None


def load(source: str | Path, weights: str | None = None) -> Model:
    """A ready model from a run directory, at its latest checkpoint, from the zoo or from a file.

    Args:
        source: a run directory, "zoo:NAME", a file of `jaxgan export`, or another program's
            (`jaxgan.interchange.read`), of which nothing is executed.
        weights: "ema" (averaged, the default) or "raw" generator; a file may have one of the two only.

    Raises:
        UserError: there is no run, no checkpoint or no such file, or not those weights in it.
    """
    if weights not in (None, "ema", "raw"):
        raise UserError(f"weights={weights!r} is not 'ema' or 'raw'")
    path = model_file(source)
    if path is None:
        return _load_run(source, weights or "ema")
    if path.suffix not in archive.SUFFIXES:
        return model_of(open_file(path), path, weights or "ema")
    imported, has = own.read(path)
    if weights not in (None, has):
        raise UserError(f"{path.name} holds the {has} weights of its generator only; leave weights at {has!r}")
    return model_of(imported, path, has)


def _load_run(source: str | Path, weights: str) -> Model:
    config = read_config(source)
    networks = functools.cache(lambda level: build(config.model.to_dict(), level))

    def template(meta: dict[str, Any]) -> Any:
        return layout(networks(meta["level"]), config.to_dict() | {"fsdp": 1}).template

    with Checkpoints(Path(source) / "checkpoints", read_only=True) as checkpoints:
        if not checkpoints.steps():
            raise UserError(f"{source} has no checkpoint yet; train it on with `jaxgan train --workdir={source}`")
        _, state, meta = checkpoints.restore(template)
    generator = state.ema if weights == "ema" else state.generator
    variables = {"generator": generator, "discriminator": state.discriminator}
    level = meta["level"]
    return Model(networks(level), config, variables, state.w_avg, int(meta["images_seen"]), level, weights)


def model_of(imported: Imported, path: str | Path, weights: str = "ema") -> Model:
    """The model that another program's file held.

    Raises:
        UserError: the file, which `path` names, has no raw weights and they are asked for.
    """
    generator = imported.ema if weights == "ema" else imported.raw
    if generator is None:
        raise UserError(f"{path} holds no {weights} weights of its generator; leave weights at 'ema'")
    found = jax.tree.map(jnp.asarray, {"generator": generator, "discriminator": imported.discriminator})
    gan = build(imported.config.model.to_dict(), imported.level)
    w_avg = jnp.asarray(imported.w_avg)
    return Model(gan, imported.config, found, w_avg, imported.images_seen, imported.level, weights)


def adopt(imported: Imported, workdir: str | Path) -> None:
    """Makes a run directory of another program's model: every verb takes it, and training goes on from it.

    Raises:
        UserError: the directory is not empty, or cannot be written.
    """
    config = imported.config
    with claimed(workdir, config), Checkpoints(Path(workdir) / "checkpoints") as checkpoints:
        state = adopted_state(
            build(config.model.to_dict(), imported.level),
            config.to_dict(),
            jax.random.key(config.seed),
            ema=imported.ema,
            generator=imported.raw,
            discriminator=imported.discriminator,
            w_avg=imported.w_avg,
            images_seen=imported.images_seen,
        )
        meta = {"data": None, "images_seen": imported.images_seen, "step": 0, "level": imported.level}
        checkpoints.save(imported.images_seen, state, meta)


def export(model: Model, path: str | Path, card: dict[str, Any], *, half: bool = False) -> None:
    """Writes a model to one file that `load` opens; `card` says how it was made.

    Raises:
        UserError: the file cannot be written, or a weight is not finite.
    """
    about = {
        "config": model.config.to_dict(),
        "level": model.level,
        "images_seen": model.images_seen,
        "weights": model.weights,
        "jaxgan": __version__,
        "card": card,
    }
    archive.save(path, model.variables | {"w_avg": model.w_avg}, about, half=half)


def seeds_to_keys(seeds: list[int]) -> jax.Array:
    """One key a seed, [n]: of noise, and of what a generator takes beside ws."""
    return jax.vmap(jax.random.key)(np.asarray(seeds, np.uint32))


@functools.partial(jax.jit, static_argnums=0)
def _window_z(generator, keys, places):
    return generator.window_z(keys, places)


def seeds_to_z(seeds: list[int], generator: nn.Module) -> np.ndarray:
    """One latent a seed, [n, *z_shape] float32: drawn as StyleGAN2's tools do (NumPy's RandomState), or a map."""
    if hasattr(generator, "window_z"):  # what `jaxgan.latent.canvas` shows of the seed around its first cell
        return np.asarray(_window_z(generator, seeds_to_keys(seeds), np.zeros((len(seeds), 2), np.int32)))
    z_dim = generator.z_dim
    return np.stack([np.random.RandomState(s).randn(z_dim) for s in seeds]).astype(np.float32)
