"""`map` over an executor that keeps the order and never runs far ahead of its consumer."""

import collections
import concurrent.futures
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def ordered_map(
    executor: concurrent.futures.Executor, function: Callable[[T], R], items: Iterable[T], *, window: int
) -> Iterator[R]:
    """Yields `function(item)` in the order of `items`, with at most `window` calls under way or waiting.

    `Executor.map` submits everything at once, which for a large set means holding all of it. An exception of
    `function` is raised here, where its result would have come; what is waiting is then cancelled.
    """
    pending = collections.deque()
    try:
        for item in items:
            pending.append(executor.submit(function, item))
            if len(pending) >= window:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()
