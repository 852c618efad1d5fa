"""Checkpoints through Orbax: asynchronous, atomic, a bounded number kept plus milestones.

Nothing else in the library touches Orbax.
"""

import contextlib
import hashlib
import logging
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from jaxgan.errors import UserError
from jaxgan.parallel import all_processes

_DIGEST = "digest"
_Policies = ocp.checkpoint_managers


class Checkpoints:
    """The checkpoints of a run directory; a context manager, so that a save in flight is finished or reported.

    Args:
        folder: absolute or relative path of `checkpoints/`.
        keep: how many of the latest are kept.
        keep_every: the checkpoint nearest to each multiple of this is kept for good; 0 keeps none.
        read_only: never writes or tidies, for use on somebody else's run.
    """

    def __init__(self, folder: str | Path, *, keep: int = 2, keep_every: int = 0, read_only: bool = False):
        self.folder = Path(folder).absolute()
        logging.getLogger("absl").setLevel(logging.ERROR)  # Orbax narrates every step of a save at a lower level
        policies = [_Policies.LatestN(keep)] + ([_Policies.EveryNStepsClosest(keep_every)] if keep_every else [])
        options = ocp.CheckpointManagerOptions(
            create=not read_only,
            read_only=read_only,
            cleanup_tmp_directories=not read_only,
            preservation_policy=_Policies.AnyPreservationPolicy(policies),
        )
        self._manager = ocp.CheckpointManager(self.folder, options=options)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self.wait()
        finally:
            # What goes wrong while closing behind another error must not hide that one.
            with contextlib.suppress(Exception) if kind else _disk_errors(self.folder):
                self._manager.close()

    def steps(self) -> list[int]:
        """Steps that have a whole checkpoint, oldest first."""
        return sorted(self._manager.all_steps())

    def save(self, step: int, state: Any, meta: Mapping[str, Any]) -> None:
        """Starts to save; returns as soon as the state is copied off the device, so that it may be donated.

        Raises:
            UserError: the disk is full or the folder cannot be written (of this save or of the one before it).
        """
        meta = dict(meta) | {_DIGEST: digest(state)}
        with _disk_errors(self.folder):
            self._manager.save(
                step,
                args=ocp.args.Composite(state=ocp.args.StandardSave(state), meta=ocp.args.JsonSave(meta)),
                force=True,
            )

    def wait(self) -> None:
        """Blocks until the save in flight is on the disk; raises what it raised."""
        with _disk_errors(self.folder):
            self._manager.wait_until_finished()
            self._manager.check_for_errors()

    def meta(self, step: int) -> dict[str, Any]:
        """The metadata saved with a step."""
        return dict(self._manager.restore(step, args=ocp.args.Composite(meta=ocp.args.JsonRestore())).meta)

    def restore(
        self, template: Callable[[dict[str, Any]], Any], *, step: int | None = None, note: Callable[[str], None] = print
    ) -> tuple[int, Any, dict[str, Any]]:
        """(step, state, meta) of one step, or of the latest checkpoint that can be read.

        `template(meta)` is a tree of `jax.ShapeDtypeStruct` with the shardings to restore to, whatever devices it was
        saved from; the metadata say which network it is of. A checkpoint that cannot be read is named through `note`,
        and the one before it is tried.

        Raises:
            UserError: there is no checkpoint, none can be read, or they do not fit the template.
        """
        steps = self.steps()
        if step is not None and step not in steps:
            raise UserError(f"{self.folder} has no checkpoint {step}; it has {', '.join(map(str, steps)) or 'none'}")
        for candidate in [step] if step is not None else reversed(steps):
            reason = "another process could not read it"
            try:
                meta = self.meta(candidate)
                saved_digest = meta.pop(_DIGEST, None)
                state = ocp.args.StandardRestore(template(meta))
                restored = self._manager.restore(candidate, args=ocp.args.Composite(state=state)).state
            except (MemoryError, PermissionError):
                raise  # no fault of the checkpoint's
            except Exception as error:  # whatever a damaged file makes Orbax, TensorStore or JSON raise
                restored, reason = None, " ".join(str(error).split())[:300]
            if all_processes(restored is not None):
                # The files carry no checksum of the numbers in them: some damage is read without an error.
                if saved_digest in (None, digest(restored)):
                    return candidate, restored, meta
                reason = "its numbers are not those that were saved; the files are damaged"
            note(f"checkpoint {self.folder / str(candidate)} cannot be restored ({reason})")
            if candidate != steps[0] and step is None:
                note("falling back to the checkpoint before it")
        raise UserError(f"no checkpoint under {self.folder} can be restored; start afresh in another --workdir")

    def set_aside_after(self, step: int) -> None:
        """Renames the checkpoints later than `step`, which a fallback has passed over, to `N.unreadable`.

        Nothing is deleted: what could not be read today may have been a fault of the disk.
        """
        later = [s for s in self.steps() if s > step]
        if not later:
            return
        if jax.process_index() == 0:
            for s in later:
                aside = self.folder / f"{s}.unreadable"
                shutil.rmtree(aside, ignore_errors=True)
                (self.folder / str(s)).rename(aside)
        wait_for_processes("set-aside")
        self._manager.reload()


def digest(state: Any) -> str:
    """A checksum of every number of a tree, whatever devices it is on: the sums of each leaf's bits, hashed.

    What is on the host is summed there.
    """
    leaves = jax.tree.leaves(state)
    on_host = {i: _host_bit_sum(leaf) for i, leaf in enumerate(leaves) if isinstance(leaf, np.ndarray)}
    others = [i for i in range(len(leaves)) if i not in on_host]
    on_device = dict(zip(others, np.asarray(_bit_sums([leaves[i] for i in others])))) if others else {}
    sums = np.array([(on_host | on_device)[i] for i in range(len(leaves))], np.uint32)
    return hashlib.sha256(sums.tobytes()).hexdigest()


def _host_bit_sum(leaf: np.ndarray) -> np.uint32:
    bits = np.ascontiguousarray(leaf).reshape(-1).view(f"u{leaf.itemsize}")
    return bits.sum(dtype=np.uint32)  # wraps around


@jax.jit
def _bit_sums(leaves: list[jax.Array]) -> jax.Array:
    def total(leaf: jax.Array) -> jax.Array:
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        if leaf.dtype == bool:
            leaf = leaf.astype(jnp.uint8)
        bits = jax.lax.bitcast_convert_type(leaf, f"uint{8 * leaf.dtype.itemsize}")
        return jnp.sum(bits.astype(jnp.uint32), dtype=jnp.uint32)  # wraps around

    return jnp.stack([total(jnp.asarray(leaf)) for leaf in leaves])


class _disk_errors:
    """Turns what a full or read-only disk raises into a UserError."""

    def __init__(self, folder: Path):
        self._folder = folder

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, *_: object) -> None:
        text = str(error)
        if error is not None and any(s in text for s in ("No space left", "RESOURCE_EXHAUSTED", "Disk quota")):
            raise UserError(
                f"no space left to write the checkpoint under {self._folder}; free some and run the same command again "
                "(it continues from the last whole checkpoint)"
            ) from error
        if isinstance(error, PermissionError):
            raise UserError(f"{self._folder} cannot be written; choose another --workdir") from error


def wait_for_processes(name: str, minutes: float = 60) -> None:
    """Blocks until every process of the run is here; a no-op for one.

    It asks the run's coordinator, through Orbax, which has a public function for it. A collective would not do: on
    CPU it gives up after half a minute, and compilation may keep one process longer than another.
    """
    ocp.multihost.get_barrier_sync_fn()(key=name, timeout_ms=int(minutes * 60_000))


def state_template(shapes: Any, shardings: Any) -> Any:
    """A restore template of `jax.eval_shape`'s shapes and a tree of shardings."""
    return jax.tree.map(lambda a, s: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=s), shapes, shardings)


def state_bytes(shapes: Any) -> int:
    """Bytes of a tree of shapes on the disk (uncompressed)."""
    return sum(int(np.prod(a.shape)) * _itemsize(a.dtype) for a in jax.tree.leaves(shapes))


def _itemsize(dtype: Any) -> int:
    return 16 if jax.dtypes.issubdtype(dtype, jax.dtypes.extended) else np.dtype(dtype).itemsize
