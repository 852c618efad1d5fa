"""How large a network may be that a file asks for: what it says is compared with this before anything is made of it.

Shapes are compared with the file's tensors later, and to know them a network is traced layer by layer, which takes for
ever where a few bytes ask for a million layers.
"""

from collections.abc import Mapping
from typing import Any

from jaxgan.errors import UserError, shown
from jaxgan.networks.build import stable_level

LARGEST = {
    "resolution": 4096,
    "channels": 4,
    "num_classes": 32_768,
    "z_dim": 16_384,
    "w_dim": 16_384,
    "shared_dim": 16_384,
    "mapping_layers": 64,
    "channel_base": 1 << 26,
    "channel_max": 16_384,
    "width": 4096,
    "sel_hidden": 4096,
    "heatmap_features": 4096,
    "kernel": 64,
    "mbstd_group": 4096,
    "low_precision_levels": 64,
}
_WIDEST_BASE = 64  # of base_shape


def check(model: Mapping[str, Any], where: Any) -> None:
    """Compares a model config with `LARGEST`.

    Raises:
        UserError: a size is no integer from 0 to that; `where` says what asks for it.
    """
    for field, largest in LARGEST.items():
        _check(model.get(field, 0), largest, f"{where} has {field}")
    for side in model["base_shape"]:
        _check(side, _WIDEST_BASE, f"{where} has a side of base_shape")


def check_layers(count: int, where: str) -> None:
    """Raises UserError where so many layers, each of which doubles the resolution from 4 px, make too large images."""
    most = (LARGEST["resolution"] // 4).bit_length() - 1
    if count > most + 1:
        raise UserError(f"{where} doubles 4 px {count} times; images of up to {LARGEST['resolution']} px are known")


def check_level(level: int, resolution: int, where: str) -> None:
    """Raises UserError for a level of a growing network that its resolution does not have."""
    _check(level, stable_level(resolution), f"{where} has level")


def _check(value: Any, largest: int, what: str) -> None:
    if type(value) is not int or not 0 <= value <= largest:
        raise UserError(f"{what} {shown(value)}; whole numbers from 0 to {largest} are known")
