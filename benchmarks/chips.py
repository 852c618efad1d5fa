"""What one device can do, as its maker states it."""

from typing import NamedTuple

import jax


class Chip(NamedTuple):
    """One device as JAX counts them. Units: FLOP/s, bytes, bytes/s."""

    bf16: float
    float32: float  # as run by default: TF32 on NVIDIA, bfloat16 products on TPU
    memory: float
    bandwidth: float
    links: float  # what it can send to its neighbours, one way, over all its links


# By device kind. TPUs: cloud.google.com/tpu/docs, whose interconnect figure counts both ways; TPU7x has two devices a
# chip. NVIDIA: the data sheets, dense; NVLink one way.
CHIPS = {
    "TPU v4": Chip(275e12, 275e12, 32e9, 1228e9, 150e9),
    "TPU v5 lite": Chip(197e12, 197e12, 16e9, 819e9, 200e9),
    "TPU v5": Chip(459e12, 459e12, 95e9, 2765e9, 600e9),
    "TPU v6 lite": Chip(918e12, 918e12, 32e9, 1638e9, 400e9),
    "TPU7x": Chip(1153.5e12, 1153.5e12, 96e9, 3690e9, 300e9),
    "NVIDIA H200": Chip(989e12, 494e12, 141e9, 4800e9, 450e9),
    "NVIDIA H100 80GB HBM3": Chip(989e12, 494e12, 80e9, 3350e9, 450e9),
    "NVIDIA A100-SXM4-80GB": Chip(312e12, 156e12, 80e9, 2039e9, 300e9),
    "NVIDIA A100-SXM4-40GB": Chip(312e12, 156e12, 40e9, 1555e9, 300e9),
    "Tesla V100-SXM2-16GB": Chip(125e12, 15.7e12, 16e9, 900e9, 150e9),
}
CHIPS["TPU v5p"] = CHIPS["TPU v5"]  # as some versions of JAX name it


def device() -> str:
    """The devices at hand, in words."""
    return f"{jax.device_count()} x {jax.devices()[0].device_kind}"


def share_of_peak(flops_per_second: float | None, dtype: str) -> float | None:
    """Of what all devices at hand can do in a dtype, "float32" or "bfloat16"; None where that is not known."""
    chip = CHIPS.get(jax.devices()[0].device_kind)
    if chip is None or flops_per_second is None:
        return None
    return flops_per_second / (jax.device_count() * (chip.float32 if dtype == "float32" else chip.bf16))


def share_of_bandwidth(bytes_per_second: float | None) -> float | None:
    """Of what the memories of all devices at hand can move; None where that is not known."""
    chip = CHIPS.get(jax.devices()[0].device_kind)
    if chip is None or bytes_per_second is None:
        return None
    return bytes_per_second / (jax.device_count() * chip.bandwidth)
