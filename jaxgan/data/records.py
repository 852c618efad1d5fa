"""TFDS data sets stored as ArrayRecord, opened and read without TensorFlow."""

import dataclasses
import hashlib
import importlib.util
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from jaxgan.errors import UserError

INFO_FILE = "dataset_info.json"


@dataclasses.dataclass(frozen=True, eq=False)
class Records:
    """One split of a prepared set.

    Attributes:
      name: the name of the set; of one that the dataset tool made, the name of its source.
      split: the name of the split, slices such as `train[:50%]` included.
      source: random access to records, dicts whose "image" is the encoded bytes.
      shape: `(H, W, C)`; `None` for a side that differs between images.
      class_names: one name a class, or None where there are no labels.
      metadata: what the dataset tool wrote down, empty for a set of another origin.
      fingerprint: SHA-256 over the path, split, and names, sizes and times of the files, in hexadecimal.
    """

    name: str
    split: str
    source: Sequence[dict]
    shape: tuple[int | None, int | None, int]
    class_names: tuple[str, ...] | None
    metadata: dict
    fingerprint: str

    def __len__(self) -> int:
        return len(self.source)

    def read(self, indices: Sequence[int]) -> list[dict]:
        """The records at `indices`.

        Raises:
          UserError: a file of the set is damaged or gone.
        """
        try:
            return self.source.__getitems__([int(i) for i in indices])
        except RuntimeError as error:
            raise UserError(f"{self.name} ({self.split}): {_one_line(error)}; prepare the set again") from error

    def read_labels(self, indices: Sequence[int]) -> np.ndarray:
        """Labels int32 `[n]` of the records at `indices`; their images are not decoded."""
        return np.array([record["label"] for record in self.read(indices)], np.int32)


class EncodedImages:
    """Images decoded when they are asked for; `store[indices]` gives uint8 `[n, H, W, C]`. Any thread may ask."""

    def __init__(self, records: Records):
        self._records = records
        self.shape = (len(records), *records.shape)

    def __getitem__(self, indices: np.ndarray) -> np.ndarray:
        images = np.empty((len(indices), *self.shape[1:]), np.uint8)
        for i, record in enumerate(self._records.read(indices)):
            try:
                images[i] = decode(record["image"], self.shape[-1])
            except (OSError, ValueError, SyntaxError) as error:
                where = f"{self._records.name} ({self._records.split}): image {indices[i]}"
                raise UserError(f"{where} is damaged ({_one_line(error)}); prepare the set again") from error
        return images


def decode(data: bytes, channels: int) -> np.ndarray:
    """An encoded picture as uint8 `[H, W, channels]`; a grey or colour file is converted where `channels` differs."""
    picture = Image.open(io.BytesIO(data))
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[channels]
    image = np.asarray(picture if picture.mode == mode else picture.convert(mode))
    return image[..., None] if channels == 1 else image


def is_prepared(folder: Path) -> bool:
    """Whether `folder` is a prepared TFDS data set."""
    return (folder / INFO_FILE).is_file()


def prepared_splits(folder: Path) -> tuple[str, ...]:
    """The names of the splits in a prepared set that hold at least one image."""
    return tuple(name for name, split in _builder(folder).info.splits.items() if split.num_examples)


def find_catalogue_set(source: str) -> Path | None:
    """The folder of the newest prepared version of `tfds:NAME[/CONFIG][:VERSION][@DATA_DIR]`, or None.

    Without `@DATA_DIR` TFDS's own places are searched: `$TFDS_DATA_DIR`, else `~/tensorflow_datasets`.
    """
    from tensorflow_datasets.core import read_only_builder, registered

    name, data_dir = split_catalogue_name(source)
    try:
        builder = read_only_builder.builder_from_files(name, data_dir=data_dir)
    except registered.DatasetNotFoundError:
        return None
    except ValueError as error:
        raise UserError(f"{source}: {_one_line(error)}") from error
    return Path(builder.data_dir)


def split_catalogue_name(source: str) -> tuple[str, str | None]:
    """`tfds:NAME@DATA_DIR` as `(NAME, DATA_DIR)`; the folder is None where it is not given."""
    name, _, data_dir = source.removeprefix("tfds:").partition("@")
    if not name:
        raise UserError(f"{source}: no name after 'tfds:'; write for example tfds:cifar10")
    return name, os.path.expanduser(data_dir) if data_dir else None


def prepare_catalogue_set(source: str) -> Path:
    """Downloads a catalogue set and writes it as ArrayRecord, which only TensorFlow can do; returns its folder.

    Raises:
      UserError: TensorFlow is not installed, or TFDS knows no such set.
    """
    if importlib.util.find_spec("tensorflow") is None:
        raise UserError(
            f"{source} is not prepared on this machine, and preparing it needs TensorFlow: "
            f'pip install "jaxgan[tfds-prepare]", then run this command again'
        )
    import tensorflow_datasets as tfds

    name, data_dir = split_catalogue_name(source)
    try:
        builder = tfds.builder(name, data_dir=data_dir, file_format="array_record")
    except (tfds.core.registered.DatasetNotFoundError, ValueError) as error:
        raise UserError(f"{source}: {_one_line(error)}") from error
    builder.download_and_prepare()
    return Path(builder.data_dir)


def open_records(folder: Path, split: str) -> Records:
    """Opens one split of the prepared set in `folder`.

    Raises:
      UserError: the folder is not a set that can be read, the split is not in it, or a record has not one uint8 image.
    """
    import tensorflow_datasets as tfds

    builder = _builder(folder)
    features = dict(builder.info.features.items())
    names = [key for key, feature in features.items() if isinstance(feature, tfds.features.Image)]
    if len(names) != 1:
        raise UserError(f"{folder}: {len(names)} image features {names} in a record; jaxgan reads sets with one")
    image, label = features[names[0]], features.get("label")
    if image.np_dtype != np.uint8 or image.shape[-1] not in (1, 3, 4):
        raise UserError(
            f"{folder}: images of {image.np_dtype} {image.shape}; jaxgan reads uint8 with 1, 3 or 4 channels"
        )
    try:
        source = builder.as_data_source(split=split, decoders={names[0]: tfds.decode.SkipDecoding()})
        missing = [path for path in builder.info.splits[split].filepaths if not path.exists()]
    except ValueError as error:
        raise UserError(f"{folder}: {_one_line(error)}") from error
    if missing:
        raise UserError(f"{missing[0]}: the file is gone; prepare the set again")
    metadata = dict(builder.info.metadata or {})
    return Records(
        name=metadata.get("source", builder.info.name),
        split=split,
        source=source if names[0] == "image" else _Renamed(source, names[0]),
        shape=tuple(image.shape),
        class_names=tuple(label.names) if isinstance(label, tfds.features.ClassLabel) else None,
        metadata=metadata,
        fingerprint=folder_fingerprint(folder, split),
    )


def folder_fingerprint(folder: Path, split: str) -> str:
    """SHA-256, in hexadecimal, over the path, the split, and the name, size and modification time of every file."""
    stats = [(path.name, path.stat()) for path in sorted(folder.iterdir()) if path.is_file()]
    content = [str(folder.resolve()), split, [(name, s.st_size, s.st_mtime_ns) for name, s in stats]]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


class _Renamed:
    """Records whose image is called something else than "image"."""

    def __init__(self, source: Sequence[dict], name: str):
        self._source, self._name = source, name

    def __len__(self) -> int:
        return len(self._source)

    def __getitems__(self, indices: list[int]) -> list[dict]:
        return [{**record, "image": record[self._name]} for record in self._source.__getitems__(indices)]


def _builder(folder: Path):
    """The read-only TFDS builder of `folder`, stored as ArrayRecord."""
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder_from_directory(folder)
    except Exception as error:  # whatever JSON and protobuf make of a damaged file
        raise UserError(f"{folder}: not a readable TFDS data set ({_one_line(error)}); prepare it again") from error
    formats = [builder.info.file_format, *builder.info.alternative_file_formats]
    if "array_record" not in [getattr(f, "value", f) for f in formats]:
        raise UserError(
            f"{folder}: stored as {builder.info.file_format.value}, which needs TensorFlow to read; prepare it with "
            "file_format='array_record'"
        )
    return builder


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
