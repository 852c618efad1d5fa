"""Mesh, shardings and multi-process start-up: one program for one device, several, and pods.

The mesh has two axes, `data` and `fsdp`. A batch is split over both; with fsdp > 1 parameters and optimiser state are
split over that axis too and gathered where they are used.
"""

import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxgan.errors import UserError

AXES = ("data", "fsdp")
_SMALL = 2**12  # leaves below this many numbers are kept whole on every device


def start_processes(coordinator: str = "", num_processes: int = 0, process_id: int = -1) -> None:
    """Joins the other processes of a run; call it before anything touches a device.

    With a coordinator ("host:port") the three values say who takes part; without one the cluster's environment does
    (SLURM, Open MPI, Cloud TPU), and a single process is left alone.

    Raises:
        UserError: a coordinator without the number of processes or the id of this one, or one that does not answer.
    """
    if coordinator:
        if num_processes < 1 or not 0 <= process_id < num_processes:
            raise UserError(
                f"--coordinator={coordinator} needs --num_processes=N and --process_id=0..N-1 "
                f"(got {num_processes} and {process_id})"
            )
        try:
            jax.distributed.initialize(coordinator, num_processes, process_id)
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"--coordinator={coordinator} cannot be joined ({reason}); is process 0 up there, and the port free?"
            ) from error
    elif _in_cluster():
        jax.distributed.initialize()


def _in_cluster() -> bool:
    # Set by srun, not by sbatch alone: a plain shell of an allocation is one process.
    if int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1 or int(os.environ.get("OMPI_COMM_WORLD_SIZE", "1")) > 1:
        return True
    return "," in os.environ.get("TPU_WORKER_HOSTNAMES", "") or "MEGASCALE_COORDINATOR_ADDRESS" in os.environ


def make_mesh(fsdp: int = 1, devices: Sequence[Any] | None = None) -> Mesh:
    """Devices (default: all there are) as (data, fsdp).

    Raises:
        UserError: the number of devices is no multiple of `fsdp`.
    """
    count = jax.device_count() if devices is None else len(devices)
    if fsdp < 1 or count % fsdp:
        raise UserError(f"config.fsdp={fsdp} does not divide the {count} devices; use a divisor of {count}")
    return jax.make_mesh((count // fsdp, fsdp), AXES, axis_types=(AxisType.Auto,) * 2, devices=devices)


def replicated(mesh: Mesh) -> NamedSharding:
    """The same on every device."""
    return NamedSharding(mesh, PartitionSpec())


def by_batch(mesh: Mesh, axis: int = 0) -> NamedSharding:
    """Split over all devices along one axis."""
    return NamedSharding(mesh, PartitionSpec(*(None,) * axis, AXES))


def constrain_batch(mesh: Mesh) -> Callable[[jax.Array], jax.Array]:
    """A function that splits an array's first axis over the devices, where it divides."""

    def constrain(x: jax.Array) -> jax.Array:
        return x if x.shape[0] % mesh.size else jax.lax.with_sharding_constraint(x, by_batch(mesh))

    return constrain


def state_shardings(mesh: Mesh, shapes: Any) -> Any:
    """A sharding for each leaf of a tree of shapes: large ones are split over `fsdp` on the largest axis it divides."""
    n = mesh.shape["fsdp"]

    def sharding(leaf: Any) -> NamedSharding:
        axes = [i for i in np.argsort(leaf.shape, kind="stable")[::-1] if leaf.shape[i] % n == 0]
        if n == 1 or leaf.size < _SMALL or not axes:
            return replicated(mesh)
        return NamedSharding(mesh, PartitionSpec(*("fsdp" if i == axes[0] else None for i in range(leaf.ndim))))

    return jax.tree.map(sharding, shapes)


def to_host(x: jax.Array) -> np.ndarray:
    """A global array as NumPy, whole on every process."""
    return np.asarray(x) if x.is_fully_addressable else multihost_utils.process_allgather(x, tiled=True)


def all_processes(fine: bool) -> bool:
    """Whether it is so in every process of the run, so that all of them go the same way."""
    return bool(np.all(multihost_utils.process_allgather(np.asarray(fine)))) if jax.process_count() > 1 else fine


def put_batch(mesh: Mesh, axis: int = 0) -> Callable[[Any], Any]:
    """A function that turns this process's rows (NumPy) into global arrays, split along `axis`."""
    sharding = by_batch(mesh, axis)
    return lambda batch: jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), batch)
