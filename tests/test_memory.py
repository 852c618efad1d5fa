"""What does not fit is said before it runs, with what would."""

import jax
import jax.numpy as jnp
import pytest

from jaxgan import memory
from jaxgan.errors import UserError


def test_the_batch_that_fits_is_named():
    memory.check(900, 1000, 9)
    with pytest.raises(UserError, match=r"batch of 64 needs .* use a batch of 15"):
        memory.check(64 * 2**30, 16 * 2**30, 64)
    with pytest.raises(UserError, match="not even one"):
        memory.check(64 * 2**30, 2**30, 4)
    # Each of eight devices holds an eighth of the images; a batch is filled up to a multiple of them.
    with pytest.raises(UserError, match="use a batch of 40"):
        memory.check(64 * 2**30, 50 * 2**30, 56, devices=8)
    with pytest.raises(UserError, match="not even one"):
        memory.check(64 * 2**30, 50 * 2**30, 8, devices=8)


def test_a_program_too_large_is_not_run(monkeypatch):
    lowered = jax.jit(lambda x: (x[:, None] * x[None]).sum(0) @ jnp.ones((512, 512))).lower(jnp.ones((512, 512)))
    assert memory.compiled(lowered, 512) is not None
    monkeypatch.setattr(memory, "free_bytes", lambda: 1000)
    with pytest.raises(UserError, match="GiB of memory are free"):
        memory.compiled(lowered, 512)


def test_a_device_that_runs_out_all_the_same():
    with (
        pytest.raises(UserError, match="a batch of 4 does not fit the device's memory; try half of it"),
        memory.explained(4),
    ):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 1 bytes")
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"), memory.explained(4):
        raise jax.errors.JaxRuntimeError("INTERNAL: something else")


def test_the_host_says_what_is_free():
    assert memory.free_bytes() > 2**20
    assert memory.free_on_host() > 2**20
