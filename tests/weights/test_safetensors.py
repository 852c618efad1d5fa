"""The safetensors format: written and read here, read by the published package, damaged files refused."""

import json
import struct

import ml_dtypes
import numpy as np
import pytest

from jaxgan.errors import UserError
from jaxgan.weights import safetensors

TENSORS = {
    "a/weight": np.linspace(-3, 3, 12, dtype=np.float32).reshape(3, 4),
    "half": np.array([1.5, -2.25], np.float16),
    "brain": np.array([1.5, -2.25], ml_dtypes.bfloat16),
    "mask": np.array([True, False, True]),
    "count": np.array(7),
    "empty": np.zeros((0, 4), np.float32),
}


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(safetensors.encode(TENSORS, {"about": "äöü"}))
    found, metadata = safetensors.read(path)
    assert metadata == {"about": "äöü"}
    assert found.keys() == TENSORS.keys()
    for name, value in TENSORS.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
        assert (found[name].dtype, found[name].shape) == (value.dtype, value.shape)


def test_the_published_package_agrees(tmp_path):
    published = pytest.importorskip("safetensors.numpy")
    plain = {name: value for name, value in TENSORS.items() if name != "brain"}
    theirs = published.load(safetensors.encode(plain, {"about": "x"}))
    (tmp_path / "theirs.safetensors").write_bytes(published.save(plain))
    ours, _ = safetensors.read(tmp_path / "theirs.safetensors")
    for name, value in plain.items():
        np.testing.assert_array_equal(theirs[name], value, err_msg=name)
        np.testing.assert_array_equal(ours[name], value, err_msg=name)


def file(entries, numbers=b"\0" * 8):
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text + numbers


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"a": {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff" * 8 + b"{}",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 100_000) + b"[" * 100_000,
        file(entry(offsets=(0, 16))),
        file(entry(offsets=(4, 12), shape=(2,))),
        file(entry(shape=(10**9, 10**9, 10**9))),
        file(entry(shape=(-1, -2))),
        file(entry(shape=(2.0,))),
        file(entry(dtype="object")),
        file(entry() | {"b": entry()["a"]}),
        file(entry(), b"\0" * 9),
        file({"a": 3}),
        file({"__metadata__": 3} | entry()),
    ],
)
def test_damaged_files_are_refused(tmp_path, data):
    path = tmp_path / "damaged.safetensors"
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"damaged\.safetensors is no safetensors file, or is damaged"):
        safetensors.read(path)
