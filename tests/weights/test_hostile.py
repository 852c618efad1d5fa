"""Files made to do harm: each is refused with its reason, before memory or time is spent on it."""

import contextlib
import itertools
import os
import pickle
import struct
import sys
import time
import tracemalloc
import zipfile

import numpy as np
import pytest

from jaxgan.errors import UserError
from jaxgan.experiment import export
from jaxgan.interchange import archive, gan_zoo, nvidia, own, rosinality
from jaxgan.interchange.read import open_file
from jaxgan.interchange.tensors import Tensors
from jaxgan.weights import safetensors, torch_file, torch_writer
from jaxgan.weights.pickle_writer import Call, Global, Persistent, dumps
from jaxgan.weights.unpickle import Object
from tests.interchange import layouts
from tests.interchange.test_gan_zoo import checkpoint
from tests.interchange.test_stylegan2_files import W_AVG, tiny_model
from tests.interchange.test_torch_dcgan import pair

_EVENTS = ("os.system", "os.exec", "os.remove", "os.mkdir", "subprocess.Popen", "pickle.find_class", "socket.connect")
_seen: list[str] | None = None


def _watch(event, _):
    if _seen is not None and event in _EVENTS:
        _seen.append(event)


sys.addaudithook(_watch)  # there is no way to take one off again; it records only inside `watched`


@contextlib.contextmanager
def watched():
    """Fails where something is executed in the block."""
    global _seen
    _seen = []
    try:
        yield
        assert _seen == []
    finally:
        _seen = None


def refused(tmp_path, data: bytes, match: str) -> None:
    """The file is refused in one line, within 128 MB and half a minute of a processor's time."""
    path = tmp_path / "hostile.pkl"
    path.write_bytes(data)
    start = time.process_time()
    tracemalloc.start()
    try:
        with watched(), pytest.raises(UserError, match=match) as error:
            open_file(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert "hostile.pkl" in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 600
    assert peak < 128e6
    assert time.process_time() - start < 30


HARMFUL = [("os", "system"), ("posix", "system"), ("builtins", "eval"), ("builtins", "getattr"), ("jaxgan.cli", "main")]


@pytest.mark.parametrize("name", HARMFUL, ids=".".join)
@pytest.mark.parametrize("wrap", ["plain", "zip", "stream", "inside a module", "nested file"])
def test_a_function_outside_the_list(tmp_path, name, wrap):
    call = Call(Global(*name), (f"touch {tmp_path / 'executed'}",))
    data = {
        "plain": lambda: dumps({"G_ema": call}),
        "zip": lambda: layouts.zipped(dumps({"g_ema": call})),
        "stream": lambda: dumps(torch_file._MAGIC) + dumps(1001) + dumps({}) + dumps(call) + dumps([]),
        "inside a module": lambda: dumps(
            {"G_ema": layouts.module({"a": np.ones(1)}, {"": {"x": call}}, "Generator")}, 3
        ),
        "nested file": lambda: dumps({"G": Call(Global("torch.storage", "_load_from_bytes"), (dumps(call),))}, 3),
    }[wrap]()
    refused(tmp_path, data, rf"refused, it asks for {name[0]}\.{name[1]}, which is no tensor")
    assert not (tmp_path / "executed").exists()


def raw(*parts: bytes) -> bytes:
    return b"".join([pickle.PROTO, b"\x04", *parts, pickle.STOP])


def text(value: str) -> bytes:
    return pickle.BINUNICODE + struct.pack("<I", len(value)) + value.encode()


def put(index: int) -> bytes:
    return pickle.LONG_BINPUT + struct.pack("<I", index)


def get(index: int) -> bytes:
    return pickle.LONG_BINGET + struct.pack("<I", index)


def doubled(kind: bytes, levels: int = 100) -> bytes:
    """Containers that hold the one before twice: 2^levels of them to whoever walks in."""
    made = kind + put(0) + pickle.POP
    for level in range(levels):
        whole = pickle.LIST if kind == b"]" else pickle.TUPLE
        made += pickle.MARK + get(level) + get(level) + whole + put(level + 1) + pickle.POP
    return made + get(levels)


def copies(function: Global) -> bytes:
    """A list of 100,000 pairs, given to a function 10,000 times."""
    pairs = b"".join(pickle.BININT + struct.pack("<i", i) + b"N" + pickle.TUPLE2 for i in range(100_000))
    program = pickle.MARK + pairs + pickle.LIST + put(0) + pickle.MARK
    once = pickle.GLOBAL + f"{function.module}\n{function.name}\n".encode() + get(0) + pickle.TUPLE1 + pickle.REDUCE
    return raw(program, once * 10_000, pickle.LIST)


def storage(size: int) -> Persistent:
    return Persistent(("storage", Global("torch", "FloatStorage"), "0", "cpu", size))


def view(size: int, shape: tuple, strides: tuple, offset: int = 0) -> bytes:
    call = Call(Global("torch._utils", "_rebuild_tensor_v2"), (storage(size), offset, shape, strides, False, {}))
    return dumps({"g_ema": call})


def array(shape: tuple, dtype: str = "<f4", data: bytes = b"1234") -> bytes:
    return dumps({"G": Call(Global("numpy", "ndarray"), (shape, dtype, data, 0, None, "C"))}, 3)


BOMBS = {
    "a pickle of protocol 0": (b"(S'touch x'\nios\nsystem\n.", "nor a pickle of protocol 2 or later"),
    "instructions of protocol 0": (raw(b"(S'touch x'\nios\nsystem\n"), "pickle instruction"),
    "an extension registered elsewhere": (raw(pickle.EXT1 + b"\x01"), "pickle instruction"),
    "bytes of 2^62": (raw(pickle.BINBYTES8 + struct.pack("<Q", 1 << 62)), "4611686018427387904 bytes are announced"),
    "an integer of 2 GB": (raw(pickle.LONG4 + struct.pack("<i", 2**31 - 1)), "an integer of"),
    "a place in the memo at 2^32": (raw(b"N" + put(2**32 - 1) + b"0" + text("x")), "a str"),
    "lists that double": (raw(doubled(b"]")), "a list"),
    "tuples that double, as a key": (raw(b"}" + doubled(b")") + b"Ns"), "a key that is a tuple"),
    "long integers of one hash as keys": (
        raw(b"}" + pickle.LONG1 + b"\x10" + (2**61 - 1 << 32).to_bytes(16, "little") + b"Ns"),
        "a key that is a int",
    ),
    "lists in lists": (raw(b"]" * 90_000 + b"a" * 89_999), "nested more than 200 deep"),
    "a list in itself": (raw(b"]" + put(0) + get(0) + b"a"), "hold themselves"),
    "a million marks": (raw(b"(" * 1_000_000), "nested more than 1000 deep"),
    "two million instructions": (raw(b"N0" * 1_000_000 + b"N"), "more than 1,000,000 pickle instructions"),
    "copies of dicts": (copies(Global("collections", "OrderedDict")), "over and over"),
    "copies of tuples": (copies(Global("torch", "Size")), "over and over"),
    "a storage that is not there": (layouts.zipped(view(1 << 40, (1 << 40,), (1,))), "damaged"),
    "a storage larger than its bytes": (layouts.zipped(view(1 << 40, (1,), (1,)), {"0": b"1234"}), "has not the"),
    "a view of 2^40 numbers": (layouts.zipped(view(1, (1 << 40,), (0,)), {"0": b"1234"}), "beyond its storage"),
    "a view before its storage": (layouts.zipped(view(1, (1,), (1,), -1), {"0": b"1234"}), "no sizes"),
    "a view of many dimensions": (layouts.zipped(view(1, (1,) * 1000, (0,) * 1000), {"0": b"1234"}), "1000 dimensions"),
    "an array of 2^50 numbers": (array((1 << 50,)), "in 4 bytes"),
    "an array of a negative size": (array((-1, -1)), "no sizes"),
    "an array of objects": (array((1,), "|O"), "other things than numbers"),
    "an array of arrays": (array((1,), "(1000000000,)f8"), "other things than numbers"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs(tmp_path, name):
    data, reason = BOMBS[name]
    refused(tmp_path, data, reason)


def test_a_zip_bomb(tmp_path):
    data = {"0": bytes(100_000_000)}
    refused(
        tmp_path, layouts.zipped(view(25_000_000, (1,), (1,)), data, zipfile.ZIP_DEFLATED), "it claims to hold 100,"
    )


def test_one_state_for_many_objects_is_not_copied(tmp_path):
    keys = b"".join(text(f"{i:06}") + b"N" for i in range(20_000))
    once = pickle.GLOBAL + b"argparse\nNamespace\n" + pickle.EMPTY_TUPLE + pickle.REDUCE + get(0) + pickle.BUILD
    state = pickle.EMPTY_DICT + pickle.MARK + keys + pickle.SETITEMS + put(0)
    refused(tmp_path, raw(pickle.MARK, state, once * 20_000, pickle.LIST), "holds a list")
    new = pickle.GLOBAL + b"argparse\nNamespace\n" + pickle.EMPTY_TUPLE + pickle.REDUCE
    build = pickle.EMPTY_DICT + text("a") + b"N" + pickle.SETITEM + pickle.BUILD
    refused(tmp_path, raw(new, build * 2), "comes twice")


def without_end():
    """A list that holds one list twice, which holds ...: 2^100 of them in a few hundred bytes."""
    value = []
    for _ in range(100):
        value = [value, value]
    return value


@pytest.mark.parametrize("setting", ["alpha", "lossCriterion"])
def test_a_setting_without_end_is_not_printed(setting):
    with pytest.raises(UserError, match=f"config has {setting}=a list"):
        gan_zoo.read(checkpoint(**{setting: without_end()}), "file")


def test_an_activation_without_end_is_not_printed():
    layer = Object("Layer", {"activation": without_end(), "_modules": {}})
    network = Object("Generator", {"_modules": {"c": layer}, "_parameters": {"synthesis.b4.const": np.ones(1)}})
    with pytest.raises(UserError, match="the activation a list"):
        nvidia.read({"G_ema": network}, "file")


def test_names_of_modules_that_grow(tmp_path):
    inner = Object("Layer", {"_modules": {}})
    for _ in range(30):
        inner = Object("Layer", {"_modules": {"n" * 100: inner}})
    with pytest.raises(ValueError, match="more than 500 letters"):
        nvidia.tensors(inner)
    names = ".".join(["n" * 100] * 20)
    data = dumps({"G_ema": layouts.module({names: np.ones(1)}, {}, "Generator")}, 3)
    refused(tmp_path, data, "StyleGAN2-ADA-PyTorch and is damaged|EqGAN-SA and is damaged")


def test_names_of_networks_that_grow(tmp_path):
    """Of the TensorFlow kind."""
    settings = {"version": 4, "static_kwargs": {}, "variables": [], "components": {}}
    inner = settings
    for _ in range(10):
        inner = settings | {"components": {"n" * 100: Call(Global("dnnlib.tflib.network", "Network"), (), inner)}}
    networks = (Call(Global("dnnlib.tflib.network", "Network"), (), inner),) * 3
    refused(tmp_path, dumps(networks, 3), "a name of more than 500 letters")


def test_a_file_in_a_file_that_is_read_many_times(tmp_path):
    """Each reading would make another text of a million letters."""
    parts = [dumps(torch_file._MAGIC), dumps(1001), dumps({}), raw(text("x" * 1_000_000)), dumps([])]
    inner = b"".join(parts)
    kept = pickle.BINBYTES + struct.pack("<I", len(inner)) + inner + put(0) + pickle.POP
    once = pickle.GLOBAL + b"torch.storage\n_load_from_bytes\n" + get(0) + pickle.TUPLE1 + pickle.REDUCE
    refused(tmp_path, raw(kept, pickle.MARK, once * 1000, pickle.LIST), "over and over")


def test_names_of_storages_that_double(tmp_path):
    """To look one up would be to hash 2^100 tuples."""
    data = dumps(torch_file._MAGIC) + dumps(1001) + dumps({}) + dumps(None) + raw(b"]", doubled(b")"), b"a")
    refused(tmp_path, data, "a storage whose key is no text")


def test_folders_in_folders_of_our_own_files(tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(safetensors.encode({"/" * 100_000: np.ones(1)}, {"about": '{"format":1}'}))
    with pytest.raises(UserError, match=r"a\.safetensors.* lies in 100,000 folders"):
        archive.read(path)


def test_many_tensors_of_the_same_numbers(tmp_path):
    numbers = np.zeros(1 << 22, np.float32)
    rebuild = Global("torch._utils", "_rebuild_tensor_v2")
    shared = Persistent(("storage", Global("torch", "FloatStorage"), "0", "cpu", numbers.size))
    tree = {f"a{i}": Call(rebuild, (shared, 0, (1 << 11, 1 << 11), (1 << 11, 1), False, {})) for i in range(40)}
    data = layouts.zipped(dumps({"g_ema": tree}), {"0": numbers.tobytes()})
    refused(tmp_path, data, "the same numbers over and over")


def test_whole_numbers_are_no_weights():
    tensors = Tensors("file", {"weight": np.zeros((2, 2), np.uint8), "count": np.int64(3)})
    with pytest.raises(UserError, match="weight holds uint8 where weights are expected"):
        tensors.take("weight", (2, 2), "ours")
    assert tensors.take("count", (), "ours") == 3


def test_a_long_message_keeps_its_fix():
    said = str(UserError(f"file: {'x' * 100_000}; fetch it again"))
    assert len(said) < 2100
    assert said.startswith("file: xxx")
    assert said.endswith("xxx; fetch it again")


@pytest.mark.parametrize("layers", [13, 200])
def test_more_layers_than_any_image_needs(layers):
    states = checkpoint((1,) * layers)
    with pytest.raises(UserError, match=f"doubles 4 px {layers - 1} times"):
        gan_zoo.read(states, "file")


def test_a_list_of_a_million_entries(tmp_path):
    """The end of a zip says how long its list is; what it says is believed before the list is read."""
    whole = layouts.zipped(dumps({"a": 1}))
    at = whole.rfind(b"PK\x05\x06") + 12
    refused(
        tmp_path, whole[:at] + struct.pack("<I", 47_000_000) + whole[at + 4 :], "its list of entries has 47,000,000"
    )


def test_what_a_file_says_cannot_move_the_cursor(tmp_path):
    name = pickle.STACK_GLOBAL
    refused(tmp_path, raw(text("os\n\x1b[2Jall is well"), text("system"), name), r"os\\n\\x1b\[2Jall is well.system")


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A small file of each kind of layout."""
    folder = tmp_path_factory.mktemp("published")
    model = tiny_model(resolution=8, channels=3, channel_base=64, channel_max=8)
    variables = model.variables
    networks = layouts.nvidia_networks(model.config.model, variables["generator"], variables["discriminator"], W_AVG)
    layouts.nvidia(folder / "nvidia", networks[0], None, networks[1])
    nvidia.write(model, folder / "tensorflow")
    layout = rosinality.discriminator_layout(8)
    tree = {
        "g_ema": rosinality._state(rosinality.official(variables["generator"]), rosinality.GENERATOR),
        "d": rosinality._state(rosinality.official(variables["discriminator"]), layout),
        "latent_avg": W_AVG,
    }
    (folder / "rosinality").write_bytes(torch_writer.encode(tree))
    (folder / "gan_zoo").write_bytes(torch_writer.encode({k: v for k, v in checkpoint().items() if k != "config"}))
    (folder / "torch_dcgan").write_bytes(torch_writer.encode(pair()))
    for suffix in archive.SUFFIXES:
        export(model, folder / f"own{suffix}", {})
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """Cut short, or with some bytes changed, most of them among the instructions and not the numbers."""
    if rng.random() < 0.25:
        return data[: rng.integers(len(data))]
    changed = bytearray(data)
    for _ in range(rng.integers(1, 4)):
        near = rng.random() < 0.5
        at = int(rng.integers(min(len(data), 4000) if near else len(data)))
        changed[at] = int(rng.integers(256))
    return bytes(changed)


def test_500_damaged_files(tmp_path, published):
    """A whole answer or one line, whatever is damaged; any other exception fails, and so does anything executed."""
    rng = np.random.default_rng(0)
    opened, lines = dict.fromkeys(published, 0), []
    with watched():
        for name in itertools.islice(itertools.cycle(published), 500):
            path = tmp_path / name
            path.write_bytes(damaged(published[name], rng))
            start = time.process_time()
            try:
                (own.read if path.suffix else open_file)(path)
                opened[name] += 1
            except UserError as error:
                lines.append((str(path), str(error)))
            assert time.process_time() - start < 10, name
    assert len(published) == 7
    assert all("\n" not in line and path in line for path, line in lines)
    assert 0 < sum(opened.values()) < 300, opened
    assert sorted(os.listdir(tmp_path)) == sorted(published)
