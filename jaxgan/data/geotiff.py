"""Crops out of satellite tiles: GeoTIFFs of 8 or 16 bits and any number of bands, such as SpaceNet's."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxgan.errors import UserError

RGB = (1, 2, 3)
_TEST_SHARE = 10  # one tile for testing to so many
_EMPTY = 0.01  # share of a crop's pixels that may hold no data: 0 in every band
_PERCENTILES = (2.0, 98.0)  # of the set's values in a band, which become black and white


class Tiles(NamedTuple):
    """What a scan of a folder found.

    Attributes:
      limits: [2, 3], the values that become 0 and 255 in each band.
      crops: for each split (path, top, left) of the crops that hold data.
      dropped: crops that hold none, or too little.
    """

    limits: np.ndarray
    crops: dict[str, list[tuple[Path, int, int]]]
    dropped: int


def parse(source: str) -> tuple[Path, tuple[int, ...]]:
    """The folder and the bands of "geotiff:DIR" or "geotiff:DIR@5,3,2", bands counted from 1.

    Raises:
      UserError: there is no such folder, or those are no three bands.
    """
    text = source.removeprefix("geotiff:")
    given = ""
    if "@" in text and not Path(text).expanduser().is_dir():
        text, _, given = text.rpartition("@")
    folder = Path(text).expanduser()
    parts = given.split(",") if given else [str(band) for band in RGB]
    if len(parts) != 3 or not all(part.isdecimal() and int(part) for part in parts):
        raise UserError(f"{source}: give three bands counted from 1, such as geotiff:{text}@5,3,2")
    if not folder.is_dir():
        raise UserError(f"{source}: no folder {folder}")
    return folder, tuple(map(int, parts))


def read(path: Path, bands: tuple[int, ...]) -> np.ndarray:
    """Three bands of a tile, [H, W, 3] of uint8 or uint16.

    Raises:
      UserError: the reader is missing, the tile cannot be read, or it does not have those bands.
    """
    try:
        import tifffile
    except ModuleNotFoundError as error:
        raise UserError(
            "GeoTIFF tiles need tifffile; `pip install tifffile` (or `pip install jaxgan[geotiff]`)"
        ) from error
    try:
        pixels = tifffile.imread(path)
    except Exception as error:  # tifffile's errors are of many kinds
        raise UserError(
            f"{path} cannot be read ({error}); take it out; compressed tiles need `pip install imagecodecs`"
        ) from error
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], max(bands), axis=2)
    elif pixels.ndim == 3 and pixels.shape[0] < min(pixels.shape[1:]):  # band by band, as many satellites' are
        pixels = np.moveaxis(pixels, 0, -1)
    if pixels.ndim != 3 or pixels.dtype not in (np.uint8, np.uint16) or pixels.shape[2] < max(bands):
        raise UserError(
            f"{path} is {pixels.dtype} {pixels.shape}; tiles of 8 or 16 bits with the bands {bands} are read, choose "
            "others by geotiff:DIR@R,G,B"
        )
    return pixels[..., [band - 1 for band in bands]]


def scan(folder: Path, bands: tuple[int, ...], resolution: tuple[int, int]) -> Tiles:
    """Reads every tile once: which crops hold data, and the range of the values.

    Crops are at the tiles' own scale and do not overlap; every tenth tile, in the order of their names, is for testing.

    Raises:
      UserError: there are no tiles, one cannot be read, or no crop of this size holds data.
    """
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in (".tif", ".tiff"))
    if not paths:
        raise UserError(f"{folder} holds no .tif files; give the folder of the tiles")
    counts = np.zeros((3, 2**16), np.int64)
    crops: dict[str, list[tuple[Path, int, int]]] = {"train": [], "test": []}
    dropped, (height, width) = 0, resolution
    for number, path in enumerate(paths):
        pixels = read(path, bands)
        empty = (pixels == 0).all(-1)
        for band in range(3):
            counts[band] += np.bincount(pixels[..., band][~empty], minlength=2**16)
        split = crops["test" if number % _TEST_SHARE == _TEST_SHARE - 1 else "train"]
        for top in range(0, len(pixels) - height + 1, height):
            for left in range(0, pixels.shape[1] - width + 1, width):
                if empty[top : top + height, left : left + width].mean() > _EMPTY:
                    dropped += 1
                else:
                    split.append((path, top, left))
    if not crops["train"]:
        raise UserError(f"{folder}: no crop of {height}x{width} holds data; give a smaller --resolution")
    shares = np.cumsum(counts, 1) / counts.sum(1, keepdims=True)
    limits = np.stack([(shares < p / 100).sum(1) for p in _PERCENTILES]).astype(np.float64)
    limits[1] = np.maximum(limits[1], limits[0] + 1)
    return Tiles(limits, {name: found for name, found in crops.items() if found}, dropped)


def crops(
    tiles: Tiles, split: str, bands: tuple[int, ...], resolution: tuple[int, int]
) -> Iterator[tuple[str, np.ndarray]]:
    """(name, uint8 [H, W, 3]) of each crop of a split, tile by tile."""
    low, high = tiles.limits
    opened, pixels = None, np.empty(0)
    for path, top, left in tiles.crops[split]:
        if path != opened:
            opened, pixels = path, read(path, bands)
        part = pixels[top : top + resolution[0], left : left + resolution[1]].astype(np.float64)
        scaled = np.clip((part - low) / (high - low), 0, 1) * 255
        yield f"{path.name} {top},{left}", np.round(scaled).astype(np.uint8)
