"""A client that takes nothing is given up; until then the others go on."""

import asyncio
import json
import time

import pytest

from jaxgan.explorer import session
from jaxgan.explorer.scene import Facts
from jaxgan.explorer.session import Gone, Session
from tests.explorer.test_batcher import running

FACTS = Facts(num_ws=6, w_dim=8, classes=0, extras=0, code=0, photo_code=0, moves=(), coded=True, maps=False)


class Reader:
    """A socket whose client asks for `count` frames and goes when it has one."""

    def __init__(self, count):
        self.got, self._left = [], count

    async def receive_text(self):
        if self._left:
            self._left -= 1
            return json.dumps({"type": "frame", "id": self._left, "scene": {"seed": self._left}})
        while len(self.got) < 2:
            await asyncio.sleep(0.005)
        raise Gone

    async def send_bytes(self, data):
        self.got.append(data)


class Stuck(Reader):
    """One that takes the greeting, asks for a frame, and then reads nothing any longer."""

    async def receive_text(self):
        if self._left:
            return await super().receive_text()
        await asyncio.Event().wait()

    async def send_bytes(self, data):
        if self.got:
            await asyncio.Event().wait()
        self.got.append(data)


@pytest.mark.parametrize("patience", [0.3, 30.0])
def test_who_reads_nothing_stalls_no_one_and_is_given_up(monkeypatch, patience):
    monkeypatch.setattr(session, "_SECONDS", patience)

    async def play():
        async with running(lambda requests: [[({}, b"picture")] for _ in requests], most=8) as batcher:
            stuck = [Stuck(1) for _ in range(4)]
            tasks = [asyncio.create_task(Session(s, FACTS, batcher, None, 60.0).serve({})) for s in stuck]
            await asyncio.sleep(0.05)
            began = time.monotonic()
            for _ in range(20):
                reader = Reader(1)
                await asyncio.wait_for(Session(reader, FACTS, batcher, None, 60.0).serve({}), 5)
                assert b"picture" in reader.got[1]
            assert time.monotonic() - began < 5
            _, waiting = await asyncio.wait(tasks, timeout=2)
            for task in waiting:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            return len(waiting)

    assert asyncio.run(play()) == (0 if patience < 2 else 4)
