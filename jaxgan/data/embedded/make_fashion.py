"""Makes `fashion.npz`: the first 500 training and the first 50 test images of each Fashion-MNIST class.

The source is the Debian package `dataset-fashion-mnist` (version 0.0~git20200523.55506a9-1), which holds the four
original IDX files under `usr/share/datasets/fashion-mnist`:

    python -m jaxgan.data.embedded.make_fashion usr/share/datasets/fashion-mnist

Training images come from the train files, held-out images from the t10k files; both keep the order of their file.
"""

import argparse
from pathlib import Path

import numpy as np

from jaxgan.data.archives import read_idx_folder
from jaxgan.data.embedded import save


def first_of_each_class(labels: np.ndarray, count: int) -> np.ndarray:
    """Ascending indices of the first `count` examples of each class, `[classes * count]`.

    Raises:
      ValueError: a class has fewer examples.
    """
    chosen = [np.flatnonzero(labels == c)[:count] for c in np.unique(labels)]
    if any(len(c) < count for c in chosen):
        raise ValueError(f"a class has fewer than {count} examples")
    return np.sort(np.concatenate(chosen))


def make(source: Path, dest: Path, *, train: int = 500, test: int = 50) -> None:
    """Writes `dest` from the IDX files in `source`, with `train` and `test` images a class."""
    images, labels, held_out = [], [], []
    for split, count in (("train", train), ("test", test)):
        split_images, split_labels = read_idx_folder(source)[split]
        chosen = first_of_each_class(split_labels, count)
        images.append(split_images[chosen])
        labels.append(split_labels[chosen])
        held_out.append(np.full(len(chosen), split == "test"))
    save(dest, *map(np.concatenate, (images, labels, held_out)), format="PNG")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("--dest", type=Path, default=Path(__file__).with_name("fashion.npz"))
    arguments = parser.parse_args()
    make(arguments.source, arguments.dest)
