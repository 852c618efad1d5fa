"""The newest request of a client wins, clients take turns, and errors are answers."""

import asyncio
import contextlib
import threading

import pytest

from jaxgan.explorer.batcher import Batcher, Replaced


@contextlib.asynccontextmanager
async def running(compute, most=4):
    batcher = Batcher(compute, most)
    task = asyncio.create_task(batcher.run())
    try:
        yield batcher
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class Held:
    """A computation that waits until it is let go, and notes its batches."""

    def __init__(self):
        self.batches, self.go = [], threading.Event()

    def __call__(self, requests):
        self.batches.append(list(requests))
        self.go.wait(10)
        return [f"{r}!" for r in requests]


def test_the_newest_wins():
    held = Held()

    async def play():
        async with running(held) as batcher:
            first = asyncio.create_task(batcher.ask("ann", "frame", "a0"))
            await asyncio.sleep(0.05)  # it is being computed
            drags = []
            for i in range(1, 50):
                drags.append(asyncio.create_task(batcher.ask("ann", "frame", f"a{i}")))
                await asyncio.sleep(0)
            held.go.set()
            return await asyncio.gather(first, *drags, return_exceptions=True)

    found = asyncio.run(play())
    assert found[0] == "a0!"
    assert found[-1] == "a49!"
    assert all(isinstance(f, Replaced) for f in found[1:-1])
    assert held.batches == [["a0"], ["a49"]]


def test_clients_take_turns():
    """One with much to ask does not keep the others waiting, and many are served by one call."""
    held = Held()

    async def play():
        async with running(held, most=3) as batcher:
            tasks = [asyncio.create_task(batcher.ask("first", "frame", "x"))]
            await asyncio.sleep(0.05)
            for client in "abcde":
                tasks.append(asyncio.create_task(batcher.ask(client, "frame", client)))
            tasks.append(asyncio.create_task(batcher.ask("a", "thumbs", "a thumbs", 3)))
            await asyncio.sleep(0)
            held.go.set()
            await asyncio.gather(*tasks)
            assert not batcher.busy

    asyncio.run(play())
    assert held.batches == [["x"], ["a", "b", "c"], ["d", "e"], ["a thumbs"]]


def test_errors_are_answers_and_the_server_goes_on():
    def compute(requests):
        if "all" in requests:
            raise RuntimeError("the device is gone")
        return [ValueError("bad") if r == "bad" else r for r in requests]

    async def play():
        async with running(compute) as batcher:
            found = await asyncio.gather(
                batcher.ask(1, "frame", "bad"), batcher.ask(2, "frame", "good"), return_exceptions=True
            )
            with pytest.raises(RuntimeError, match="gone"):
                await batcher.ask(1, "frame", "all")
            return [*found, await batcher.ask(1, "frame", "after")]

    found = asyncio.run(play())
    assert isinstance(found[0], ValueError)
    assert found[1:] == ["good", "after"]


def test_a_client_that_has_gone_is_not_served():
    held = Held()

    async def play():
        async with running(held) as batcher:
            first = asyncio.create_task(batcher.ask("ann", "frame", "a"))
            await asyncio.sleep(0.05)
            second = asyncio.create_task(batcher.ask("bob", "frame", "b"))
            await asyncio.sleep(0)
            second.cancel()
            await asyncio.sleep(0)
            assert not batcher.busy
            held.go.set()
            await first

    asyncio.run(play())
    assert held.batches == [["a"]]


def test_who_has_gone_leaves_no_one_waiting():
    """Where all that fits in a batch has gone meanwhile, the next in turn is served."""
    held = Held()

    async def play():
        async with running(held, most=1) as batcher:
            first = asyncio.create_task(batcher.ask("ann", "frame", "a"))
            await asyncio.sleep(0.05)
            gone = asyncio.create_task(batcher.ask("bob", "frame", "b"))
            after = asyncio.create_task(batcher.ask("cec", "frame", "c"))
            await asyncio.sleep(0)
            batcher._waiting["bob"]["frame"].answer.cancel()
            held.go.set()
            await asyncio.wait_for(asyncio.gather(first, after), 5)
            await asyncio.gather(gone, return_exceptions=True)

    asyncio.run(play())
    assert held.batches == [["a"], ["c"]]
