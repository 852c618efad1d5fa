"""Writes TFDS data sets as ArrayRecord, without TensorFlow."""

import io
import math
import os
from pathlib import Path

DATASET_NAME = "jaxgan_images"
_SHARD_BYTES = 2**28  # about the size of one file, before PNG


class RecordWriter:
    """Writes PNG files and labels to an empty folder, in order, a shard at a time.

    Args:
      folder: where to.
      shape: `(H, W, C)` of every image.
      class_names: one name a class; None for a set without labels.
    """

    def __init__(self, folder: Path, shape: tuple[int, int, int], class_names: tuple[str, ...] | None):
        import tensorflow_datasets as tfds

        features = {"image": tfds.features.Image(shape=shape, encoding_format="png")}
        if class_names:
            features["label"] = tfds.features.ClassLabel(names=list(class_names))
        identity = tfds.core.DatasetIdentity(
            name=DATASET_NAME, version=tfds.core.Version("1.0.0"), data_dir=os.fspath(folder), module_name=__name__
        )
        self._metadata = tfds.core.MetadataDict()
        info = tfds.core.DatasetInfo(
            builder=identity,
            description="Images of one size, prepared by jaxgan.",
            features=tfds.features.FeaturesDict(features),
            metadata=self._metadata,
            disable_shuffling=True,
        )
        shard = max(1, _SHARD_BYTES // math.prod(shape))
        self._writer = tfds.core.SequentialWriter(info, max_examples_per_shard=shard, file_format="array_record")
        self._waiting: dict[str, list[dict]] = {}

    def add(self, split: str, examples: list[tuple[bytes, int | None]]) -> None:
        """Appends PNG files and labels to a split."""
        waiting = self._waiting.setdefault(split, [])
        for png, label in examples:
            example = {"image": io.BytesIO(png)}
            waiting.append(example if label is None else {**example, "label": label})
        if len(waiting) >= 1024:  # the writer rewrites its metadata files with every call
            self._flush(split)

    def close(self, metadata: dict) -> None:
        """Writes what waits, and the metadata."""
        for split in self._waiting:
            self._flush(split)
        self._metadata.update(metadata)
        self._writer.close_all()

    def _flush(self, split: str) -> None:
        if self._waiting[split]:
            self._writer.initialize_splits([split], fail_if_exists=False)
            self._writer.add_examples({split: self._waiting[split]})
            self._waiting[split] = []
