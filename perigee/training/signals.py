"""Stops asked for by a signal: remembered, and honoured at the end of a step."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@dataclass
class StopRequest:
    """The signal that asked for a stop, if one has."""

    signal_name: str | None = None


@contextmanager
def catch_stop_signals(request: StopRequest) -> Iterator[StopRequest]:
    """Note the first SIGTERM or SIGINT in ``request``; a second one ends the process as usual.

    Outside the main thread, where Python allows no handlers, nothing is caught.
    """
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    previous = {number: signal.getsignal(number) for number in SIGNALS}
    # What the parent process chose to ignore (nohup, a shell's background job) stays ignored.
    caught = [number for number in SIGNALS if previous[number] is not signal.SIG_IGN]

    def restore() -> None:
        for number in caught:
            handler = previous[number]
            # None stands for a handler that Python did not install and cannot put back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def handle(number: int, _frame: FrameType | None) -> None:
        request.signal_name = signal.Signals(number).name
        restore()

    try:
        for number in caught:
            signal.signal(number, handle)
        yield request
    finally:
        restore()
