"""What a run shows and records, in a terminal, in a log and after a crash."""

import io
import json
import math
import struct
import sys

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from jaxgan.errors import UserError
from jaxgan.training import watch as watch_module
from jaxgan.training.watch import RecentRate, Watch, format_seconds, plain_interval, read_metrics, truncate_metrics


class Clock:
    """Stands in for the time module."""

    def __init__(self):
        self.now = 100.0

    def monotonic(self):
        return self.now

    def time(self):
        return 1e9 + self.now


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(watch_module, "time", clock)
    return clock


def log_console():
    return Console(file=io.StringIO(), width=80)


def open_watch(workdir, images_seen=0, total_images=1000, **options):
    return Watch(workdir, total_images=total_images, images_seen=images_seen, console=log_console(), **options)


def read_events(workdir):
    """The events of the one file of a run: records of length, checksum, data, checksum."""
    from tensorboardX.proto.event_pb2 import Event

    (file,) = workdir.glob("events.out.tfevents.*")
    data, events = file.read_bytes(), []
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        events.append(Event.FromString(data[12 : 12 + length]))
        data = data[16 + length :]
    return events


def test_metrics_round_trip(tmp_path, clock):
    with open_watch(tmp_path) as watch:
        clock.now += 5
        watch.tick({"images_seen": 10, "loss": np.float32(0.5), "bad": math.nan, "worse": -math.inf})
        watch.progress(20)
        watch.tick({"loss": np.ones((), np.float32)})
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    strict = [json.loads(line, parse_constant=pytest.fail) for line in lines]
    assert strict[0] == {"images_seen": 10, "seconds": 5.0, "time": 1e9 + 105, "loss": 0.5, "bad": None, "worse": None}
    rows = read_metrics(tmp_path)
    assert math.isnan(rows[0]["bad"])
    assert math.isnan(rows[0]["worse"])
    assert rows[1] == {"images_seen": 20, "seconds": 5.0, "time": 1e9 + 105, "loss": 1.0}


def test_rows_are_on_disk_at_once(tmp_path):
    with open_watch(tmp_path) as watch:
        watch.tick({"loss": 1.0})
        assert len(read_metrics(tmp_path)) == 1


def test_read_metrics_of_a_new_run_is_empty(tmp_path):
    assert read_metrics(tmp_path) == []
    truncate_metrics(tmp_path, 0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("torn", ['{"images_seen": 3, "lo', "{", "\0\0\0\0", '{"a": "\xff'])
def test_a_torn_last_line_is_ignored_and_removed(tmp_path, torn):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"images_seen": 1}\n{"images_seen": 2}\n' + torn.encode("latin-1"))
    assert [row["images_seen"] for row in read_metrics(tmp_path)] == [1, 2]
    truncate_metrics(tmp_path, 10)
    assert path.read_text() == '{"images_seen": 1}\n{"images_seen": 2}\n'


def test_a_broken_line_elsewhere_is_named(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"images_seen": 1}\nhello\n{"images_seen": 2}\n')
    with pytest.raises(UserError, match=r"metrics\.jsonl, line 2"):
        read_metrics(tmp_path)


def test_truncate_keeps_rows_up_to_the_checkpoint(tmp_path):
    rows = [{"images_seen": n, "loss": loss} for n, loss in [(0, 1.5), (10, None), (20, 0.1), (30, 0.2)]]
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    truncate_metrics(tmp_path, 20)
    assert [json.loads(line) for line in path.read_text().splitlines()] == rows[:3]
    assert list(tmp_path.iterdir()) == [path]


def test_a_resumed_run_has_no_duplicates(tmp_path, clock):
    with open_watch(tmp_path) as watch:
        for n in (10, 20, 30):
            clock.now += 1
            watch.tick({"images_seen": n, "loss": n})
    clock.now += 1000  # between the two processes
    with open_watch(tmp_path, images_seen=20) as watch:
        for n in (30, 40):
            clock.now += 1
            watch.tick({"images_seen": n, "loss": n})
    rows = read_metrics(tmp_path)
    assert [row["images_seen"] for row in rows] == [10, 20, 30, 40]
    assert [row["seconds"] for row in rows] == [1, 2, 3, 4]


def test_a_run_from_zero_begins_with_no_rows(tmp_path):
    for _ in range(2):
        with open_watch(tmp_path) as watch:
            watch.tick({"images_seen": 0, "loss": 1.0})
    assert len(read_metrics(tmp_path)) == 1


def test_tensorboard_events(tmp_path):
    with open_watch(tmp_path, images_seen=20) as watch:
        watch.tick({"images_seen": 30, "G/loss": 0.5})
        watch.picture("fakes-000030", np.zeros((8, 8, 3), np.float32), 30)
    events = read_events(tmp_path)
    starts = [event.step for event in events if event.HasField("session_log")]
    assert starts == [21]  # TensorBoard drops older events from this step on
    values = {value.tag: (event.step, value) for event in events for value in event.summary.value}
    assert values.keys() == {"G/loss", "seconds", "fakes"}
    assert values["G/loss"][0] == 30
    assert values["G/loss"][1].simple_value == 0.5
    assert values["fakes"][1].image.height == 8


def test_runs_without_tensorboard(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with open_watch(tmp_path) as watch:
        watch.tick({"images_seen": 1, "loss": 1.0})
        watch.picture("x", np.zeros((8, 8, 1), np.uint8), 1)
    assert "tensorboardX is not installed" in watch._console.file.getvalue()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["metrics.jsonl", "samples"]


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_picture_is_written_enlarged(tmp_path, channels):
    with open_watch(tmp_path) as watch:
        watch.picture("reals", np.full((32, 64, channels), 9, np.uint8), 0)
    with Image.open(tmp_path / "samples" / "reals.png") as image:
        assert image.size == (64 * 12, 32 * 12)
        assert np.asarray(image).max() == 9


def test_plain_lines_do_not_flood(tmp_path, clock):
    with open_watch(tmp_path, total_images=1_000_000) as watch:
        for step in range(1, 10_001):
            clock.now += 1.0
            watch.progress(step * 64, G=np.float32(0.6931), D=1.386)
    lines = watch._console.file.getvalue().splitlines()
    assert lines[0] == "64/1,000,000 images  0.0%  G 0.693  D 1.39"
    assert lines[1] == "704/1,000,000 images  0.1%  64 img/s  ETA 4h 20m  G 0.693  D 1.39"
    assert lines[-1].startswith("640,000/1,000,000 images  64.0%  64 img/s  ETA 1h 33m")
    assert 20 < len(lines) < 80


def test_plain_lines_are_not_wrapped_or_coloured(tmp_path, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    with open_watch(tmp_path) as watch:
        watch.progress(1, **{f"number_{i}": float(i) for i in range(20)})
        watch.note("[bold]as it is[/bold]")
    lines = watch._console.file.getvalue().splitlines()
    assert len(lines) == 2
    assert "\x1b" not in lines[0]
    assert lines[1] == "[bold]as it is[/bold]"


def test_a_terminal_gets_a_bar(tmp_path, clock):
    console = Console(file=Terminal(), width=100, force_terminal=True, force_interactive=True)
    with Watch(tmp_path, total_images=2_000_000, images_seen=1_000_000, console=console) as watch:
        for step in range(1, 101):
            clock.now += 0.1
            watch.progress(1_000_000 + step * 100, G=0.5, D=1.25)
        watch.note("a note")
    shown = console.file.getvalue()
    assert "a note" in shown
    assert "50%" in shown
    assert "1.01M/2.00M images  1,000 img/s  ETA 16m 30s  G 0.5  D 1.25" in shown


def test_numbers_are_read_only_when_painted(tmp_path, clock):
    class DeviceArray:
        reads = 0

        def __array__(self, dtype=None, copy=None):
            DeviceArray.reads += 1
            return np.ones(())

    with open_watch(tmp_path, total_images=10_000) as watch:
        for step in range(100):
            clock.now += 0.01
            watch.progress(step, G=DeviceArray())
    assert DeviceArray.reads == 2  # the first line, and the last at the end


def test_an_error_passes_and_closes(tmp_path, clock):
    watch = open_watch(tmp_path)

    def train():
        with watch:
            watch.progress(1, G=1.0)
            clock.now += 1
            watch.progress(2, G=object())  # a device array that will never be done
            raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        train()
    assert watch._console.file.getvalue().splitlines()[-1] == "2/1,000 images  0.2%  1 img/s  ETA 16m 38s"


def test_a_disabled_watch_does_nothing(tmp_path):
    workdir = tmp_path / "run"
    with open_watch(workdir, enabled=False) as watch:
        watch.progress(1, G=object())
        watch.tick({"loss": 1.0})
        watch.picture("x", np.zeros((8, 8, 3), np.uint8), 1)
        watch.note("silence")
    assert watch._console.file.getvalue() == ""
    assert not workdir.exists()


def test_recent_rate_forgets():
    rate = RecentRate(window=10.0)
    assert rate.per_second == 0
    rate.add(1000.0, 500)  # a resumed run: what came before does not count
    assert rate.per_second == 0
    for second in range(1, 31):
        rate.add(1000.0 + second, 500 + 10 * second)
    assert rate.per_second == pytest.approx(10)
    for second in range(1, 31):
        rate.add(1030.0 + second, 800 + 20 * second)
    assert rate.per_second == pytest.approx(20)


def test_recent_rate_of_steps_longer_than_the_window():
    rate = RecentRate(window=10.0)
    for step in range(5):
        rate.add(step * 100.0, step * 50)
    assert rate.per_second == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("seconds", "text"), [(-3, "0s"), (59.4, "59s"), (59.6, "1m 00s"), (3725, "1h 02m"), (90_000, "1d 01h")]
)
def test_format_seconds(seconds, text):
    assert format_seconds(seconds) == text


def test_plain_interval_grows_within_limits():
    assert [plain_interval(t) for t in (0, 100, 600, 1e6)] == [10, 10, 60, 300]
