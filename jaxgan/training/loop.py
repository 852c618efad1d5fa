"""The training loop: a fixed order of step, tick, checkpoint; it waits for the device where a number is printed."""

import functools
import json
import math
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from jaxgan.checkpoint import Checkpoints, state_bytes, wait_for_processes
from jaxgan.data.pipeline import DevicePrefetch
from jaxgan.data.sources import ImageSet
from jaxgan.errors import UserError
from jaxgan.metrics.files import EVALUATIONS_FOLDER, save_evaluation
from jaxgan.report import image_grid, write_atomic
from jaxgan.training import evaluation, growth
from jaxgan.training.programs import Layout, fresh_state, schedule, step_at
from jaxgan.training.run_report import write_run_report
from jaxgan.training.stage import Stage, device_batches
from jaxgan.training.state import TrainState
from jaxgan.training.watch import Watch

_DISPATCHES_BETWEEN_QUESTIONS = 16  # of several processes, whether one was told to stop
_SUMMED = ("nonfinite",)  # metrics of which a tick reports the sum, not the mean


def train(
    config: Mapping[str, Any], images: ImageSet, workdir: str | Path, reals: ImageSet | None = None
) -> TrainState:
    """Trains to `total_kimg`, from the latest checkpoint of the run directory if it has one.

    Args:
        config: a resolved and checked config.
        images: the training set.
        workdir: the run directory, already made.
        reals: what the run is measured against; by default the training set.

    Raises:
        UserError: the disk is full, or a loss is no longer finite; the last good checkpoint is kept.
    """
    workdir = Path(workdir)
    total = math.ceil(config["total_kimg"] * 1000)
    keep_every = math.ceil(config["checkpoint"]["milestone_kimg"] * 1000)
    # Checkpoints are numbered by images seen, so that milestones and names mean the same at every batch size.
    with Checkpoints(workdir / "checkpoints", keep=config["checkpoint"]["keep"], keep_every=keep_every) as checkpoints:
        total = max(total, *checkpoints.steps(), 0)
        phases = growth.phases(config, total)
        # Two are needed at a time, the one that trains and the one that is being compiled.
        stage_of = functools.lru_cache(maxsize=2)(functools.partial(Stage, config, images))
        largest = stage_of(phases[-1]).place
        _check_disk(workdir, state_bytes(largest.shapes), config["checkpoint"]["keep"] + 1 - len(checkpoints.steps()))
        state, phase, cursor = _start(phases, stage_of, checkpoints)
        first = jax.process_index() == 0
        seen = int(state.images_seen)
        with Watch(workdir, total_images=total, images_seen=seen, enabled=first) as watch:
            if seen == 0:
                watch.note(_heading(images, largest, config))
                watch.picture("reals", image_grid(_some(images, config["grid"]["images"])), 0)
            run = _Run(config, workdir, checkpoints, watch, images if reals is None else reals)
            state = run.through(phases[phases.index(phase) :], stage_of, state, cursor)
            checkpoints.wait()
    if first:
        write_run_report(workdir, config)
    return state


def _heading(images: ImageSet, place: Layout, config: Mapping[str, Any]) -> str:
    """What is trained on what, on one line."""
    height, width = images.resolution
    sizes = [
        sum(x.size for x in jax.tree.leaves(v["params"])) for v in (place.shapes.generator, place.shapes.discriminator)
    ]
    labels = f", {config['model']['num_classes']} classes" if config["model"]["num_classes"] else ""
    return (
        f"{images.name} ({images.split}): {len(images):,} images of {height}x{width}x{images.channels}{labels}; "
        f"generator {sizes[0] / 1e6:.2f} M, discriminator {sizes[1] / 1e6:.2f} M parameters; "
        f"{jax.device_count()} x {jax.devices()[0].device_kind}"
    )


def _some(images: ImageSet, count: int) -> np.ndarray:
    """Random training images for the eye, always the same."""
    return images.gather(np.random.default_rng(0).permutation(len(images))[:count])


def _start(
    phases: list[growth.Phase], stage_of: Callable[[growth.Phase], Stage], checkpoints: Checkpoints
) -> tuple[TrainState, growth.Phase, Any]:
    """(state, its phase, data cursor): restored, or fresh where there is nothing to restore."""
    if not checkpoints.steps():
        first = stage_of(phases[0])
        return fresh_state(first.gan, first.config, first.place), phases[0], None
    by_level = {phase.level: phase for phase in phases}
    step, state, meta = checkpoints.restore(lambda meta: stage_of(by_level[meta["level"]]).place.template)
    checkpoints.set_aside_after(step)
    return state, by_level[meta["level"]], meta["data"]


def _described(phase: growth.Phase, stage: Stage) -> str:
    height, width, _ = stage.gan.generator.image_shape
    state = "fades in" if phase.fade else "is stable"
    return f"{height}x{width} {state}, batch {stage.config['batch_size']}"


def _prepared(
    stage_of: Callable[[growth.Phase], Stage], phase: growth.Phase, before: Stage, step: int
) -> Callable[[TrainState], TrainState]:
    """Compiles the stage of a phase to come, and gives the program that leads to it."""
    stage = stage_of(phase)
    stage.compile(step)
    return stage.grown(before)


class _Run:
    """One process's part in a run; `through` is the loop over phases, `_until` the one over iterations."""

    def __init__(self, config, workdir, checkpoints, watch, reals):
        self._config, self._workdir, self._reals = config, workdir, reals
        self._checkpoints, self._watch = checkpoints, watch
        self._pending: list[dict[str, jax.Array]] = []
        self._tick_start = (0, 0.0)
        self._dispatches = 0
        self._warned: set[str] = set()  # of metrics; each is said once
        self._saved = 0  # images seen by the latest checkpoint
        self._stage: Stage | None = None
        self._data: DevicePrefetch | None = None

    def through(
        self,
        phases: list[growth.Phase],
        stage_of: Callable[[growth.Phase], Stage],
        state: TrainState,
        cursor: Any,
    ) -> TrainState:
        """Trains through the phases to the last one's end, a signal, or a loss that is not finite."""
        seen, end = int(state.images_seen), phases[-1].end
        if seen >= end:
            self._watch.note(f"{self._workdir} has seen {seen:,} images already; raise config.total_kimg to go on")
            return state
        self._saved, stage = seen, stage_of(phases[0])
        stage.compile(int(state.step), self._watch.note)
        wait_for_processes("compiled")
        self._tick_start = (seen, time.monotonic())
        with _stop_signals() as stopping, ThreadPoolExecutor(max_workers=1) as background:
            for phase, following in zip(phases, [*phases[1:], None]):
                if following is not None:
                    step = step_at(phase.end, int(state.step), int(state.images_seen), stage.config)
                    coming = background.submit(_prepared, stage_of, following, stage, step)
                with closing(device_batches(stage.config, stage.images, stage.place, cursor)) as self._data:
                    self._stage = stage
                    state, stopped = self._until(phase.end, end, state, stopping)
                    cursor = self._data.state()
                    if not stopped and following is not None:
                        self._save(state, int(state.images_seen))  # what comes next may take minutes
                if stopped or following is None or self._left_waiting(coming, stopping):
                    return state
                grow, stage = coming.result(), stage_of(following)
                wait_for_processes(f"grown-{following.start}")
                self._watch.note(f"{int(state.images_seen):,} images: {_described(following, stage)}")
                state = grow(state)
        raise AssertionError("the last phase returns")

    def _until(self, end: int, total: int, state: TrainState, stopping: threading.Event) -> tuple[TrainState, bool]:
        """(state at the end of a phase, whether the run was told to stop); at a stop and at `total` it is saved."""
        config, programs = self._stage.config, self._stage.programs
        critic_steps = config["loss"]["critic_steps"]
        images_per_step, tick_images = config["batch_size"] * critic_steps, config["tick_kimg"] * 1000
        step, seen = int(state.step), int(state.images_seen)
        ticks = int(seen // tick_images)
        while seen < end:
            # 1. Dispatch, then wait for the dispatch before: the device never idles, the queue never grows.
            _, _, count = schedule(step, config)
            state, metrics = programs.run(step, state, tuple(next(self._data) for _ in range(count * critic_steps)))
            step, seen = step + count, seen + count * images_per_step
            previous = self._pending[-1] if self._pending else None
            self._pending.append(metrics)
            if previous is not None:
                jax.block_until_ready(previous)
                self._watch.progress(seen, G=_last(previous["G_loss"]), D=_last(previous["D_loss"]))
            # 2. At a tick: numbers, then a checkpoint (so that none is ever saved behind a loss that is no number).
            stop, last = self._agree_to_stop(stopping), seen >= total
            if seen // tick_images > ticks or last or stop:
                before, ticks = ticks, int(seen // tick_images)
                state = self._tick(state, seen, _crossed(before, ticks, self._config["eval_every"]) or last)
                if _crossed(before, ticks, self._config["checkpoint"]["every_ticks"]) or last or stop:
                    self._save(state, seen)
            if stop:
                self._watch.progress(seen)
                self._checkpoints.wait()
                self._watch.note(f"stopped at {seen:,} images and saved; the same command continues")
                return state, True
        return state, False

    def _left_waiting(self, coming: Future, stopping: threading.Event) -> bool:
        """Waits for the next stage; whether a single process was told to stop meanwhile."""
        while not coming.done():
            wait([coming], timeout=0.2)
            if stopping.is_set() and jax.process_count() == 1:
                self._checkpoints.wait()
                self._watch.note("stopped between two phases and saved; the same command continues")
                return True
        return False

    def _agree_to_stop(self, stopping: threading.Event) -> bool:
        """Whether all processes stop here: if one of them was asked to. Several ask each other now and then only."""
        self._dispatches += 1
        if jax.process_count() == 1:
            return stopping.is_set()
        if self._dispatches % _DISPATCHES_BETWEEN_QUESTIONS:
            return False
        return bool(np.any(multihost_utils.process_allgather(np.asarray(stopping.is_set()))))

    def _tick(self, state: TrainState, seen: int, evaluate: bool) -> TrainState:
        """Numbers and pictures; returns the state with the average calibrated."""
        row = _summarise(jax.device_get(self._pending))
        self._pending = []
        now = time.monotonic()
        images, seconds = seen - self._tick_start[0], now - self._tick_start[1]
        if not (math.isfinite(row["G_loss"]) and math.isfinite(row["D_loss"])):
            self._fail(state, seen, row)
        row |= {"images_seen": seen, "images_per_second": images / seconds, "seconds_per_kimg": 1000 * seconds / images}
        row |= {"pl_mean": float(state.pl_mean)} | _peak_memory()
        if self._stage.phase.level is not None:
            row["resolution"] = self._stage.gan.generator.resolution
        state = self._stage.calibrate(state)
        if evaluate and self._config["eval_every"] and self._stage.measurable:
            row |= self._evaluate(state, seen)
        self._watch.tick(row)
        pictures = np.asarray(self._stage.sample(state))
        self._watch.picture(f"fakes-{seen:08d}", image_grid(pictures), seen)
        self._tick_start = (seen, time.monotonic())
        return state

    def _evaluate(self, state: TrainState, seen: int) -> dict[str, float]:
        """Metrics by name, for the tick's row; their cards go to a file of their own."""
        start = time.monotonic()
        gan, config = self._stage.gan, self._stage.config
        found = evaluation.run(gan, config, evaluation.at_level(config, self._reals, gan), state)
        if jax.process_index() == 0:
            save_evaluation(found, self._workdir / EVALUATIONS_FOLDER / f"{seen:08d}.json", seen)
        lines = [card.line() for card in found.cards]
        warnings = {w for card in found.cards for w in card.warnings} - self._warned
        self._warned |= warnings
        self._watch.note("\n".join([*lines, *(f"warning: {w}" for w in sorted(warnings))]))
        return {c.metric: c.value for c in found.cards} | {"evaluation_seconds": time.monotonic() - start}

    def _save(self, state: TrainState, seen: int) -> None:
        if seen == self._saved:
            return
        self._saved = seen
        meta = {
            "data": self._data.state(),
            "images_seen": seen,
            "step": int(state.step),
            "level": self._stage.phase.level,
        }
        self._checkpoints.save(seen, state, meta)

    def _fail(self, state: TrainState, seen: int, row: Mapping[str, float]) -> None:
        """Leaves what is needed to see why, and stops the run."""
        networks = {"generator": state.generator, "discriminator": state.discriminator}
        counts = jax.device_get(jax.jit(lambda t: jax.tree.map(lambda x: jnp.sum(~jnp.isfinite(x)), t))(networks))
        bad = {jax.tree_util.keystr(p): int(n) for p, n in jax.tree_util.tree_leaves_with_path(counts) if n}
        path = self._workdir / "diagnostics.json"
        text = json.dumps(
            {"images_seen": seen, "tick": {k: str(v) for k, v in row.items()}, "nonfinite": bad}, indent=2
        )
        if jax.process_index() == 0:
            write_atomic(path, text.encode())
        self._checkpoints.wait()
        kept = self._checkpoints.steps()
        last = f"the checkpoint at {kept[-1]:,} images is kept" if kept else "no checkpoint had been saved yet"
        raise UserError(
            f"a loss is not finite at {seen:,} images ({path} says more; {last}); lower config.optimizer.g_lr and d_lr "
            "or raise config.loss.r1_gamma, in another --workdir"
        )


def _crossed(before: int, after: int, every: int) -> bool:
    """Whether a multiple of `every` (0: never) lies in (before, after]; one dispatch may pass several ticks."""
    return every > 0 and after // every > before // every


def _last(x: jax.Array) -> jax.Array:
    """The latest value of a metric; a dispatch of several steps brings several."""
    return x.reshape(-1)[-1]


def _summarise(metrics: list[dict[str, np.ndarray]]) -> dict[str, float]:
    """One number a name over a tick's dispatches: the mean over the steps that had it, or the sum of a count."""
    values: dict[str, list[np.ndarray]] = {}
    for m in metrics:
        for name, value in m.items():
            values.setdefault(name, []).append(np.asarray(value, np.float64).reshape(-1))
    joined = {name: np.concatenate(v) for name, v in sorted(values.items())}
    return {k: float(v.sum() if k.endswith(_SUMMED) else v.mean()) for k, v in joined.items()}


def _peak_memory() -> dict[str, float]:
    stats = jax.local_devices()[0].memory_stats() or {}
    return {"peak_memory_gb": stats["peak_bytes_in_use"] / 2**30} if "peak_bytes_in_use" in stats else {}


def _check_disk(workdir: Path, size: int, checkpoints: int) -> None:
    """Room for so many more checkpoints; the one that replaces another is written before that is deleted."""
    free, needed = shutil.disk_usage(workdir).free, size * max(checkpoints, 1)
    if free < needed:
        raise UserError(
            f"{workdir} has {free / 2**20:.1f} MiB free and the checkpoints to come need {needed / 2**20:.1f} MiB; "
            "free that much, lower config.checkpoint.keep or choose another --workdir"
        )


@contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set; a second Ctrl-C interrupts at once. Only in a process's main thread."""
    stopping = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopping
        return

    def stop(number: int, _: Any) -> None:
        if stopping.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stopping.set()

    old = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopping
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
