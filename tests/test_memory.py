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


def test_a_program_too_large_is_not_run(monkeypatch):
    lowered = jax.jit(lambda x: (x[:, None] * x[None]).sum(0) @ jnp.ones((512, 512))).lower(jnp.ones((512, 512)))
    assert memory.compiled(lowered, 512) is not None
    monkeypatch.setattr(memory, "free_bytes", lambda: 1000)
    with pytest.raises(UserError, match="GiB of memory are free"):
        memory.compiled(lowered, 512)


def test_the_host_says_what_is_free():
    assert memory.free_bytes() > 2**20
