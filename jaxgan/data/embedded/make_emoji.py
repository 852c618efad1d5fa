"""Makes `emoji.npz`: the 1,911 base emoji of Noto at 64x64 on white, with their 10 categories.

The source is the npm package `emoji-datasource-google` (version 16.0.0), unpacked:

    npm pack emoji-datasource-google@16.0.0 && tar xf emoji-datasource-google-16.0.0.tgz
    python -m jaxgan.data.embedded.make_emoji package

Only `emoji.json` and `img/google/64` are read. Skin-tone variants are left out. Images stand in Unicode's sort order.
Colours are rounded to multiples of 4 with 255 kept, which is the only loss.
"""

import argparse
import hashlib
import json
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from jaxgan.data.embedded import CLASS_NAMES, save


def on_white(path: Path) -> np.ndarray:
    """The picture at `path` composited on white, uint8 `[H, W, 3]`."""
    picture = Image.open(path).convert("RGBA")
    canvas = Image.new("RGBA", picture.size, (255, 255, 255, 255))
    canvas.alpha_composite(picture)
    return np.asarray(canvas.convert("RGB"))


def round_colours(images: np.ndarray) -> np.ndarray:
    """uint8 values to the nearest multiple of 4, and 254 and 255 to 255."""
    rounded = (images.astype(np.uint16) + 2) // 4 * 4
    return np.minimum(rounded, 255).astype(np.uint8)


def held_out_tenth(keys: list[str], labels: np.ndarray, images: np.ndarray) -> np.ndarray:
    """bool `[N]`: a tenth of every class, at least one, chosen by the hash of the keys.

    Images that occur twice (some flags are the same picture) are never held out, so that no held-out
    image is also a training image.
    """
    times = Counter(image.tobytes() for image in images)
    order = sorted(range(len(keys)), key=lambda i: hashlib.sha256(keys[i].encode()).digest())
    held_out = np.zeros(len(keys), bool)
    for c in np.unique(labels):
        members = [i for i in order if labels[i] == c]
        unique = [i for i in members if times[images[i].tobytes()] == 1]
        held_out[unique[: max(1, round(len(members) / 10))]] = True
    return held_out


def make(source: Path, dest: Path) -> None:
    """Writes `dest` from the unpacked npm package in `source`."""
    records = json.loads((source / "emoji.json").read_text(encoding="utf-8"))
    records = sorted((r for r in records if r["has_img_google"]), key=lambda r: r["sort_order"])
    images = round_colours(np.stack([on_white(source / "img/google/64" / r["image"]) for r in records]))
    labels = np.array([CLASS_NAMES["emoji"].index(r["category"]) for r in records])
    held_out = held_out_tenth([r["unified"] for r in records], labels, images)
    save(dest, images, labels, held_out, format="WEBP")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("--dest", type=Path, default=Path(__file__).with_name("emoji.npz"))
    arguments = parser.parse_args()
    make(arguments.source, arguments.dest)
