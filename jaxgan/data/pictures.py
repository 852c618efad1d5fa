"""Single pictures: opened whatever their mode, brought to one size and number of channels, encoded without loss."""

import dataclasses
import io
import re
import warnings

import numpy as np
from PIL import Image, ImageChops, ImageOps, UnidentifiedImageError

FILTERS = {"lanczos": Image.Resampling.LANCZOS, "box": Image.Resampling.BOX}
MODES = {1: "L", 3: "RGB", 4: "RGBA"}
FITS = ("crop", "pad")
BACKGROUNDS = {"white": 255, "black": 0}


@dataclasses.dataclass(frozen=True)
class Target:
    """What every picture is brought to.

    Attributes:
      resolution: `(H, W)`.
      channels: 1, 3 or 4. With 1 and 3, transparent pixels are composited on the background.
      filter: "lanczos" or "box", Pillow's, which widen with the scale and so do not alias.
      fit: "crop" cuts the centre to the target's shape; "pad" keeps all of the picture, in the middle of the
        background, or of transparent pixels with 4 channels.
      background: "white" or "black".
    """

    resolution: tuple[int, int]
    channels: int = 3
    filter: str = "lanczos"
    fit: str = "crop"
    background: str = "white"


def convert(source: bytes | np.ndarray, target: Target) -> bytes:
    """A picture as the PNG file that is stored.

    Args:
      source: an encoded picture of any kind that Pillow reads, or uint8 `[H, W, C]` with C 1, 3 or 4.
      target: what it is brought to. A picture that has that size already keeps its pixels.

    Raises:
      Exception: of many kinds, where the picture is broken, too large, or of a kind that is not read.
    """
    picture = from_array(source) if isinstance(source, np.ndarray) else open_picture(source)
    return encode_png(fit(to_channels(picture, target.channels, target.background), target))


def from_array(image: np.ndarray) -> Image.Image:
    """uint8 `[H, W, C]`, C 1, 3 or 4, as a picture."""
    return Image.fromarray(np.ascontiguousarray(image[..., 0] if image.shape[-1] == 1 else image))


def open_picture(data: bytes) -> Image.Image:
    """Decodes a picture and turns it upright by its EXIF orientation; of an animation, the first frame.

    Raises:
      Exception: the data is broken, or larger than `PIL.Image.MAX_IMAGE_PIXELS`, which Pillow takes for an attack.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            picture = Image.open(io.BytesIO(data))
        except UnidentifiedImageError:  # whose own words end in the address of the buffer
            raise UnidentifiedImageError("cannot identify image file") from None
        picture.load()
    return ImageOps.exif_transpose(picture)


def is_deep(data: bytes) -> bool:
    """Whether an encoded picture has 16 bits a channel, of which `open_picture` or `to_channels` keeps 8."""
    with Image.open(io.BytesIO(data)) as picture:
        return picture.mode.startswith("I") or re.search(r"(?<!BGR);16", str(picture.tile)) is not None


def is_coloured(picture: Image.Image) -> bool:
    """Whether any pixel is not grey."""
    if picture.mode in ("1", "L", "LA", "La") or picture.mode.startswith("I"):
        return False
    red, green, blue = picture.convert("RGB").split()
    return any(ImageChops.difference(green, other).getbbox() is not None for other in (red, blue))


def is_transparent(picture: Image.Image) -> bool:
    """Whether any pixel is, in part at least; of 16-bit grey, whose transparency is not read, never."""
    if picture.mode.startswith("I"):
        return False
    return picture.has_transparency_data and picture.convert("RGBA").getchannel("A").getextrema()[0] < 255


def to_channels(picture: Image.Image, channels: int, background: str = "white") -> Image.Image:
    """The picture in mode L, RGB or RGBA (1, 3 or 4 channels), with 8 bits a channel."""
    picture = _to_8_bits(picture)
    mode = MODES[channels]
    if channels != 4 and picture.has_transparency_data:
        canvas = Image.new("RGBA", picture.size, (*[BACKGROUNDS[background]] * 3, 255))
        canvas.alpha_composite(picture.convert("RGBA"))
        picture = canvas
    return picture if picture.mode == mode else picture.convert(mode)


def fit(picture: Image.Image, target: Target) -> Image.Image:
    """The picture, mode as it is, at the size of `target`."""
    size = target.resolution[::-1]
    if picture.size == size:
        return picture
    resample = FILTERS[target.filter]
    if target.fit == "crop":
        return picture.crop(centre_box(picture.size, size)).resize(size, resample)
    scale = min(size[0] / picture.width, size[1] / picture.height)
    inner = tuple(max(1, round(side * scale)) for side in picture.size)
    return _centred(picture.resize(inner, resample), size, target.background)[0]


def padded(picture: Image.Image, shape: tuple[int, int]) -> tuple[Image.Image, tuple[int, int, int, int]]:
    """The picture in the middle of the smallest canvas of the proportions of `shape`, `(W, H)`, and the box it has."""
    width = max(picture.width, round(picture.height * shape[0] / shape[1]))
    height = max(picture.height, round(picture.width * shape[1] / shape[0]))
    return _centred(picture, (width, height))


def _centred(
    picture: Image.Image, size: tuple[int, int], background: str = "white"
) -> tuple[Image.Image, tuple[int, int, int, int]]:
    grey = BACKGROUNDS[background]
    canvas = Image.new(picture.mode, size, {"L": grey, "RGB": (grey,) * 3, "RGBA": (0, 0, 0, 0)}[picture.mode])
    left, upper = (size[0] - picture.width) // 2, (size[1] - picture.height) // 2
    canvas.paste(picture, (left, upper))
    return canvas, (left, upper, left + picture.width, upper + picture.height)


def centre_box(size: tuple[int, int], shape: tuple[int, int]) -> tuple[int, int, int, int]:
    """The largest box of the proportions of `shape` amid `size`, both `(W, H)`: left, upper, right, lower."""
    width = min(size[0], max(1, round(size[1] * shape[0] / shape[1])))
    height = min(size[1], max(1, round(size[0] * shape[1] / shape[0])))
    left, upper = (size[0] - width) // 2, (size[1] - height) // 2
    return left, upper, left + width, upper + height


def encode_png(picture: Image.Image) -> bytes:
    """The picture as a PNG file without metadata."""
    buffer = io.BytesIO()
    clean = picture.copy()
    clean.info = {}  # no colour profile, gamma or transparency that would change how the pixels are read
    clean.save(buffer, "PNG")
    return buffer.getvalue()


def _to_8_bits(picture: Image.Image) -> Image.Image:
    """16-bit grey to 8 bits, 65535 to 255; other modes as they are.

    Raises:
      ValueError: floating-point values, or integers beyond 16 bits, whose range nobody knows.
    """
    if picture.mode == "F":
        raise ValueError("floating-point pixels, whose range is unknown: save it with 8 or 16 bits")
    if not picture.mode.startswith("I"):
        return picture
    values = np.asarray(picture).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise ValueError("pixels of more than 16 bits: save it with 8 or 16")
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))
