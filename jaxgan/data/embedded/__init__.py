"""Two small labelled image sets that come with the package, so that a first run needs no download.

| name | what | train + test | licence |
| --- | --- | --- | --- |
| `fashion` | Fashion-MNIST, grey, 28x28 padded with zeros to 32x32, 10 classes of equal size | 5,000 + 500 | MIT |
| `emoji` | Noto emoji on white, RGB, 64x64, 10 categories of unequal size | 1,720 + 191 | Apache-2.0 |

The test images of `fashion` are from the original test files; those of `emoji` are a tenth of every category, fixed.
`fashion` is stored without loss. `emoji` is stored with colour values rounded to multiples of 4 (white stays white; no
value moves by more than 2 of 255), which takes a third off the lossless file and cannot be seen.

The files are written by `make_fashion.py` and `make_emoji.py`; the licences lie beside them. `drawings/` holds
scribbles of clothes for the programs that take some, drawn for this package: four dense and four sparse, RGBA, 32x32.
"""

import dataclasses
import functools
import hashlib
import io
from importlib import resources
from pathlib import Path

import numpy as np
from PIL import Image

CLASS_NAMES = {
    "fashion": (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
    "emoji": (
        "Activities",
        "Animals & Nature",
        "Component",
        "Flags",
        "Food & Drink",
        "Objects",
        "People & Body",
        "Smileys & Emotion",
        "Symbols",
        "Travel & Places",
    ),
}
DRAWINGS = Path(__file__).parent / "drawings"
BORDER = {"fashion": 2, "emoji": 0}  # zeros added on each side when an image is loaded


@dataclasses.dataclass(frozen=True, eq=False)
class Embedded:
    """One embedded set, both splits together.

    Attributes:
      images: uint8 `[N, H, W, C]`, read-only.
      labels: int32 `[N]`, indices into `class_names`.
      held_out: bool `[N]`, true for the split "test".
      class_names: one name a class.
      digest: SHA-256 of the file, in hexadecimal.
    """

    images: np.ndarray
    labels: np.ndarray
    held_out: np.ndarray
    class_names: tuple[str, ...]
    digest: str


@functools.cache
def load(name: str) -> Embedded:
    """Decodes the embedded set `name` ("fashion" or "emoji"); the result is kept, 6 and 23 MB of memory.

    Raises:
      KeyError: there is no such set.
    """
    class_names, border = CLASS_NAMES[name], BORDER[name]
    data = (resources.files(__name__) / f"{name}.npz").read_bytes()
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        labels = file["labels"].astype(np.int32)
        held_out = file["held_out"]
        strips = [_decode_strip(file[key]) for key in sorted(k for k in file.files if k.startswith("strip"))]
    images = np.pad(np.concatenate(strips), ((0, 0), (border, border), (border, border), (0, 0)))
    for array in (images, labels, held_out):
        array.setflags(write=False)
    return Embedded(images, labels, held_out, class_names, hashlib.sha256(data).hexdigest())


def save(path: Path, images: np.ndarray, labels: np.ndarray, held_out: np.ndarray, *, format: str) -> None:
    """Writes the file that `load` reads; the same arguments and codec version give the same bytes.

    Images stand one above the other in strips of at most 240, because a codec that looks back (PNG, WebP) then finds
    what neighbouring images have in common.

    Args:
      path: where to write, ending in `.npz`.
      images: uint8 `[N, S, S, C]`, C 1 or 3.
      labels: integers `[N]` in 0..255.
      held_out: bool `[N]`.
      format: "PNG" or "WEBP", both without loss.
    """
    options = {"PNG": {"optimize": True}, "WEBP": {"lossless": True, "quality": 100, "method": 6}}[format]
    size, channels = images.shape[1], images.shape[3]
    arrays = {"labels": labels.astype(np.uint8), "held_out": held_out.astype(bool)}
    for i, start in enumerate(range(0, len(images), 240)):
        strip = images[start : start + 240].reshape(-1, size, channels)
        buffer = io.BytesIO()
        Image.fromarray(strip[..., 0] if channels == 1 else strip).save(buffer, format, **options)
        arrays[f"strip_{i:03d}"] = np.frombuffer(buffer.getvalue(), np.uint8)
    np.savez(path, **arrays)


def _decode_strip(data: np.ndarray) -> np.ndarray:
    """Encoded strip, uint8 `[bytes]`, to images uint8 `[n, S, S, C]`."""
    strip = np.asarray(Image.open(io.BytesIO(data.tobytes())))
    size = strip.shape[1]
    return strip.reshape(-1, size, size, 1 if strip.ndim == 2 else strip.shape[2])
