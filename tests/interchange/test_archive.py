"""The file of a trained pair of networks: what goes in comes out, and what is wrong with it is said by name."""

import contextlib
import io
import json
import zipfile

import jax
import numpy as np
import pytest

from jaxgan.errors import UserError
from jaxgan.interchange import archive
from jaxgan.weights import safetensors

TREE = {
    "generator": {"params": {"dense": {"kernel": np.linspace(-3, 3, 12, dtype=np.float32).reshape(3, 4)}}},
    "w_avg": np.ones(2, np.float32),
    "count": np.arange(3, dtype=np.int32),
}
SHAPES = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), TREE)


@pytest.fixture(params=archive.SUFFIXES)
def path(request, tmp_path):
    return tmp_path / f"a{request.param}"


def stored(path):
    """The arrays of a file as they lie there."""
    if path.suffix == ".safetensors":
        return safetensors.read(path)[0]
    with np.load(path) as file:
        return dict(file)


def test_what_is_saved_is_read(path):
    archive.save(path, TREE, {"card": {"data": "none"}})
    tree, about = archive.read(path)
    assert about["card"] == {"data": "none"}
    jax.tree.map(np.testing.assert_array_equal, tree, TREE)
    jax.tree.map(np.testing.assert_array_equal, archive.fitted(tree, SHAPES, "a"), TREE)


def test_half_precision_is_kept_where_it_has_a_place(path):
    large = TREE | {"large": np.array([1e6, 1e-3], np.float32)}
    archive.save(path, large, {}, half=True)
    kinds = {name: array.dtype for name, array in stored(path).items()}
    assert kinds["w_avg"] == np.float16
    assert kinds["large"] == np.float32
    assert kinds["count"] == np.int32
    tree, _ = archive.read(path)
    kernel = tree["generator"]["params"]["dense"]["kernel"]
    assert kernel.dtype == np.float32
    np.testing.assert_allclose(kernel, TREE["generator"]["params"]["dense"]["kernel"], rtol=2**-11)
    np.testing.assert_array_equal(tree["large"], large["large"])


def test_empty_parts_of_a_network_come_back():
    shapes = {"params": SHAPES["generator"], "buffers": {}}
    assert archive.fitted({"params": TREE["generator"]}, shapes, "a")["buffers"] == {}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"w_avg": np.ones(3, np.float32)}, r"w_avg has shape \(3,\) where the network has \(2,\)"),
        ({"more": np.ones(1)}, "holds more"),
    ],
)
def test_what_does_not_fit_is_named(change, text):
    with pytest.raises(UserError, match=text):
        archive.fitted(TREE | change, SHAPES, "a.npz")
    with pytest.raises(UserError, match="lacks w_avg"):
        archive.fitted({k: v for k, v in TREE.items() if k != "w_avg"}, SHAPES, "a.npz")


def test_other_files_are_refused_and_never_executed(tmp_path):
    (tmp_path / "text.npz").write_text("no archive")
    np.savez(tmp_path / "other.npz", x=np.ones(2))
    np.savez(tmp_path / "objects.npz", about=np.array([{"a": 1}], object))
    archive.save(tmp_path / "newer.npz", TREE, {"format": 99})
    (tmp_path / "text.safetensors").write_text("no archive")
    (tmp_path / "other.safetensors").write_bytes(safetensors.encode({"x": np.ones(2)}, {}))
    archive.save(tmp_path / "newer.safetensors", TREE, {"format": 99})
    for name in ("text", "other", "objects", "newer", "absent"):
        for suffix in archive.SUFFIXES:
            with pytest.raises(UserError, match=name):
                archive.read(tmp_path / f"{name}{suffix}")


def test_numbers_that_are_not_finite_are_not_exported(path, tmp_path):
    with pytest.raises(UserError, match="w_avg"):
        archive.save(path, TREE | {"w_avg": np.array([np.nan], np.float32)}, {})
    assert not list(tmp_path.iterdir())


def test_what_says_too_much_of_itself_is_refused(tmp_path):
    """JSON takes a hundred times its size of memory."""
    text = np.frombuffer(b'{"a": [' + b"{}," * (2 << 20) + b"0]}", np.uint8)
    np.savez_compressed(tmp_path / "long.npz", a=np.random.default_rng(0).standard_normal(50_000), about=text)
    with pytest.raises(UserError, match=r"says 6,291,\d+ bytes of itself"):
        archive.read(tmp_path / "long.npz")
    length = 5 << 20
    (tmp_path / "long.safetensors").write_bytes(length.to_bytes(8, "little") + b" " * length)
    with pytest.raises(UserError, match="a header of 5242880 bytes"):
        archive.read(tmp_path / "long.safetensors")


def test_no_regular_file(tmp_path):
    for suffix in archive.SUFFIXES:
        (tmp_path / f"zero{suffix}").symlink_to("/dev/zero")
        with pytest.raises(UserError, match="no regular file"):
            archive.read(tmp_path / f"zero{suffix}")


def test_what_claims_more_than_is_there_is_refused(tmp_path):
    """Before memory is spent: a bomb, a shape without bytes, a tensor that is a folder too, a file of another kind."""

    def says(name, **members):
        path = tmp_path / name
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            for member, data in members.items():
                file.writestr(f"{member}.npy", data)
        with pytest.raises(UserError, match="is no file of") as raised:
            archive.read(path)
        return str(raised.value)

    def header(shape):
        buffer = io.BytesIO()
        np.lib.format.write_array_header_1_0(buffer, {"descr": "<f4", "fortran_order": False, "shape": shape})
        return buffer.getvalue()

    def numbers(*shape):
        return header(shape) + np.zeros(shape, np.float32).tobytes()

    assert "claims to hold" in says("bomb.npz", a=header((1 << 27,)) + bytes(1 << 29))
    assert "claims the shape" in says("absurd.npz", a=header((1 << 45,)))
    about = np.frombuffer(json.dumps({"format": archive.FORMAT}).encode(), np.uint8)
    buffer = io.BytesIO()
    np.save(buffer, about)
    assert "is below a tensor" in says("both.npz", **{"a": numbers(1), "a/b": numbers(1), "about": buffer.getvalue()})
    buffer = io.BytesIO()
    np.save(buffer, np.frombuffer(b"[1]", np.uint8))
    assert "AttributeError" in says("list.npz", a=numbers(1), about=buffer.getvalue())


def test_damaged_files_are_refused_or_read(path):
    """200 of them: a line, or the same kind of thing."""
    archive.save(path, TREE, {})
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(200):
        data = bytearray(whole)
        for place in rng.integers(len(data), size=3):
            data[place] = rng.integers(256)
        path.write_bytes(data[: rng.integers(1, len(data) + 1)] if rng.random() < 0.3 else data)
        with contextlib.suppress(UserError):
            tree, about = archive.read(path)
            assert isinstance(tree, dict)
            assert about["format"] == archive.FORMAT
