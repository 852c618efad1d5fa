"""Files that torch wrote, read without torch; and files that want more than that, refused."""

import contextlib
import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from jaxgan.errors import UserError
from jaxgan.weights import torch_file
from jaxgan.weights.pickle_machine import Refused
from jaxgan.weights.unpickle import LazyTensor, Storage, Unpickler

FILES = [Path(__file__).parent.parent / "data" / "weights" / f"{kind}_layout.pth" for kind in ("zip", "stream")]


@pytest.fixture(params=FILES, ids=lambda p: p.stem)
def file(request) -> Path:
    return request.param


def test_every_kind_of_tensor(file):
    state = torch_file.state_dict(file)
    shared = np.arange(12, dtype=np.float32)
    expected = {
        "conv.weight": (np.arange(24, dtype=np.float32) / 7).astype(np.float32).reshape(2, 3, 2, 2),
        "transposed": np.arange(6, dtype=np.float64).reshape(2, 3).T,
        "shared.first": shared[:5],
        "shared.rest": shared[5:].reshape(7, 1),
        "half": np.array([1.5, -2.25], np.float16),
        "count": np.array(7),
        "mask": np.array([True, False]),
        "empty": np.zeros((0, 4), np.float32),
    }
    assert state.keys() == expected.keys() | {"brain"}
    for name, value in expected.items():
        np.testing.assert_array_equal(state[name], value, err_msg=name)
        assert state[name].dtype == value.dtype, name
    np.testing.assert_array_equal(state["brain"].astype(np.float32), [1.5, -2.25])
    assert torch_file.read(file)["epoch"] == 3


def test_a_file_cut_short(file, tmp_path):
    data = file.read_bytes()
    for keep in (0, 1, 100, len(data) // 2, len(data) - 1):
        cut = tmp_path / f"{keep}.pth"
        cut.write_bytes(data[:keep])
        with pytest.raises(UserError, match=rf"{keep}\.pth: (cut short|refused)"):
            torch_file.read(cut)


def test_a_damaged_byte_is_noticed_or_harmless(file, tmp_path):
    """Whatever byte is flipped: a whole answer or one clear error, and never anything executed."""
    data = bytearray(file.read_bytes())
    rng = np.random.default_rng(0)
    for i in rng.integers(0, len(data), 300):
        damaged = bytes(data[:i]) + bytes([data[i] ^ (1 << int(rng.integers(8)))]) + bytes(data[i + 1 :])
        path = tmp_path / "damaged.pth"
        path.write_bytes(damaged)
        with contextlib.suppress(UserError):  # any other exception fails the test
            torch_file.read(path)


class _Executes:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("wrap", ["plain", "zip"])
def test_nothing_is_executed(tmp_path, wrap):
    target = tmp_path / "executed"
    payload = pickle.dumps({"a": _Executes(os.mkdir, str(target))})
    path = tmp_path / "evil.pth"
    if wrap == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", payload)
    else:
        path.write_bytes(payload)
    with pytest.raises(UserError, match=r"evil\.pth: refused, it asks for \w+.mkdir"):
        torch_file.read(path)
    assert not target.exists()


@pytest.mark.parametrize("name", [("builtins", "eval"), ("torch", "load"), ("numpy", "load"), ("os", "system")])
def test_names_that_are_refused(name):
    with pytest.raises(Refused, match=f"{name[0]}.{name[1]}"):
        Unpickler(0).machine(memoryview(b"c%b\n%b\n." % tuple(n.encode() for n in name))).load()


@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [
        (0, (13,), (1,)),
        (9, (2, 2), (2, 1)),
        (-1, (2,), (1,)),
        (0, (2,), (-1,)),
        (0, (10**12,), (0,)),
        (0, (2,), (1, 1)),
    ],
)
def test_a_view_outside_its_storage(offset, shape, strides):
    storage = Storage("0", np.dtype("<f4"), 12, np.zeros(12, np.float32))
    with pytest.raises(Refused):
        LazyTensor(storage, offset, shape, strides).array()


def test_pickled_numpy_arrays(tmp_path):
    path = tmp_path / "arrays.pkl"
    value = {"a": [np.arange(6, dtype=np.float32).reshape(2, 3), np.asfortranarray(np.eye(3)[:, :2])], "b": 1}
    path.write_bytes(pickle.dumps(value, protocol=2))
    found = torch_file.read(path)
    np.testing.assert_array_equal(found["a"][0], value["a"][0])
    np.testing.assert_array_equal(found["a"][1], value["a"][1])
    path.write_bytes(pickle.dumps(np.array([{}], dtype=object)))
    with pytest.raises(UserError, match="refused"):
        torch_file.read(path)


@pytest.mark.parametrize("data", [pickle.dumps({"a": 1}, protocol=0), b"no weights\n"], ids=["protocol 0", "text"])
def test_text_is_no_weights_file(tmp_path, data):
    (tmp_path / "a.pkl").write_bytes(data)
    with pytest.raises(UserError, match=r"a\.pkl: refused, neither a torch file .* give a file of plain tensors"):
        torch_file.read(tmp_path / "a.pkl")


def test_no_file_and_no_state_dict(tmp_path):
    with pytest.raises(UserError, match=r"nothing\.pth: cannot be read"):
        torch_file.read(tmp_path / "nothing.pth")
    path = tmp_path / "list.pth"
    path.write_bytes(pickle.dumps(OrderedDict(a=1)))
    with pytest.raises(UserError, match="holds no state dict"):
        torch_file.state_dict(path)
