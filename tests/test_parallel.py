"""Meshes, shardings and the start of several processes; none is started here (see end_to_end)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractMesh, AxisType, PartitionSpec

from jaxgan import parallel
from jaxgan.errors import UserError

EIGHT = AbstractMesh((2, 4), parallel.AXES, axis_types=(AxisType.Auto,) * 2)
CLUSTER = (
    "SLURM_STEP_NUM_TASKS",
    "OMPI_COMM_WORLD_SIZE",
    "TPU_WORKER_HOSTNAMES",
    "MEGASCALE_COORDINATOR_ADDRESS",
)


@pytest.fixture
def started(monkeypatch):
    """What jax.distributed would have been started with; no cluster in the environment."""
    calls = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda *args: calls.append(args))
    for name in CLUSTER:
        monkeypatch.delenv(name, raising=False)
    return calls


def test_mesh_of_all_devices():
    mesh = parallel.make_mesh()
    assert mesh.axis_names == ("data", "fsdp")
    assert dict(mesh.shape) == {"data": jax.device_count(), "fsdp": 1}


@pytest.mark.parametrize("fsdp", [0, -1, jax.device_count() + 1])
def test_fsdp_must_divide_the_devices(fsdp):
    n = jax.device_count()
    with pytest.raises(UserError, match=f"config.fsdp={fsdp} does not divide the {n} devices; use a divisor of {n}"):
        parallel.make_mesh(fsdp)


@pytest.mark.parametrize(
    ("shape", "axis"),
    [
        ((3, 3, 512, 64), 2),  # the largest one
        ((3, 3, 510, 64), 3),  # the largest one that 4 divides
        ((8192,), 0),
        ((81, 81), None),  # 4 divides neither
        ((64,), None),  # too small to be worth it
        ((), None),
    ],
)
def test_large_leaves_are_split_over_fsdp(shape, axis):
    leaf = jax.ShapeDtypeStruct(shape, jnp.float32)
    spec = parallel.state_shardings(EIGHT, {"leaf": leaf})["leaf"].spec
    assert spec == (
        PartitionSpec() if axis is None else PartitionSpec(*("fsdp" if i == axis else None for i in range(len(shape))))
    )


def test_without_fsdp_all_is_whole():
    mesh = AbstractMesh((8, 1), parallel.AXES, axis_types=(AxisType.Auto,) * 2)
    leaf = jax.ShapeDtypeStruct((512, 512), jnp.float32)
    assert parallel.state_shardings(mesh, leaf).spec == parallel.replicated(mesh).spec == PartitionSpec()


def test_a_batch_is_split_over_all_devices():
    assert parallel.by_batch(EIGHT).spec == PartitionSpec(("data", "fsdp"))
    assert parallel.by_batch(EIGHT, axis=1).spec == PartitionSpec(None, ("data", "fsdp"))


def test_rows_that_do_not_divide_are_left_alone():
    x = jnp.zeros((6, 2))
    assert parallel.constrain_batch(EIGHT)(x) is x


def test_put_batch():
    rows = jax.device_count()
    batch = {"images": np.arange(rows * 2).reshape(rows, 2), "labels": np.arange(rows)}
    mesh = parallel.make_mesh()
    placed = parallel.put_batch(mesh)(batch)
    for name, value in placed.items():
        np.testing.assert_array_equal(value, batch[name])
        assert value.sharding.is_equivalent_to(parallel.by_batch(mesh), value.ndim)


def test_a_single_process_is_left_alone(started):
    parallel.start_processes()
    assert started == []


def test_a_shell_in_an_allocation_is_one_process(started, monkeypatch):
    """sbatch sets the allocation's number of tasks for the batch script too; only srun starts them."""
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    monkeypatch.setenv("SLURM_NTASKS", "4")
    parallel.start_processes()
    assert started == []


def test_processes_by_flags(started):
    parallel.start_processes("host:1234", 2, 1)
    assert started == [("host:1234", 2, 1)]


@pytest.mark.parametrize(("processes", "index"), [(0, -1), (2, -1), (2, 2), (0, 0)])
def test_a_coordinator_needs_the_other_two_flags(started, processes, index):
    message = rf"--coordinator=host:1 needs --num_processes=N and --process_id=0..N-1 \(got {processes} and {index}\)"
    with pytest.raises(UserError, match=message):
        parallel.start_processes("host:1", processes, index)
    assert started == []


def test_a_coordinator_that_does_not_answer(started, monkeypatch):
    def refuse(*_):
        raise RuntimeError("DEADLINE_EXCEEDED: failed to connect\nto all addresses")

    monkeypatch.setattr(jax.distributed, "initialize", refuse)
    with pytest.raises(
        UserError, match=r"--coordinator=host:1 cannot be joined \(DEADLINE_EXCEEDED: failed to connect"
    ):
        parallel.start_processes("host:1", 2, 1)


@pytest.mark.parametrize(
    ("name", "several", "single"),
    [("SLURM_STEP_NUM_TASKS", "2", "1"), ("OMPI_COMM_WORLD_SIZE", "2", "1"), ("TPU_WORKER_HOSTNAMES", "a,b", "a")],
)
def test_processes_by_the_cluster(started, monkeypatch, name, several, single):
    monkeypatch.setenv(name, single)
    parallel.start_processes()
    assert started == []
    monkeypatch.setenv(name, several)
    parallel.start_processes()
    assert started == [()]
