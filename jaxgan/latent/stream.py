"""Any number of images through optimisations of one fixed batch size, resumable after a kill.

A job's folder holds a part for every finished batch (`part-00000.npz`) and a checkpoint of the one that is running.
Continued, it gives bit for bit what it would have given uninterrupted, on the same devices.
"""

import hashlib
import io
import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxgan.checkpoint import Checkpoints, state_template
from jaxgan.errors import UserError
from jaxgan.features.extract import batched, padded
from jaxgan.latent.optimise import Carry, Program, Settings, compile_chunk, optimise, placement, start_carry, whole
from jaxgan.report import write_atomic

Progress = Callable[[int, int], None]  # called with (steps of images done, in all)
_BATCH = 1_000_000  # a checkpoint's number is that of its batch times this, plus its step


class Job:
    """The folder of a job that can be continued.

    Args:
        folder: made when the work begins.
        identity: everything that the results depend on; a folder of another job is refused.
        every: seconds between two checkpoints.

    Raises:
        UserError: the folder holds the unfinished work of another job.
    """

    def __init__(self, folder: str | Path, identity: Mapping[str, Any], every: float = 30.0):
        self.folder, self.every, self._whole = Path(folder), every, None
        self._identity = json.dumps(identity, sort_keys=True, default=str)
        path = self.folder / "job.json"
        self._begun = json.loads(path.read_text()) if path.exists() else {}
        if path.exists() and self._begun.get("identity") != self._identity:
            raise UserError(
                f"{self.folder} holds the unfinished work of another command; finish that one, or delete the folder"
            )

    def part_of(self, name: str) -> "Job":
        """A job of its own within this one, which is begun with it."""
        part = Job(self.folder / name, {"of": self._identity, "part": name}, self.every)
        part._whole = self
        return part

    def check(self, size: int) -> None:
        """Raises UserError where work was begun in batches of another size: a batch's number says which images it has.

        The same command comes to another size on another number of devices, of which it is a multiple.
        """
        begun = self._begun.get("batch", size)
        if begun != size:
            raise UserError(
                f"{self.folder} holds work in batches of {begun}, and on these {jax.device_count()} device(s) they are "
                f"of {size}; continue it on as many devices as it was begun on, or delete the folder"
            )

    def begin(self, size: int = 1) -> None:
        """Takes the folder for this work, in batches of a size.

        Not before it is known to run: a command that did not fit the memory is given again with other flags.
        """
        if not self._begun:
            self._begun = {"identity": self._identity, "batch": size}
            write_atomic(self.folder / "job.json", json.dumps(self._begun).encode())
        if self._whole is not None:
            self._whole.begin(size)

    def part(self, number: int) -> dict[str, np.ndarray] | None:
        """The results of a finished batch."""
        path = self._path(number)
        if not path.exists():
            return None
        with np.load(path, allow_pickle=False) as file:
            return dict(file)

    def save_part(self, number: int, arrays: Mapping[str, np.ndarray]) -> None:
        """Keeps the results of a batch; at every moment either none or all of them."""
        self.begin()
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        write_atomic(self._path(number), buffer.getvalue())

    def checkpoints(self) -> Checkpoints:
        """Of the running batch."""
        return Checkpoints(self.folder / "checkpoints", keep=2)

    def _path(self, number: int) -> Path:
        return self.folder / f"part-{number:05d}.npz"


def digest(*arrays: Any) -> str:
    """A hash of arrays, for a job's identity."""
    total = hashlib.sha256()
    for array in arrays:
        array = np.ascontiguousarray(array)
        total.update(f"{array.shape}{array.dtype}".encode() + array.tobytes())
    return total.hexdigest()[:16]


class Runner:
    """Runs batches of one shape with one compiled program, with snapshots, progress and checkpoints.

    Args:
        program: what is compiled.
        variables: of the objective.
        settings: the number of steps and so on.
        snapshots: steps at which `draw` is called, each at the end of its chunk; 0 is the start.
        draw: `draw(latent, target) -> array [B, ...]`, a picture of every image.
        watch: called with the step and the pictures of each snapshot as it is taken.
        job: where the work is kept, or None.
        progress: told of every chunk.
        total: steps of images in all, for it.

    Attributes:
        compile_seconds: of the program.
    """

    def __init__(
        self,
        program: Program,
        variables: Any,
        settings: Settings,
        *,
        snapshots: tuple[int, ...] = (),
        draw: Callable[[Any, Any], jax.Array] | None = None,
        watch: Callable[[int, np.ndarray], None] = lambda step, pictures: None,
        job: Job | None = None,
        progress: Progress = lambda done, total: None,
        total: int = 0,
    ):
        self.program, self.variables, self.settings = program, variables, settings
        self.snapshots, self.draw, self.watch, self.job = tuple(sorted(set(snapshots))), draw, watch, job
        self.progress, self.total, self.compile_seconds = progress, total, 0.0
        self._executable = None
        self._checkpoints = job.checkpoints() if job else None

    def close(self) -> None:
        """Waits for the checkpoint in flight."""
        if self._checkpoints is not None:
            self._checkpoints.__exit__(None, None, None)

    def run(self, number: int, start: Any, target: Any, keys: jax.Array) -> tuple[Carry, dict[str, np.ndarray]]:
        """One batch: its last carry, and {"losses" [steps, B], "snapshots" [S, B, ...], "seconds"}."""
        if self._executable is None:
            began = time.perf_counter()
            self._executable = compile_chunk(self.program, self.variables, start, target, keys, self.settings)
            self.compile_seconds = time.perf_counter() - began
            if self.job:
                self.job.begin(keys.shape[0])
        steps, batch = int(self.settings.steps), keys.shape[0]
        resume, taken, before = self._restore(number, start, target, keys)
        if not taken and self.snapshots[:1] == (0,) and self.draw:
            taken.append(np.asarray(self.draw(start, target)))
            self.watch(0, taken[-1])
        began = saved = time.perf_counter()

        def after_chunk(carry: Carry, losses: np.ndarray) -> None:
            nonlocal saved
            done = int(carry.step)
            while self.draw and len(taken) < len(self.snapshots) and self.snapshots[len(taken)] <= done:
                taken.append(np.asarray(self.draw(carry.latent, target)))
                self.watch(done, taken[-1])
            self.progress(number * batch * steps + min(done, steps) * batch, self.total)
            if self._checkpoints is not None and done < steps and time.perf_counter() - saved >= self.job.every:
                saved = time.perf_counter()
                self._save(number, carry, losses, taken, before + saved - began)

        found = optimise(
            self.program,
            self.variables,
            start,
            target,
            keys,
            self.settings,
            executable=self._executable,
            after_chunk=after_chunk,
            resume=resume,
        )
        carry = jax.block_until_ready(found.carry)
        while self.draw and len(taken) < len(self.snapshots):  # all images had stopped before
            taken.append(np.asarray(self.draw(carry.latent, target)))
        more = {"snapshots": np.stack(taken)} if taken else {}
        seconds = np.float64(before + time.perf_counter() - began)
        return carry, {"losses": _filled(found.losses, steps), "seconds": seconds} | more

    def _save(self, number: int, carry: Carry, losses: np.ndarray, taken: list[np.ndarray], seconds: float) -> None:
        state = {"carry": carry, "losses": losses, "snapshots": tuple(taken)}
        meta = {"batch": number, "steps": len(losses), "snapshots": len(taken), "seconds": seconds}
        self._checkpoints.save(number * _BATCH + int(carry.step), state, meta)

    def _restore(self, number: int, start: Any, target: Any, keys: jax.Array) -> tuple[Any, list[np.ndarray], float]:
        """(resume, snapshots, seconds) of a batch that was interrupted."""
        steps = self._checkpoints.steps() if self._checkpoints is not None else []
        if not steps or steps[-1] // _BATCH != number:
            return None, [], 0.0
        carry = jax.eval_shape(lambda s: start_carry(self.program, s), start)

        def template(meta: dict[str, Any]) -> Any:
            losses = jax.ShapeDtypeStruct((meta["steps"], len(keys)), carry.best.dtype)
            drawn = jax.eval_shape(self.draw, start, target) if meta["snapshots"] else None
            shapes = {"carry": carry, "losses": losses, "snapshots": (drawn,) * meta["snapshots"]}
            placed = jax.tree.map(lambda x: whole(keys), shapes) | {"carry": placement(carry, keys)}
            return state_template(shapes, placed)

        _, state, meta = self._checkpoints.restore(template)
        taken = [np.asarray(s) for s in state["snapshots"]]
        return (state["carry"], np.asarray(state["losses"])), taken, meta["seconds"]


def _filled(losses: np.ndarray, steps: int) -> np.ndarray:
    """Losses [steps, B]: NaN after all had stopped."""
    missing = steps - len(losses)
    return np.concatenate([losses, np.full((missing, losses.shape[1]), np.nan, losses.dtype)]) if missing else losses


def batches(count: int, size: int) -> Iterator[tuple[int, np.ndarray, int]]:
    """(number, rows, how many of them count) of fixed-size batches; the last is filled up with its last row."""
    for number, rows in enumerate(batched(np.arange(count), size)):
        yield number, padded(rows, size), len(rows)
