"""A file's outputs by the project that wrote it against ours: their code, their Python, in a process of its own."""

import re
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.errors import UserError
from jaxgan.interchange import reference_run
from jaxgan.interchange.imported import Imported
from jaxgan.networks.build import build
from jaxgan.networks.gan import call

PROJECTS = {
    "nvidia": "nvidia",
    "tensorflow": "nvidia",
    "rosinality": "rosinality",
    "gan_zoo": "gan_zoo",
    "torch_dcgan": "torch_dcgan",
}
_MARKS = {"nvidia": "legacy.py", "rosinality": "model.py", "gan_zoo": "models/progressive_gan.py"}
_LAYERS_ALONE = "torch"  # stands for a checkout where torch's own layers are all that a format needs
_MISSING = re.compile(r"ModuleNotFoundError: No module named '([\w.]+)'")


class Difference(NamedTuple):
    """Of one output: the largest absolute difference, and the same over the largest number of the reference."""

    output: str
    largest: float
    relative: float


def check(format: str, checkout: str | Path) -> None:
    """Raises UserError if there is nothing to compare files of a format with, or the checkout is none."""
    if format not in PROJECTS:
        raise UserError(
            f"--reference: no other project writes {format} files, so there is nothing to compare; leave it out"
        )
    mark = _MARKS.get(PROJECTS[format])
    if mark is None and str(checkout) != _LAYERS_ALONE:
        raise UserError(
            f"--reference={checkout}: files of {format} are compared with torch's own layers; give "
            f"--reference={_LAYERS_ALONE}"
        )
    if mark is not None and not (Path(checkout) / mark).is_file():
        raise UserError(f"--reference={checkout} has no {mark}; give a checkout of the project that wrote the file")


def compare(
    imported: Imported, path: str | Path, checkout: str | Path, python: str, count: int = 2
) -> list[Difference]:
    """Differences of ws, images with constant noise, and logits (where there is a discriminator), in float32.

    The project's own loader opens the file and may execute what is in it.

    Args:
        imported: what we read from the file.
        path: the file.
        checkout: of the project that wrote it, or "torch"; of those that `check` accepts.
        python: an interpreter with torch.
        count: of random latents; classes in turn.

    Raises:
        UserError: the project's code does not run there; its last words are repeated.
    """
    model = imported.config.model
    z = np.random.RandomState(0).randn(count, model.z_dim).astype(np.float32)
    labels = (
        np.eye(model.num_classes, dtype=np.float32)[np.arange(count) % model.num_classes] if model.num_classes else None
    )
    theirs = _theirs(PROJECTS[imported.format], path, checkout, python, z, labels)
    theirs["images"] = theirs["images"].transpose(0, 2, 3, 1)
    ours = _ours(imported, z, labels, theirs["images"])
    return [_difference(name, ours[name], theirs[name]) for name in ours if name in theirs]


def _theirs(
    project: str, path: str | Path, checkout: str | Path, python: str, z: np.ndarray, labels: np.ndarray | None
) -> dict[str, np.ndarray]:
    with tempfile.TemporaryDirectory() as folder:
        inputs, outputs = Path(folder) / "inputs.npz", Path(folder) / "outputs.npz"
        np.savez(inputs, z=z, **({} if labels is None else {"labels": labels}))
        script = str(Path(reference_run.__file__).absolute())
        places = [str(Path(p).absolute()) for p in (checkout, path)]
        try:
            done = subprocess.run(
                [python, script, project, *places, str(inputs), str(outputs)],
                cwd=folder,
                capture_output=True,
                text=True,
                check=False,
            )
        except OSError as error:
            raise UserError(
                f"--reference_python={python} does not start ({error.strerror}); name a Python with torch"
            ) from error
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["without a word"])[-1]
            if missing := _MISSING.fullmatch(last):
                raise UserError(
                    f"--reference_python={python} has no module {missing[1]}; give "
                    "--reference_python=PYTHON_WITH_TORCH, one that has all that the project needs"
                )
            raise UserError(
                f"the code of --reference={checkout} failed on {path} ({last[:300]}); leave --reference out"
            )
        with np.load(outputs) as file:
            return dict(file)


def _ours(imported: Imported, z: np.ndarray, labels: np.ndarray | None, images: np.ndarray) -> Mapping[str, Any]:
    gan = build(imported.config.model.to_dict(), imported.level)

    def generate(variables, z, labels):
        ws = call(gan.generator, variables, z, labels, method="map")
        return {"ws": ws, "images": call(gan.generator, variables, ws, "const", method="synthesize")}

    def judge(variables, images, labels):
        return call(gan.discriminator, variables, images, labels, group_size=1).logits

    with jax.default_matmul_precision("highest"):
        found = jax.jit(generate)(imported.ema, z, labels)
        if imported.discriminator is not None:
            found["logits"] = jax.jit(judge)(imported.discriminator, jnp.asarray(images), labels)
    return jax.device_get(found)


def _difference(name: str, ours: np.ndarray, theirs: np.ndarray) -> Difference:
    if ours.shape != theirs.shape:
        raise UserError(f"the reference makes {name} of shape {theirs.shape}, this library {ours.shape}")
    largest = float(np.abs(ours - theirs).max())
    return Difference(name, largest, largest / float(np.abs(theirs).max()))
