"""Reads the parity files: weights under the official names, turned into this library's trees."""

import ast
from pathlib import Path

import numpy as np

from jaxgan.interchange.official import to_ours

FOLDER = Path(__file__).parent / "data" / "parity"


def load(name: str) -> tuple[dict, dict[str, np.ndarray]]:
    """(config, arrays) of a parity file."""
    with np.load(FOLDER / f"{name}.npz") as f:
        arrays = dict(f)
    return ast.literal_eval(str(arrays.pop("config"))), arrays


def model_config(official: dict) -> dict:
    """The model part of a config for the architecture of a parity file."""
    names = ("resolution", "channels", "z_dim", "w_dim", "mapping_layers", "channel_base", "channel_max")
    return {k: official[k] for k in names} | {
        "architecture": "stylegan2",
        "num_classes": official["c_dim"],
        "d_architecture": official["d_architecture"],
        "mbstd_group": official["mbstd_group"],
        "conv_clamp": float(official["conv_clamp"]),
        "base_shape": (4, 4),
        "low_precision_levels": 0,
        "dtype": "float32",
    }


def variables(arrays: dict[str, np.ndarray], prefix: str) -> tuple[dict, np.ndarray | None]:
    """(variables, w_avg) of the network "G" or "D"."""
    tree: dict = {"params": {}, "buffers": {}}
    w_avg = None
    for name, value in arrays.items():
        if not name.startswith(f"{prefix}.") or name.endswith("resample_filter"):
            continue
        path = name.split(".")[1:]
        if path[-1] == "w_avg":
            w_avg = value
            continue
        node = tree["buffers" if path[-1] == "noise_const" else "params"]
        for part in path[:-1]:
            node = node.setdefault(part, {})
        node[path[-1]] = to_ours(name, value)
    return tree, w_avg


def contiguous(batch: int, group: int) -> np.ndarray:
    """The order of rows that makes the official strided minibatch-deviation groups contiguous."""
    group = min(group, batch)
    return np.arange(batch).reshape(group, batch // group).T.reshape(-1)
