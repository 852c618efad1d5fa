"""Opens another program's file, whichever of the known formats it has."""

import dataclasses
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import numpy as np

from jaxgan.errors import UserError
from jaxgan.interchange import eqgan, gan_zoo, nvidia, rosinality, stablehlo, tensorflow, torch_dcgan
from jaxgan.interchange.imported import Imported
from jaxgan.weights import torch_file
from jaxgan.weights.unpickle import Object

# Each has recognises(tree) and read(tree, path). EqGAN's files are NVIDIA's with more in them, so they are asked first.
FORMATS: dict[str, ModuleType] = {
    "EqGAN-SA": eqgan,
    "StyleGAN2-ADA-PyTorch": nvidia,
    "StyleGAN2 for TensorFlow": tensorflow,
    "rosinality": rosinality,
    "pytorch_GAN_zoo": gan_zoo,
    "PyTorch DCGAN": torch_dcgan,
}
_DAMAGE = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, MemoryError, RecursionError)


def open_file(path: str | Path) -> Imported:
    """The model that another program's file holds; nothing in the file is executed.

    Raises:
        UserError: the file cannot be read, has none of the known formats, or its tensors do not make a network; the
            tensor is named.
    """
    if Path(path).suffix == stablehlo.SUFFIX and Path(path).is_file():
        raise UserError(
            f"{path} is a program for jax.export and no model (docs/weights.md says how it is run); give the run or "
            "the file that it was exported from"
        )
    tree = torch_file.read(path)
    for name, reader in FORMATS.items():
        try:
            if reader.recognises(tree):
                return _owned(reader.read(tree, path))
        except _DAMAGE as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            raise UserError(f"{path}: begins as a file of {name} and is damaged ({reason}); fetch it again") from error
    known = ", ".join(FORMATS)
    raise UserError(f"{path} holds {_described(tree)}; it must be a file of {known}")


def _owned(imported: Imported) -> Imported:
    """With arrays of its own: those that are still views of the file would end with it."""

    def own(tree: Any) -> Any:
        return jax.tree.map(lambda x: x if x.base is None else np.array(x), tree)

    fields = ("ema", "raw", "discriminator", "w_avg")
    return dataclasses.replace(imported, **{field: own(getattr(imported, field)) for field in fields})


def _described(tree: Any) -> str:
    """What is in a file, briefly."""
    if isinstance(tree, dict):
        names = ", ".join(str(key)[:40] for key in list(tree)[:4])
        return f"a dict of {len(tree)} ({names}{' ...' if len(tree) > 4 else ''})"
    return f"an object of the class {tree.kind}" if isinstance(tree, Object) else f"a {type(tree).__name__}"
