"""The photograph behind a scribble: inverted before it is drawn on, and the edit carried over to it afterwards."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jaxgan import config as configs
from jaxgan.cli.invert import WORK, inverted
from jaxgan.data import pictures
from jaxgan.data.photos import Photos
from jaxgan.experiment import Model
from jaxgan.latent.invert import Inversion
from jaxgan.latent.transfer import transfer
from jaxgan.latent.walk import linear, render
from jaxgan.report import save_png, to_uint8

_FRAMES = 8  # on the way from the photograph to its edit, as iGAN takes


def inverted_photo(model: Model, photo: Photos, config: ConfigDict, out: Path, label: int | None) -> Inversion:
    """The photograph inverted by the config `invert`, in the space of the edit."""
    how = configs.load("invert")
    how.batch, how.steps = 1, min(config.steps, 1000)
    for field in ("space", "trunk", "trunk_weights"):
        how[field] = config[field]
    if not config.weights.conv:
        how.weights.conv = 0.0
    return inverted(model, photo, how, out / WORK / "photo", label=label)


def transferred(out: Path, model: Model, path: str, fit: str, before: Inversion, after: Inversion) -> np.ndarray:
    """The edit done to the original photograph at its own size, photo-edited.png: uint8 [H, W, C].

    What fit="crop" leaves out stays as it is; the edge between is blended.
    """
    ws, beside = (
        None if ends[0] is None else np.asarray(linear(np.stack([ends[0][0], ends[1][0]])[None], _FRAMES))
        for ends in ((before.ws, after.ws), (before.extras, after.extras))
    )
    frames = render(model.gan.generator, model.variables["generator"], ws, extras=beside).frames[0]
    channels = frames.shape[-1]
    picture = pictures.to_channels(pictures.open_picture(Path(path).read_bytes()), channels)
    frame = (frames.shape[2], frames.shape[1])
    crop = pictures.centre_box(picture.size, frame) if fit == "crop" else (0, 0, *picture.size)
    canvas, inner = pictures.padded(picture.crop(crop), frame)
    photo = np.asarray(canvas, np.float32).reshape(canvas.height, canvas.width, channels) / 127.5 - 1.0
    edited = np.asarray(transfer(jnp.asarray(frames, jnp.float32) / 127.5 - 1.0, jnp.asarray(photo)))
    whole = np.asarray(picture, np.float32).reshape(picture.height, picture.width, channels) / 127.5 - 1.0
    result = to_uint8(feathered(whole, edited[inner[1] : inner[3], inner[0] : inner[2]], crop))
    save_png(out / "photo-edited.png", result)
    print(f"the photograph, edited at {picture.width}x{picture.height}: {out / 'photo-edited.png'}")
    return result


def feathered(photo: np.ndarray, edited: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    """A photograph [H, W, C] with a part of it edited, blended in over a sixteenth of the part's side.

    Args:
        photo: the whole.
        edited: [h, w, C], what takes the place of `box`.
        box: left, upper, right, lower. Sides on the photograph's edge are not blended.
    """
    left, upper, right, lower = box
    ramps = []
    for length, low, high in (
        (lower - upper, upper, photo.shape[0] - lower),
        (right - left, left, photo.shape[1] - right),
    ):
        place, width = np.arange(length) + 0.5, max(length / 16, 1)
        ramp = np.ones(length)
        for near in [place] * (low > 0) + [length - place] * (high > 0):
            ramp = np.minimum(ramp, near / width)
        ramps.append(ramp)
    share = (ramps[0][:, None] * ramps[1][None])[..., None]
    result = photo.copy()
    inside = result[upper:lower, left:right]
    result[upper:lower, left:right] = inside + share * (edited - inside)
    return result
