"""How long after a pointer event is the frame there, for one user and for many? Does the server's memory stay?

python benchmarks/explorer.py [--run=zoo:fashion-eqgan] [--clients=1,4,16] [--seconds=10] [--frames=10000] [--browser]
    [--json=FILE]

The server is `jaxgan explore` in a process of its own, asked through real WebSockets. Every client drags in circles:
its pointer moves 60 times a second, each event is sent at once, and a newer one takes the place of one that waits. The
latency is from the event whose frame has come to when that is decoded; events that were passed over are counted. With
--browser also in headless Chromium, from a pointermove on the page to when its frame is painted on the canvas. The
clients run on the same machine as the server, which takes from what it has.
"""

import asyncio
import contextlib
import io
import json
import math
import os
import re
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags
from PIL import Image
from websockets.asyncio.client import connect

from benchmarks import command
from jaxgan.cli import parse
from jaxgan.errors import UserError
from jaxgan.report import text_table

FLAGS = flags.FlagValues()
flags.DEFINE_string("run", "zoo:fashion-eqgan", "a run directory, zoo:NAME or a file", flag_values=FLAGS)
flags.DEFINE_list("clients", ["1", "4", "16"], "how many drag at a time", flag_values=FLAGS)
flags.DEFINE_float("seconds", 10.0, "of each", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_float("rate", 60.0, "pointer events a second of each", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_integer("frames", 10_000, "for the memory; 0 leaves it out", lower_bound=0, flag_values=FLAGS)
flags.DEFINE_integer("batch", 8, "pictures a call at most", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_bool("browser", False, "in Chromium too", flag_values=FLAGS)
flags.DEFINE_string("json", "", "where to write the numbers", flag_values=FLAGS)

_SETTLED = 1000  # frames before the memory is looked at


@contextlib.contextmanager
def server(run: str, batch: int) -> Iterator[tuple[int, int]]:
    """(port, process) of an explorer."""
    command = [sys.executable, "-m", "jaxgan", "explore", f"--run={run}", "--port=0", f"--batch={batch}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            for line in process.stdout:
                print(line.rstrip())
                if found := re.search(r"http://[^:]+:(\d+)/", line):
                    yield int(found[1]), process.pid
                    break
            else:
                raise UserError("the server did not start; its output says why")
        finally:
            process.terminate()


def parts(data: bytes) -> tuple[dict[str, Any], bytes]:
    """(header, picture) of what the server sends."""
    (size,) = struct.unpack("<I", data[:4])
    return json.loads(data[4 : 4 + size]), data[4 + size :]


class Dragger:
    """A user who drags."""

    def __init__(self, port: int, number: int):
        self.port, self.number = port, number
        self.sent: dict[int, float] = {}
        self.latencies: list[float] = []

    async def open(self) -> None:
        """Connects, and learns where the centres of its own picture are."""
        self.socket = await connect(f"ws://127.0.0.1:{self.port}/socket", max_size=None)
        self.hello, _ = parts(await self.socket.recv())
        await self.socket.send(json.dumps({"type": "frame", "id": 0, "scene": {"seed": self.number}}))
        header, _ = parts(await self.socket.recv())
        self.place = header["place"]
        names = [d["name"] for d in self.hello["directions"]]
        self.names = [n for n in names if n.startswith(("pca:", "z:"))][:2]

    def scene(self, event: int) -> dict[str, Any]:
        """Where the pointer is at an event: once around in two seconds."""
        angle = math.pi * event / 60 + self.number
        at = [0.5 * math.sin(angle), 0.5 * math.cos(angle)]
        if self.place:
            return {"seed": self.number, "place": [*at, *self.place[2:]]}
        return {"seed": self.number, "moves": {name: 4 * v for name, v in zip(self.names, at)}}

    async def move(self, seconds: float, rate: float) -> None:
        """Sends events at a rate."""
        began = time.perf_counter()
        for event in range(1, round(seconds * rate) + 1):
            await asyncio.sleep(max(0.0, began + event / rate - time.perf_counter()))
            message = {"type": "frame", "id": event, "moving": True, "scene": self.scene(event)}
            self.sent[event] = time.perf_counter()
            await self.socket.send(json.dumps(message))

    async def watch(self) -> None:
        """Takes frames."""
        async for data in self.socket:
            header, picture = parts(data)
            if header["type"] == "error":
                raise UserError(header["message"])
            Image.open(io.BytesIO(picture)).load()
            self.latencies.append(time.perf_counter() - self.sent[header["id"]])

    async def play(self, seconds: float, rate: float) -> None:
        """Moves and watches."""
        watching = asyncio.create_task(self.watch())
        await self.move(seconds, rate)
        await asyncio.sleep(1.0)
        await self.socket.close()
        await watching


async def drag(port: int, clients: int, seconds: float, rate: float) -> dict[str, Any]:
    """A row of the table."""
    draggers = [Dragger(port, number) for number in range(clients)]
    for dragger in draggers:
        await dragger.open()
    await asyncio.gather(*(dragger.play(seconds, rate) for dragger in draggers))
    taken = 1000 * np.concatenate([d.latencies for d in draggers])
    p50, p95, p99 = np.percentile(taken, [50, 95, 99])
    worst = max(1000 * np.percentile(d.latencies, 95) for d in draggers)
    return {
        "server": draggers[0].hello["about"],
        "clients": clients,
        "p50 ms": round(float(p50), 1),
        "p95 ms": round(float(p95), 1),
        "p99 ms": round(float(p99), 1),
        "p95 ms of the slowest client": round(float(worst), 1),
        "frames/s a client": round(len(taken) / clients / seconds, 1),
        "events passed over": f"{1 - len(taken) / sum(len(d.sent) for d in draggers):.0%}",
    }


async def ask(port: int, frames: int) -> None:
    """So many frames of different seeds, one after the other."""
    async with connect(f"ws://127.0.0.1:{port}/socket", max_size=None) as socket:
        await socket.recv()
        for number in range(frames):
            await socket.send(json.dumps({"type": "frame", "id": number, "scene": {"seed": number}}))
            await socket.recv()


def resident(process: int) -> float:
    """MB that a process holds."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def memory(port: int, process: int, frames: int) -> dict[str, Any]:
    """What a server holds after some frames, and after many more."""
    asyncio.run(ask(port, _SETTLED))
    before = resident(process)
    asyncio.run(ask(port, frames))
    after = resident(process)
    return {"frames": frames, "MB before": round(before, 1), "MB after": round(after, 1)}


_IN_BROWSER = """
const done = arguments[arguments.length - 1], count = arguments[0];
const stage = document.getElementById("stage"), area = stage.getBoundingClientRect();
stage.setPointerCapture = () => {};
const at = (i) => ({clientX: area.left + (0.5 + 0.25 * Math.sin(i / 20)) * area.width, bubbles: true, pointerId: 1,
  clientY: area.top + (0.5 + 0.25 * Math.cos(i / 20)) * area.height, button: 0, pointerType: "mouse"});
const began = {}, taken = [];
let newest = 0, asked = document.body.dataset.asked;
new MutationObserver(() => {
  const now = document.body.dataset;
  if (now.asked !== asked) began[(asked = now.asked)] = newest;  // at once, or when frames before it have come
  if (began[now.painted]) { taken.push(performance.now() - began[now.painted]); delete began[now.painted]; }
}).observe(document.body, {attributeFilter: ["data-asked", "data-painted"]});
stage.dispatchEvent(new PointerEvent("pointerdown", at(0)));
let i = 0;
const timer = setInterval(() => {
  newest = performance.now();
  stage.dispatchEvent(new PointerEvent("pointermove", at(++i)));
  if (i < count) return;
  clearInterval(timer);
  setTimeout(() => done(taken), 1000);
}, 1000 / arguments[1]);
"""


def in_browser(port: int, seconds: float, rate: float) -> dict[str, Any]:
    """The latency on the page itself."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or shutil.which("google-chrome")
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    browser = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        browser.set_script_timeout(seconds + 30)
        browser.get(f"http://127.0.0.1:{port}/")
        time.sleep(3)
        taken = browser.execute_async_script(_IN_BROWSER, round(seconds * rate), rate)
    finally:
        browser.quit()
    p50, p95 = np.percentile(taken, [50, 95])
    return {"painted frames": len(taken), "p50 ms": round(float(p50), 1), "p95 ms": round(float(p95), 1)}


def main(argv: list[str]) -> None:
    """Measures and prints."""
    values = parse(FLAGS, argv)
    found: dict[str, Any] = {"run": values.run, "cores": os.cpu_count(), "seconds": values.seconds, "rate": values.rate}
    with server(values.run, values.batch) as (port, process):
        rows = []
        for clients in map(int, values.clients):
            rows.append(asyncio.run(drag(port, clients, values.seconds, values.rate)))
            print(rows[-1], flush=True)
        found["drag"] = rows
        if values.browser:
            found["browser"] = in_browser(port, values.seconds, values.rate)
            print(found["browser"], flush=True)
        if values.frames:
            found["memory"] = memory(port, process, values.frames)
            print(found["memory"], flush=True)
    print(text_table(rows))
    if values.json:
        Path(values.json).write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    command.run(main, FLAGS, __doc__)
