"""Satellite tiles of 16 bits: bands, range, tiles without data, splits by tile."""

import numpy as np
import pytest

from jaxgan.data import geotiff
from jaxgan.data.prepare import prepare
from jaxgan.data.sources import open_images
from jaxgan.errors import UserError

tifffile = pytest.importorskip("tifffile")


@pytest.fixture
def tiles(tmp_path):
    """Twelve tiles of 40x70 and eight bands in 11 bits of 16; a corner of the first one holds no data."""
    folder = tmp_path / "tiles"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(12):
        pixels = rng.integers(200, 1800, (40, 70, 8)).astype(np.uint16)
        pixels[..., 4] = 1000 + i  # band 5
        if i == 0:
            pixels[:20, :20] = 0
        if i % 2:  # band by band
            tifffile.imwrite(folder / f"t{i:02d}.tif", np.moveaxis(pixels, -1, 0), photometric="minisblack")
        else:
            tifffile.imwrite(folder / f"t{i:02d}.tif", pixels, photometric="minisblack")
    return folder


def test_crops_with_data_at_the_range_of_the_set(tiles, tmp_path):
    made = prepare(f"geotiff:{tiles}@1,2,3", tmp_path / "out", resolution=32, workers=1)
    assert made.counts == {"train": 11 * 2 - 1, "test": 2}
    images = open_images(str(tmp_path / "out"))
    pixels = images.gather(np.arange(len(images)))
    assert pixels.shape[1:] == (32, 32, 3)
    assert 100 < pixels.mean() < 155  # uniform values between the percentiles
    assert (pixels == 0).mean() == pytest.approx(0.02, abs=0.01)
    assert (pixels == 255).mean() == pytest.approx(0.02, abs=0.01)


def test_bands_and_splits(tiles):
    folder, bands = geotiff.parse(f"geotiff:{tiles}@5,2,1")
    assert (folder, bands) == (tiles, (5, 2, 1))
    found = geotiff.scan(folder, bands, (32, 32))
    assert found.dropped == 1
    assert {path.name for path, _, _ in found.crops["test"]} == {"t09.tif"}
    assert found.limits[0, 0] == 1000
    first = geotiff.read(tiles / "t03.tif", bands)
    assert first.shape == (40, 70, 3)
    assert (first[..., 0] == 1003).all()


def test_what_is_refused(tiles, tmp_path):
    with pytest.raises(UserError, match="give three bands"):
        geotiff.parse(f"geotiff:{tiles}@1,2")
    with pytest.raises(UserError, match="no folder"):
        geotiff.parse("geotiff:/nowhere")
    with pytest.raises(UserError, match="choose others by"):
        geotiff.scan(tiles, (9, 1, 2), (32, 32))
    with pytest.raises(UserError, match="no crop of 64x64"):
        geotiff.scan(tiles, (1, 2, 3), (64, 64))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"holds no \.tif files"):
        geotiff.scan(tmp_path / "empty", (1, 2, 3), (32, 32))
    (tmp_path / "empty" / "x.tif").write_bytes(b"no tile")
    with pytest.raises(UserError, match="cannot be read"):
        geotiff.scan(tmp_path / "empty", (1, 2, 3), (32, 32))
