"""Whether a compiled program fits the device, asked before it runs."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

from jaxgan.errors import UserError

_RESERVE = 0.05  # share of the memory that is left for what a program does not count


def compiled(lowered: Any, batch: int, devices: int = 1) -> Any:
    """`lowered.compile()` for a program of `batch` images, where it fits beside its arguments, which are there already.

    The images are split over so many devices.

    Raises:
        UserError: it needs more memory than is free; the batch that would fit is named.
    """
    with explained(batch):
        program = lowered.compile()
    sizes = program.memory_analysis()
    if sizes is not None:
        needed = sizes.temp_size_in_bytes + sizes.output_size_in_bytes - sizes.alias_size_in_bytes
        check(needed, free_bytes(), batch, devices)
    return program


@contextlib.contextmanager
def explained(batch: int) -> Iterator[None]:
    """Raises UserError where a device runs out of memory over a batch all the same."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise UserError(f"a batch of {batch} does not fit the device's memory; try half of it") from error


def check(needed: int, free: int | None, batch: int, devices: int = 1) -> None:
    """Raises UserError where the bytes that a batch needs of each device are more than are free there.

    The batch that is named is a multiple of the devices, as others are filled up to one.
    """
    room = None if free is None else int(free * (1 - _RESERVE))
    if room is None or needed <= room:
        return
    fits = room * batch // needed // devices * devices
    advice = f"use a batch of {fits}" if fits else "not even one image a device does; use one with more"
    raise UserError(
        f"a batch of {batch} needs {needed / 2**30:.1f} GiB and {room / 2**30:.1f} GiB of memory are free; {advice}"
    )


def free_bytes() -> int | None:
    """Bytes that a program may take of one device now; None where nobody says."""
    stats = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    return free_on_host() if jax.default_backend() == "cpu" else None


def free_on_host() -> int | None:
    """Bytes that Linux has available, within the limit of the control group; None where nobody says."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return None
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
        stat = dict(line.split() for line in Path("/sys/fs/cgroup/memory.stat").read_text().splitlines())
        used -= int(stat.get("inactive_file", 0))  # files that are kept as long as nothing else wants the room
        return free if limit == "max" else min(free, int(limit) - used)
    except (OSError, ValueError):
        return free
