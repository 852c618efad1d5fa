"""Files in the layouts that other projects publish, built without those projects: what the readers are tested on."""

import io
import math
import struct
from pathlib import Path
from typing import Any

import numpy as np

from jaxgan.interchange.official import FILTER, W_AVG, official
from jaxgan.weights.pickle_writer import Call, Global, Persistent, dumps
from jaxgan.weights.torch_file import _MAGIC

_ORDERED = Global("collections", "OrderedDict")


def torch_stream(array: np.ndarray) -> bytes:
    """What `torch.save(storage, _use_new_zipfile_serialization=False)` writes for a float32 storage."""
    facts = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    storage = Persistent(("storage", Global("torch", "FloatStorage"), "94", "cpu", array.size, None))
    parts = [dumps(_MAGIC), dumps(1001), dumps(facts), dumps(storage), dumps(["94"])]
    return b"".join([*parts, struct.pack("<q", array.size), array.astype("<f4").tobytes()])


def tensor(array: np.ndarray, parameter: bool = False) -> Call:
    """A tensor inside an NVIDIA pickle."""
    array = np.asarray(array, np.float32)
    storage = Call(Global("torch.storage", "_load_from_bytes"), (torch_stream(array),))
    strides = tuple(math.prod(array.shape[i + 1 :]) for i in range(array.ndim))
    rebuilt = Call(
        Global("torch._utils", "_rebuild_tensor_v2"), (storage, 0, array.shape, strides, False, Call(_ORDERED))
    )
    return Call(Global("torch._utils", "_rebuild_parameter"), (rebuilt, True, Call(_ORDERED))) if parameter else rebuilt


def module(tensors: dict[str, Any], attributes: dict[str, dict[str, Any]], kind: str, prefix: str = "") -> Call:
    """A persistent module with all that is in it; `attributes` by dotted name of the module."""
    parts: dict[str, dict[str, Any]] = {}
    parameters, buffers = {}, {}
    for name, value in tensors.items():
        head, _, rest = name.partition(".")
        if rest:
            parts.setdefault(head, {})[rest] = value
        elif head in ("w_avg", "noise_const", "resample_filter"):
            buffers[head] = tensor(value)
        else:
            parameters[head] = tensor(value, parameter=True)
    inner = {key: module(part, attributes, key, f"{prefix}{key}.") for key, part in parts.items()}
    state = {"training": False, "_parameters": parameters, "_buffers": buffers, "_modules": inner}
    state |= attributes.get(prefix.removesuffix("."), {})
    meta = {
        "type": "class",
        "version": 6,
        "module_src": "raise SystemExit('executed')",
        "class_name": kind,
        "state": state,
    }
    return Call(Global("torch_utils.persistence", "_reconstruct_persistent_obj"), (meta,))


def nvidia_networks(model: dict[str, Any], generator: Any, discriminator: Any, w_avg: np.ndarray) -> tuple[Call, Call]:
    """(generator, discriminator) as persistent modules."""
    g, d = official(generator) | {W_AVG: w_avg}, official(discriminator)
    blocks = {name.split(".")[1] for name in g if name.startswith("synthesis.b")}
    g |= {f"synthesis.{block}.resample_filter": FILTER for block in blocks}
    attributes: dict[str, dict[str, Any]] = {
        f"synthesis.{block}": {"architecture": "skip", "num_torgb": 1, "use_fp16": False} for block in blocks
    }
    attributes |= {f"mapping.fc{i}": {"activation": "lrelu", "bias_gain": 0.01} for i in range(model["mapping_layers"])}
    attributes["synthesis.b4.conv1"] = {"conv_clamp": model["conv_clamp"] or None, "activation": "lrelu"}
    judge = module(d, {}, "Discriminator")
    epilogue = judge.arguments[0]["state"]["_modules"]["b4"].arguments[0]["state"]["_modules"]
    epilogue["mbstd"] = module({}, {"": {"group_size": model["mbstd_group"], "num_channels": 1}}, "MinibatchStdLayer")
    return module(g, attributes, "Generator"), judge


def nvidia(path: Path, ema: Call, raw: Call | None, discriminator: Call | None) -> Path:
    """A snapshot of StyleGAN2-ADA-PyTorch."""
    data = {"G": raw, "D": discriminator, "G_ema": ema, "training_set_kwargs": None, "augment_pipe": None}
    path.write_bytes(dumps(data, protocol=3))
    return path


def zipped(program: bytes, storages: dict[str, bytes] | None = None, compression: int = 0) -> bytes:
    """torch's zip layout around a pickle."""
    import zipfile

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        archive.writestr("archive/data.pkl", program)
        for key, data in (storages or {}).items():
            archive.writestr(f"archive/data/{key}", data)
    return buffer.getvalue()
