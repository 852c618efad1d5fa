"""Latents that have names: seeds, or what an inversion found."""

import dataclasses
import re
import zipfile
import zlib
from pathlib import Path

import numpy as np

from jaxgan.errors import UserError

_READ = ("ws", "names", "loss", "space", "code", "extras", "maps_as")


@dataclasses.dataclass(frozen=True)
class Keys:
    """Latents between which one can walk.

    Attributes:
        names: [K], seeds or names of pictures.
        ws: [K, num_ws, w_dim], not truncated; None of seeds until a generator maps them.
        z: [K, z_dim], of which ws are the map; None where only ws are known.
        loss: of an inversion, [K], or None.
        noise: maps [K, H, W, 1] that were found with ws, or ().
        extras: [K, D], what the generator takes beside ws (see `jaxgan.networks.gan`), or None.
        maps_as: how maps are to be treated (`jaxgan.latent.invert.with_maps_as`); None where ws are vectors.
    """

    names: list[str]
    ws: np.ndarray | None = None
    z: np.ndarray | None = None
    loss: np.ndarray | None = None
    noise: tuple[np.ndarray, ...] = ()
    extras: np.ndarray | None = None
    maps_as: tuple[str, str] | None = None


def read_latents(path: str | Path) -> Keys:
    """The latents of a file that `jaxgan invert` wrote.

    It holds ws [N, num_ws, w_dim] and names [N], and may hold loss [N], maps noise0, noise1, ... [N, H, W, 1], extras
    [N, D], the space with the codes in it, which are z [N, z_dim] where it is "z", and how its maps are treated.

    Raises:
        UserError: it is no such file.
    """
    try:
        # Of a broken archive np.load would leave a file open that it has opened itself.
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files if name in _READ or _is_noise(name)}
        names, ws, loss = [str(name) for name in arrays["names"]], arrays["ws"], arrays.get("loss")
        z = arrays.get("code") if str(arrays.get("space")) == "z" else None
    except KeyError as error:
        raise UserError(f"{path} has no {error.args[0]}; give the latents.npz of `jaxgan invert`") from error
    except (OSError, ValueError, TypeError, AttributeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "it is no such file"
        raise UserError(f"{path} cannot be read ({reason}); give the latents.npz of `jaxgan invert`") from error
    more = arrays.get("extras")
    for name, array in (("ws", ws), ("loss", loss), ("code", z), ("extras", more)):
        if array is not None and array.shape[:1] != (len(names),):
            raise UserError(f"{path} has {len(names)} names and {name} of {array.shape}; invert the pictures again")
    noise = tuple(arrays[name] for name in sorted(filter(_is_noise, arrays), key=lambda name: int(name[5:])))
    how = arrays.get("maps_as")
    return Keys(names, ws, z, loss, noise, more, None if how is None else tuple(map(str, how)))


def parse_pair(text: str, names: list[str]) -> tuple[int, int]:
    """The places of FROM and TO among the names.

    Raises:
        UserError: the text is no such pair, or a name is unknown.
    """
    first, separator, last = text.strip().partition(":")
    if not separator or first == last:
        raise UserError(f"--pairs={text} is not FROM:TO, two different ones, such as 0:1")
    for name in (first, last):
        if name not in names:
            known = f"{', '.join(names[:8])}{' ...' if len(names) > 8 else ''}"
            raise UserError(f"--pairs={text}: there is no {name} among the latents {known}")
    return names.index(first), names.index(last)


def _is_noise(name: str) -> bool:
    return re.fullmatch(r"noise\d+", name) is not None
