"""What is kept, what is restored, and what a full disk says."""

import errno
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import checkpoint
from jaxgan.checkpoint import Checkpoints, digest, state_bytes, state_template
from jaxgan.errors import UserError


def state(value: float) -> dict:
    return {"a": jnp.full((3, 2), value), "key": jax.random.key(7), "n": jnp.int32(value)}


def template() -> dict:
    shapes = jax.eval_shape(lambda: state(0.0))
    return state_template(shapes, jax.tree.map(lambda _: jax.sharding.SingleDeviceSharding(jax.devices()[0]), shapes))


def test_keeps_the_latest_and_the_milestones(tmp_path):
    with Checkpoints(tmp_path, keep=2, keep_every=100) as checkpoints:
        for step in (30, 98, 130, 160, 203, 230, 260, 290):
            checkpoints.save(step, state(step), {"n": step})
            checkpoints.wait()
        # 30, 98, 203 and 290 are the nearest to 0, 100, 200 and 300; 260 and 290 are the latest two.
        assert checkpoints.steps() == [30, 98, 203, 260, 290]


def test_restores_bit_for_bit_with_its_metadata(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(5, state(0.1), {"data": {"batches": 3}, "images_seen": 5})
    with Checkpoints(tmp_path, read_only=True) as checkpoints:
        step, restored, meta = checkpoints.restore(lambda meta: template())
    assert (step, meta) == (5, {"data": {"batches": 3}, "images_seen": 5})
    np.testing.assert_array_equal(restored["a"], state(0.1)["a"])
    assert restored["key"].dtype == state(0.1)["key"].dtype
    np.testing.assert_array_equal(jax.random.key_data(restored["key"]), jax.random.key_data(state(0)["key"]))


def test_a_donated_state_is_saved_as_it_was(tmp_path):
    step = jax.jit(lambda s: s | {"a": s["a"] + 1}, donate_argnums=0)
    with Checkpoints(tmp_path) as checkpoints:
        current = state(1.0)
        checkpoints.save(1, current, {})
        for _ in range(5):
            current = step(current)
    with Checkpoints(tmp_path, read_only=True) as checkpoints:
        _, restored, _ = checkpoints.restore(lambda meta: template())
    np.testing.assert_array_equal(restored["a"], np.ones((3, 2)))


def test_a_step_that_is_not_there_and_nothing_there(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        with pytest.raises(UserError, match="can be restored"):
            checkpoints.restore(lambda meta: template())
        checkpoints.save(5, state(1.0), {})
        checkpoints.wait()
        with pytest.raises(UserError, match="has no checkpoint 6; it has 5"):
            checkpoints.restore(lambda meta: template(), step=6)


def test_another_architecture_is_named(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(5, state(1.0), {})
    # In a process of its own: what Orbax leaves of a restore that fails complains whenever it is collected.
    code = f"""
import jax.numpy as jnp
from jaxgan.checkpoint import Checkpoints
from jaxgan.errors import UserError
from tests.test_checkpoint import jax, template
other = template()
other["a"] = jax.ShapeDtypeStruct((4, 2), jnp.float32, sharding=other["a"].sharding)
with Checkpoints({str(tmp_path)!r}) as checkpoints:
    try:
        checkpoints.restore(lambda meta: other)
    except UserError as error:
        print("UserError:", error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert "cannot be restored" in done.stdout, done.stderr
    assert "UserError: no checkpoint" in done.stdout


def test_processes_fall_back_together(tmp_path, monkeypatch):
    """One that can read the latest checkpoint goes back with the one that cannot."""
    answers = iter([False, True])
    monkeypatch.setattr(checkpoint, "all_processes", lambda fine: fine and next(answers))
    notes = []
    with Checkpoints(tmp_path) as checkpoints:
        for step in (1, 2):
            checkpoints.save(step, state(float(step)), {})
            checkpoints.wait()
        step, restored, _ = checkpoints.restore(lambda meta: template(), note=notes.append)
    assert step == 1
    np.testing.assert_array_equal(restored["a"], np.ones((3, 2)))
    assert "another process could not read it" in notes[0]


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), ValueError("RESOURCE_EXHAUSTED: x")]
)
def test_a_full_disk_is_one_line(tmp_path, error):
    with pytest.raises(UserError, match="no space left"), checkpoint._disk_errors(tmp_path):
        raise error


def test_state_bytes():
    assert state_bytes(jax.eval_shape(lambda: state(0.0))) == 3 * 2 * 4 + 16 + 4


def test_damage_that_the_files_do_not_show_is_seen(tmp_path):
    """Bytes of the numbers themselves, which no reader can tell from other numbers."""
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state(1.0), {})
        checkpoints.save(2, state(2.0), {})
    meta = next((tmp_path / "2" / "meta").glob("metadata"))
    text = meta.read_text()
    other = "0" if digest(state(2.0))[0] != "0" else "1"
    meta.write_text(text.replace(digest(state(2.0)), other + digest(state(2.0))[1:]))
    said = []
    with Checkpoints(tmp_path, read_only=True) as checkpoints:
        step, restored, _ = checkpoints.restore(lambda meta: template(), note=said.append)
    assert step == 1
    np.testing.assert_array_equal(restored["a"], np.ones((3, 2)))
    assert "the files are damaged" in said[0]


def test_a_digest_is_of_every_bit(tmp_path):
    first = state(1.0)
    assert digest(first) == digest(jax.tree.map(jnp.copy, first))
    for name, value in (("a", first["a"].at[1, 1].set(np.nextafter(np.float32(1), 2))), ("n", jnp.int32(2))):
        assert digest(first | {name: value}) != digest(first)
    assert digest(first | {"key": jax.random.key(8)}) != digest(first)
