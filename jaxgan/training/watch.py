"""What a person sees of a run: a progress line, `metrics.jsonl`, TensorBoard events and sample pictures."""

import collections
import json
import math
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from jaxgan.errors import UserError
from jaxgan.report import save_png, to_uint8, write_atomic

METRICS_FILE = "metrics.jsonl"
SAMPLES_FOLDER = "samples"

_REPAINT_SECONDS = 0.5  # of the bar in a terminal
_PICTURE_PIXELS = 768  # smaller pictures are enlarged by a whole factor up to about this size


class Watch:
    """Shows and records a run; a context manager.

    Entering it makes `workdir` ready to be continued at `images_seen`: rows of `metrics.jsonl` and TensorBoard events
    beyond that, left by a run that died after its last checkpoint, are dropped. A run that begins at 0 begins with
    none.

    In a terminal progress is a bar; elsewhere (logs, batch queues) a plain line now and then, at first every ten
    seconds, then ever more rarely, down to one in five minutes. Both go to stderr.

    Args:
        workdir: the run directory; made if need be.
        total_images: images the whole run is to see.
        images_seen: images seen before this process, by its checkpoint.
        enabled: False makes everything a no-op; for all processes but the first.
        console: where to print; by default stderr.
    """

    def __init__(
        self,
        workdir: str | os.PathLike,
        *,
        total_images: int,
        images_seen: int,
        enabled: bool = True,
        console: Console | None = None,
    ):
        self._workdir = Path(workdir)
        self._total = total_images
        self._start = images_seen
        self._enabled = enabled
        self._console = console or Console(stderr=True)
        self._rate = RecentRate()
        self._images_seen = images_seen
        self._numbers: Mapping[str, Any] = {}
        self._painted = True  # the latest progress is on the screen
        self._next_paint = 0.0
        self._began = self._first_paint = 0.0  # on the monotonic clock; _began as if the run had never stopped
        self._bar: Progress | None = None
        self._board: Any = None

    def __enter__(self) -> "Watch":
        if not self._enabled:
            return self
        self._workdir.mkdir(parents=True, exist_ok=True)
        last_kept = self._start if self._start > 0 else -1
        truncate_metrics(self._workdir, last_kept)
        rows = read_metrics(self._workdir)
        self._began = time.monotonic() - (rows[-1].get("seconds", 0.0) if rows else 0.0)
        self._board = self._open_board(purge_step=last_kept + 1)
        # rich takes FORCE_COLOR, which CI systems set, for a terminal; a file is none whatever its colours.
        if self._console.is_interactive and self._console.file.isatty():
            self._bar = _make_bar(self._console)
            self._bar.add_task("run", total=self._total, completed=self._start, text="starting")
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if not self._painted:
                self._paint({} if kind else self._numbers)  # after an error a device array may never be done
        finally:
            if self._bar is not None:
                self._bar.stop()
            if self._board is not None:
                self._board.close()
            self._bar = self._board = None

    def progress(self, images_seen: int, **numbers: Any) -> None:
        """Moves the bar; cheap enough for every step.

        Args:
            images_seen: of the whole run.
            **numbers: shown as `name value`, for instance `G=0.69, D=1.2`. A device array is waited for only when a
                line is painted, twice a second at most; pass one that is done (a step or two old) and nothing waits.
        """
        if not self._enabled:
            return
        now = time.monotonic()
        self._rate.add(now, images_seen)
        self._images_seen, self._numbers, self._painted = images_seen, numbers, False
        if now >= self._next_paint:
            self._first_paint = self._first_paint or now
            plain = plain_interval(now - self._first_paint)
            self._next_paint = now + (plain if self._bar is None else _REPAINT_SECONDS)
            self._paint(numbers)

    def tick(self, row: Mapping[str, float]) -> None:
        """Appends one row to `metrics.jsonl`, flushed to the disk, and its numbers to TensorBoard.

        Args:
            row: numbers; what is missing of `images_seen` (of the latest `progress`), `seconds` (of training, over
                all resumptions) and `time` (Unix) is filled in. NaN and infinities are written as `null`.
        """
        if not self._enabled:
            return
        filled = {"images_seen": self._images_seen, "seconds": time.monotonic() - self._began, "time": time.time()}
        row = {name: _number(value) for name, value in {**filled, **row}.items()}
        with open(self._workdir / METRICS_FILE, "a", encoding="utf-8") as file:
            file.write(_json_line(row))
            file.flush()
            os.fsync(file.fileno())
        if self._board is not None:
            step = int(row["images_seen"])
            for name in row.keys() - {"images_seen", "time"}:
                self._board.add_scalar(name, row[name], step)
            self._board.flush()

    def picture(self, name: str, image: np.ndarray, images_seen: int) -> None:
        """Writes `samples/<name>.png`, small pictures enlarged, and a TensorBoard image.

        Args:
            name: a file name without its ending. In TensorBoard, `fakes-000100` and `fakes-000200` are one series,
                `fakes`.
            image: [H, W, C], C of 1, 3 or 4, as in `jaxgan.report.to_uint8`; for instance an `image_grid`.
            images_seen: the TensorBoard step.
        """
        if not self._enabled:
            return
        image = to_uint8(image)
        scale = max(1, _PICTURE_PIXELS // max(image.shape[:2]))
        save_png(self._workdir / SAMPLES_FOLDER / f"{name}.png", image, scale)
        if self._board is not None:
            self._board.add_image(re.sub(r"[-_.]?\d+$", "", name) or name, image, images_seen, dataformats="HWC")
            self._board.flush()

    def note(self, text: str) -> None:
        """Prints a line above the bar."""
        if self._enabled:
            self._print(text)

    def _open_board(self, purge_step: int) -> Any:
        """TensorBoard's writer, or None where tensorboardX is not installed."""
        try:
            from tensorboardX import SummaryWriter
        except ImportError:
            self.note("No TensorBoard events: tensorboardX is not installed. metrics.jsonl holds the same numbers.")
            return None
        return SummaryWriter(str(self._workdir), purge_step=purge_step)

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _paint(self, numbers: Mapping[str, Any]) -> None:
        """Brings the screen up to date: moves the bar, or prints a plain line."""
        self._painted = True
        seen, total = self._images_seen, self._total
        status = _status(self._rate.per_second, total - seen, numbers)
        if self._bar is not None:
            text = f"{format_count(seen)}/{format_count(total)} images  {status}"
            self._bar.update(self._bar.task_ids[0], completed=seen, text=text)
        else:
            self._print(f"{seen:,}/{total:,} images  {min(seen / max(total, 1), 1):.1%}  {status}")


class RecentRate:
    """Images a second over the last `window` seconds, from the first call on, so without what came before it."""

    def __init__(self, window: float = 60.0, spacing: float = 0.2):
        self._window, self._spacing = window, spacing
        self._marks: collections.deque[tuple[float, int]] = collections.deque()
        self._latest = (0.0, 0)

    def add(self, now: float, images_seen: int) -> None:
        self._latest = (now, images_seen)
        if not self._marks or now - self._marks[-1][0] >= self._spacing:
            self._marks.append(self._latest)
        # The mark just outside the window stays, so that steps longer than the window are measured too.
        while len(self._marks) > 2 and self._marks[1][0] < now - self._window:
            self._marks.popleft()

    @property
    def per_second(self) -> float:
        """0 until it can be known."""
        if not self._marks:
            return 0.0
        (then, before), (now, images) = self._marks[0], self._latest
        return (images - before) / (now - then) if now > then else 0.0


def read_metrics(workdir: str | os.PathLike) -> list[dict[str, float]]:
    """The rows of `metrics.jsonl`, oldest first; none if there is no such file.

    `null` is read as NaN. A torn last line, left by a process killed while writing, is ignored.

    Raises:
        UserError: if another line is not a JSON object.
    """
    path = Path(workdir) / METRICS_FILE
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            rows.append({name: math.nan if value is None else value for name, value in row.items()})
        except (ValueError, AttributeError) as error:
            if number == len(lines):
                break
            raise UserError(f"{path}, line {number} is not a JSON object: delete that line") from error
    return rows


def truncate_metrics(workdir: str | os.PathLike, images_seen: int) -> None:
    """Atomically drops the rows of `metrics.jsonl` beyond `images_seen`, and a torn last line; keeps rows at it.

    Raises:
        UserError: as `read_metrics`.
    """
    path = Path(workdir) / METRICS_FILE
    if not path.exists():
        return
    kept = [row for row in read_metrics(workdir) if row.get("images_seen", 0) <= images_seen]
    text = "".join(_json_line(row) for row in kept)
    write_atomic(path, text.encode())


def plain_interval(elapsed: float) -> float:
    """Seconds to the next plain line after `elapsed` seconds of them: a tenth of that, within 10 s and 5 min."""
    return min(max(elapsed / 10, 10.0), 300.0)


def format_seconds(seconds: float) -> str:
    """`45s`, `3m 05s`, `2h 07m` or `5d 03h`."""
    minutes, s = divmod(max(0, round(seconds)), 60)
    hours, m = divmod(minutes, 60)
    days, h = divmod(hours, 24)
    if days:
        return f"{days}d {h:02d}h"
    if hours:
        return f"{hours}h {m:02d}m"
    return f"{minutes}m {s:02d}s" if minutes else f"{s}s"


def format_count(count: int) -> str:
    """`9,999`, `123.4k` or `25.00M`."""
    if count < 10_000:
        return f"{count:,}"
    return f"{count / 1e3:.1f}k" if count < 1_000_000 else f"{count / 1e6:.2f}M"


def format_rate(rate: float) -> str:
    """Three digits where there is a fraction, whole numbers from 100 on."""
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"


def _json_line(row: Mapping[str, float]) -> str:
    return json.dumps({name: value if math.isfinite(value) else None for name, value in row.items()}) + "\n"


def _number(value: Any) -> int | float:
    """A Python number out of one, or out of a NumPy or device array of one element."""
    return value if isinstance(value, int | float) else np.asarray(value).item()


def _status(rate: float, images_left: int, numbers: Mapping[str, Any]) -> str:
    """Speed and time left, where the rate is known, and the numbers."""
    speed = [f"{format_rate(rate)} img/s", f"ETA {format_seconds(images_left / rate)}"] if rate > 0 else []
    return "  ".join([*speed, *(f"{name} {_number(value):.3g}" for name, value in numbers.items())])


def _make_bar(console: Console) -> Progress:
    columns = BarColumn(bar_width=None), TextColumn("{task.percentage:.0f}%  {task.fields[text]}", markup=False)
    return Progress(*columns, console=console, expand=True, refresh_per_second=1 / _REPAINT_SECONDS)
