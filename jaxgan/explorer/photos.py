"""Pictures that a browser sends: bounded in bytes and pixels before anything is decoded."""

import base64
import binascii
import io
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from jaxgan.data import pictures
from jaxgan.errors import UserError
from jaxgan.latent.brushes import fitted

MOST_BYTES = 20 * 2**20
MOST_PIXELS = 40_000_000
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
_CANVAS = 2**20  # pixels of a drawing, at most


def read_upload(data: bytes, shape: tuple[int, int, int]) -> np.ndarray:
    """uint8 [H, W, C] of an encoded picture of any size, its centre cut to the proportions of `shape`.

    Raises:
        UserError: too many bytes or pixels, another format, or no picture at all.
    """
    if len(data) > MOST_BYTES:
        raise UserError(f"a picture of {len(data) / 2**20:.0f} MB; {MOST_BYTES >> 20} MB are taken")
    size = _header(data)
    if size[0] * size[1] > MOST_PIXELS:
        raise UserError(f"a picture of {size[0]}x{size[1]}; {MOST_PIXELS // 10**6} megapixels are taken")
    try:
        picture = pictures.to_channels(pictures.open_picture(data), shape[2])
    except Exception as error:  # Pillow raises many kinds
        raise UserError(f"that picture cannot be read ({error!s:.80})") from error
    return np.asarray(pictures.fit(picture, pictures.Target(shape[:2], shape[2]))).reshape(shape)


def read_drawing(text: Any, shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """A drawing, base64 of a PNG with transparency: (colours [H, W, C] in [-1, 1], mask [H, W, 1] in [0, 1]).

    Raises:
        UserError: it is no such picture, too large, or empty.
    """
    if not isinstance(text, str) or len(text) > 4 * 2**20:
        raise UserError("a drawing is base64 of a PNG, of 3 MB at most")
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise UserError("a drawing is not base64") from error
    size = _header(data, ("PNG",))
    if size[0] * size[1] > _CANVAS:
        raise UserError(f"a drawing of {size[0]}x{size[1]} is too large; a million pixels are taken")
    try:
        drawn = pictures.open_picture(data).convert("RGBA")
    except Exception as error:
        raise UserError(f"that drawing cannot be read ({error!s:.80})") from error
    colours, mask = fitted(drawn, shape, "crop", "box")
    if not (mask > 0.01).any():
        raise UserError("nothing is drawn")
    return np.where(mask > 0, colours, 0).astype(np.float32), mask.astype(np.float32)


def _header(data: bytes, formats: tuple[str, ...] = FORMATS) -> tuple[int, int]:
    """(width, height) by the header alone."""
    try:
        with Image.open(io.BytesIO(data), formats=formats) as picture:
            return picture.size
    except UnidentifiedImageError as error:
        raise UserError(f"that is no picture of a kind that is taken ({', '.join(formats)})") from error
    except Exception as error:  # also where the size alone is taken for an attack
        raise UserError(f"that picture cannot be read ({error!s:.80})") from error


def encode(picture: np.ndarray, moving: bool) -> tuple[bytes, str]:
    """(bytes, media type) of uint8 [H, W, C] or [H, W]: PNG, or JPEG of large ones that are soon replaced."""
    picture = picture[..., 0] if picture.ndim == 3 and picture.shape[-1] == 1 else picture
    image, buffer = Image.fromarray(picture), io.BytesIO()
    if moving and picture.shape[0] > 128 and image.mode in ("L", "RGB"):
        image.save(buffer, "JPEG", quality=85)
        return buffer.getvalue(), "image/jpeg"
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue(), "image/png"
