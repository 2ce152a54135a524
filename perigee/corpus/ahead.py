"""Work done in threads ahead of its reader, who gets the results in order.

Only work that leaves the interpreter's lock (NumPy, Arrow, hashing) gains by it. A thread that
holds the lock without a break would make each of the others wait five milliseconds for it, time
and again: nothing of that kind may run beside this.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

MAXIMUM_WORKERS = 8
"""Threads at the most: more would only hold blocks in memory and wait for the one who reads."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def worker_count() -> int:
    """Threads worth having on this machine."""
    return min(len(os.sched_getaffinity(0)), MAXIMUM_WORKERS)


def in_order(
    function: Callable[[Item], Result], items: Iterator[Item], share: float
) -> Iterator[Result]:
    """``map(function, items)``, a few items ahead of whoever reads the results.

    What ``items`` or ``function`` raise is raised when the results before it are read.

    Parameters
    ----------
    share:
        Items drawn ahead, as a share of those whose results were read; so few are drawn in vain
        if the reader stops. Nothing is drawn ahead, and no thread is started, at the beginning.
    """
    most, read, failure = worker_count() + 1, 0, None
    waiting: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(worker_count())
    try:
        while failure is None:
            try:
                item = next(items, None)
            except Exception as error:
                failure = error
                break
            if item is None:
                break
            room = min(most, int(read * share))
            if not room and not waiting:
                yield function(item)
                read += 1
                continue
            waiting.append(pool.submit(function, item))
            while len(waiting) > room:
                yield waiting.popleft().result()
                read += 1
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    if failure is not None:
        raise failure
