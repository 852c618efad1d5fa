"""Work in stages over the same codes: each goes over all of them in batches, kept so that it continues."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan import memory, parallel
from jaxgan.latent.optimise import Program, Settings
from jaxgan.latent.stream import Job, Progress, Runner, batches

Rows = Mapping[str, jax.Array]  # of a batch, on the devices
_BY_STEP = ("losses",)  # results whose rows come second
_WHOLE = -1  # the part that is all of a finished stage


class Stages:
    """Stages over N codes.

    Args:
        size: codes a call, a multiple of the devices.
        count: N.
        shared: arrays [N, ...] that every stage is given beside its own.
        place: splits rows over the devices.
        seed: of the keys, one a code.
        folder: of the work that can be continued, a folder in it a stage; None: not kept.
        identities: {stage: see `jaxgan.latent.stream.Job`}.
        every: seconds between two checkpoints.
        progress: called with (what is done, in all), each batch's codes times the costs of its stage.
        costs: {stage: what it takes a code}, of every stage that will be run.

    Attributes:
        seconds: {stage: wall time}, with compilation but that of what is optimised.
    """

    def __init__(
        self,
        size: int,
        count: int,
        shared: Mapping[str, np.ndarray],
        place: Callable[[Any], Any],
        *,
        seed: int = 0,
        folder: Path | None = None,
        identities: Mapping[str, Mapping[str, Any]] | None = None,
        every: float = 30.0,
        progress: Progress = lambda done, total: None,
        costs: Mapping[str, int] | None = None,
    ):
        self.seconds: dict[str, float] = {}
        self._size, self._count, self._shared, self._place, self._seed = size, count, dict(shared), place, seed
        self._folder, self._identities, self._every = folder, identities or {}, every
        padded = -(-count // size) * size
        ends = np.cumsum([padded * cost for cost in (costs or {}).values()])
        self._costs, self._total = dict(costs or {}), max(int(ends[-1]) if len(ends) else 0, 1)
        self._before = dict(zip(self._costs, [0, *map(int, ends[:-1])]))
        self._progress = progress

    def run(
        self, name: str, rows: Mapping[str, np.ndarray], one: Callable[[Rows], Mapping[str, Any]]
    ) -> dict[str, np.ndarray]:
        """A stage of one call a batch: `one(rows)` gives arrays [B, ...]."""
        job, whole = self._begun(name)
        if whole is not None:
            return whole
        cost = self._size * self._costs.get(name, 0)

        def batch(number: int, given: Rows, keys: jax.Array) -> dict[str, np.ndarray]:
            found = {k: _host(v) for k, v in one(given).items()}
            if job:
                job.begin(self._size)  # now that it is known to fit the memory
            if cost:
                self._said(name, (number + 1) * cost)
            return found

        return self._batched(name, job, rows, batch)

    def optimise(
        self,
        name: str,
        rows: Mapping[str, np.ndarray],
        program: Program,
        variables: Any,
        settings: Settings,
        begin: Callable[[Rows], tuple[Any, Any]],
        finish: Callable[[Any, Rows], Mapping[str, Any]],
    ) -> dict[str, np.ndarray]:
        """A stage that optimises.

        Args:
            name: of the stage.
            rows: arrays [N, ...].
            program, variables, settings: see `jaxgan.latent.optimise`.
            begin: rows -> (latents, targets).
            finish: (latents, rows) -> results [B, ...].

        Returns:
            The results, "used" [N] (steps), "failed" [N], and "losses" [steps, N].
        """
        job, whole = self._begun(name)
        if whole is not None:
            return whole
        runner = Runner(
            program,
            variables,
            settings,
            job=job,
            progress=lambda done, _: self._said(name, done),
        )

        def batch(number: int, given: Rows, keys: jax.Array) -> dict[str, np.ndarray]:
            carry, found = runner.run(number, *begin(given), keys)
            kept = {"used": carry.used, "failed": carry.failed} | dict(finish(carry.latent, given))
            return {k: _host(v) for k, v in kept.items()} | {"losses": found["losses"]}

        try:
            found = self._batched(name, job, rows, batch)
        finally:
            runner.close()
        self.seconds[name] = max(self.seconds[name] - runner.compile_seconds, 0.0)
        return found

    def _said(self, name: str, done: int) -> None:
        self._progress(min(self._before.get(name, 0) + done, self._total), self._total)

    def _begun(self, name: str) -> tuple[Job | None, dict[str, np.ndarray] | None]:
        """(job, results) of a stage: a finished one's, in whatever batches they were made, as a later stage may need
        smaller ones; or else None, of a job that may go on."""
        if self._folder is None:
            return None, None
        job = Job(self._folder / name, self._identities.get(name, {}), self._every)
        whole = job.part(_WHOLE)
        if whole is None:
            job.check(self._size)
        else:
            self.seconds[name] = float(whole.pop("seconds"))
        return job, whole

    def _batched(
        self,
        name: str,
        job: Job | None,
        rows: Mapping[str, np.ndarray],
        batch: Callable[[int, Rows, jax.Array], dict[str, np.ndarray]],
    ) -> dict[str, np.ndarray]:
        parts, seconds, rows = [], 0.0, {**rows, **self._shared}
        for number, chosen, count in batches(self._count, self._size):
            done = job.part(number) if job else None
            if done is None:
                began = time.perf_counter()
                with memory.explained(self._size):
                    given = self._place({k: np.asarray(v)[chosen] for k, v in rows.items()})
                    done = batch(number, given, self._keys(chosen))
                done = {k: v[:, :count] if k in _BY_STEP else v[:count] for k, v in done.items()}
                done["seconds"] = np.float64(time.perf_counter() - began)
                if job:
                    job.save_part(number, done)
            seconds += float(done.pop("seconds"))
            parts.append(done)
        self.seconds[name] = seconds
        whole = {k: np.concatenate([p[k] for p in parts], axis=1 if k in _BY_STEP else 0) for k in parts[0]}
        if job:
            job.save_part(_WHOLE, whole | {"seconds": np.float64(seconds)})
        return whole

    def _keys(self, rows: np.ndarray) -> jax.Array:
        key = jax.random.key(self._seed)
        return self._place(jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.asarray(rows)))


def _host(values: Any) -> np.ndarray:
    return parallel.to_host(values) if isinstance(values, jax.Array) else np.asarray(values)
