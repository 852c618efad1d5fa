"""Two old archive formats, read without trusting them: IDX (MNIST and its kin) and the CIFAR-10 pickles."""

import gzip
import io
import pickle
import tarfile
import zlib
from pathlib import Path

import numpy as np

from jaxgan.errors import UserError

IDX_SPLITS = {"train": "train", "t10k": "test"}
CIFAR_SPLITS = {"train": tuple(f"data_batch_{i}" for i in range(1, 6)), "test": ("test_batch",)}
CIFAR_META = "batches.meta"


def read_idx(path: Path) -> np.ndarray:
    """An IDX file of unsigned bytes, gzipped or not, as a uint8 array of the shape in its header.

    Raises:
      UserError: it is not such a file, or it is cut short.
    """
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read as an IDX file ({error}); download it again") from error
    if len(data) < 4 or data[:3] != b"\x00\x00\x08" or len(data) < 4 + 4 * data[3]:
        raise UserError(f"{path}: not an IDX file of unsigned bytes; download it again")
    shape = np.frombuffer(data, ">u4", count=data[3], offset=4).tolist()
    body = np.frombuffer(data, np.uint8, offset=4 + 4 * data[3])
    if body.size != np.prod(shape, dtype=object):
        raise UserError(f"{path}: its header says {shape} and {body.size} bytes follow; download it again")
    return body.reshape(shape)


def find_idx(folder: Path, split: str, kind: str) -> Path | None:
    """The file of `kind` ("images-idx3" or "labels-idx1") of an IDX `split` ("train" or "t10k"), or None."""
    for stem in (f"{split}-{kind}-ubyte", f"{split}-{kind.replace('-idx', '.idx')}-ubyte"):
        for path in (folder / stem, folder / f"{stem}.gz"):
            if path.is_file():
                return path
    return None


def is_idx_folder(folder: Path) -> bool:
    """Whether `folder` holds MNIST-style image files."""
    return any(find_idx(folder, split, "images-idx3") for split in IDX_SPLITS)


def read_idx_folder(folder: Path) -> dict[str, tuple[np.ndarray, np.ndarray | None]]:
    """Reads the MNIST-style files of a folder.

    Returns:
      For each split that is there ("train", "test"): images uint8 `[N, H, W, 1]` and labels int32 `[N]`, or None.

    Raises:
      UserError: a file is broken, or images and labels differ in number.
    """
    splits = {}
    for prefix, split in IDX_SPLITS.items():
        path = find_idx(folder, prefix, "images-idx3")
        if path is None:
            continue
        images = read_idx(path)
        if images.ndim != 3:
            raise UserError(f"{path}: its shape is {images.shape}, not [N, H, W]; give a file of grey images")
        label_path = find_idx(folder, prefix, "labels-idx1")
        labels = None if label_path is None else read_idx(label_path).astype(np.int32)
        if labels is not None and labels.shape != images.shape[:1]:
            raise UserError(f"{label_path}: {labels.shape} labels for {len(images)} images; download it again")
        splits[split] = (images[..., None], labels)
    return splits


def cifar_members(path: Path) -> dict[str, bytes] | None:
    """The batch files of a CIFAR-10 archive or of its unpacked folder by their base names, or None if it is neither.

    Raises:
      UserError: some batches are missing or the archive is broken.
    """
    wanted = {name for names in CIFAR_SPLITS.values() for name in names} | {CIFAR_META}
    if path.is_dir():
        folder = path / "cifar-10-batches-py" if (path / "cifar-10-batches-py").is_dir() else path
        found = {name: (folder / name).read_bytes() for name in wanted if (folder / name).is_file()}
    else:
        try:
            with tarfile.open(path) as archive:
                members = {Path(m.name).name: m for m in archive if m.isfile() and Path(m.name).name in wanted}
                found = {name: archive.extractfile(m).read() for name, m in members.items()}
        except tarfile.ReadError:
            return None
        except (OSError, EOFError, zlib.error) as error:
            raise UserError(f"{path}: the archive is broken ({error}); download it again") from error
    if not found:
        return None
    if missing := sorted(wanted - {CIFAR_META} - found.keys()):
        raise UserError(f"{path}: CIFAR-10 without {', '.join(missing)}; download it again")
    return found


def read_cifar(
    members: dict[str, bytes], where: str
) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], tuple[str, ...]]:
    """Decodes what `cifar_members` found; `where` is named in errors.

    Returns:
      For "train" and "test": images uint8 `[N, 32, 32, 3]` and labels int32 `[N]`; and the class names.

    Raises:
      UserError: a file asks for anything but plain containers and uint8 arrays, or has other shapes.
    """
    splits = {}
    for split, names in CIFAR_SPLITS.items():
        batches = [_cifar_batch(members[name], f"{where}: {name}") for name in names]
        splits[split] = tuple(np.concatenate(part) for part in zip(*batches, strict=True))
    if CIFAR_META in members:
        meta = load_plain_pickle(members[CIFAR_META], f"{where}: {CIFAR_META}")
        class_names = tuple(_text(name) for name in _entry(meta, "label_names", f"{where}: {CIFAR_META}"))
    else:
        class_names = tuple(str(i) for i in range(10))
    return splits, class_names


def load_plain_pickle(data: bytes, where: str) -> object:
    """Unpickles plain containers and uint8 arrays, and nothing else: no function named in the file is ever called.

    Raises:
      UserError: the pickle names any other class or function, or is broken.
    """
    try:
        return _PlainUnpickler(io.BytesIO(data), encoding="bytes").load()
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
    except Exception as error:  # a broken pickle can raise nearly anything
        raise UserError(f"{where}: not a readable pickle ({error}); download it again") from error


class _Array:
    """Stands in for numpy's array while unpickling, so that numpy itself runs no code on a stranger's wish."""

    def __init__(self, *unused):
        self.array = None

    def __setstate__(self, state):
        _, shape, dtype, fortran_order, data = state
        if not isinstance(dtype, _DType) or dtype.name not in (b"u1", "u1"):
            raise UserError("holds an array that is not uint8; download it again")
        data = data.encode("latin1") if isinstance(data, str) else data
        self.array = np.frombuffer(data, np.uint8).reshape(shape, order="F" if fortran_order else "C")


class _DType:
    def __init__(self, name, *unused):
        self.name = name

    def __setstate__(self, state):
        pass


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str):
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "_reconstruct":
            return _Array
        if module == "numpy" and name in ("ndarray", "dtype"):
            return {"ndarray": _Array, "dtype": _DType}[name]
        if module == "_codecs" and name == "encode":  # how Python 3 writes bytes in protocol 2
            return _encode_latin1
        raise UserError(f"asks for {module}.{name}, which is neither data nor an array; refused")


def _encode_latin1(text, encoding=None):
    return text.encode("latin1") if isinstance(text, str) else bytes(text)


def _cifar_batch(data: bytes, where: str) -> tuple[np.ndarray, np.ndarray]:
    """One batch file to images uint8 `[N, 32, 32, 3]` and labels int32 `[N]`."""
    batch = load_plain_pickle(data, where)
    pixels, labels = _entry(batch, "data", where), _entry(batch, "labels", where)
    pixels = pixels.array if isinstance(pixels, _Array) else None
    plain_labels = isinstance(labels, list) and all(type(label) is int for label in labels)
    if pixels is None or not plain_labels or pixels.shape != (len(labels), 3072):
        raise UserError(f"{where}: not a CIFAR-10 batch ([N, 3072] pixels and N labels); download it again")
    return pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), np.array(labels, np.int32)


def _entry(mapping: object, key: str, where: str):
    """`mapping[key]`, whichever of text and bytes the file's Python wrote as keys."""
    if isinstance(mapping, dict):
        for candidate in (key, key.encode()):
            if candidate in mapping:
                return mapping[candidate]
    raise UserError(f"{where}: no entry {key!r}; download it again")


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
