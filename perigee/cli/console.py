"""What a person at the terminal sees of running work: progress bars, records, messages."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING

from perigee.observer import Level, Scalar

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

SECONDS_BETWEEN_LINES = 15.0


class ConsoleObserver:
    """Progress bars on a terminal; a line now and then where the output is a file or a pipe."""

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._last_line: dict[str, float] = {}
        self._measured = ""

    def __enter__(self) -> ConsoleObserver:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                Progress,
                TextColumn,
                TimeRemainingColumn,
            )

            self._progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[unit]}"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[measured]}"),
                console=Console(stderr=True),
                transient=True,
            )
            self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def progress(self, task: str, done: int, total: int | None, unit: str) -> None:
        """Move the bar of ``task``; without a terminal, a line every fifteen seconds."""
        if self._progress is not None:
            if task not in self._tasks:
                self._tasks[task] = self._progress.add_task(
                    task, total=total, unit=unit, measured=self._measured
                )
            self._progress.update(self._tasks[task], completed=done, total=total)
            if total is not None and done >= total:
                self._progress.remove_task(self._tasks.pop(task))
            return
        now = time.monotonic()
        first = self._last_line.setdefault(task, now)
        if now - first >= SECONDS_BETWEEN_LINES:
            self._last_line[task] = now
            of = "" if total is None else f" of {total:,}"
            self._print(f"{task}: {done:,}{of} {unit}")

    def record(self, event: str, values: Mapping[str, Scalar]) -> None:
        """One line for a measured event; the latest loss and speed stand behind the bar too."""
        if event == "step" and self._progress is not None:
            self._measured = "  ".join(
                f"{key.replace('_', ' ')} {_readable(values[key])}"
                for key in ("loss", "tokens_per_second")
                if key in values
            )
            for task in self._tasks.values():
                self._progress.update(task, measured=self._measured)
            return
        parts = (f"{key} {_readable(value)}" for key, value in values.items())
        self._print(f"{event}: " + "  ".join(parts))

    def say(self, message: str, level: Level = "info") -> None:
        """One line for a person."""
        self._print(f"warning: {message}" if level == "warning" else message)

    def should_stop(self) -> bool:
        """Never: at a terminal, Ctrl-C ends the work."""
        return False

    def _print(self, line: str) -> None:
        if self._progress is not None:
            self._progress.console.print(line, markup=False, highlight=False)
        else:
            print(line, file=sys.stderr, flush=True)


def _readable(value: Scalar) -> str:
    if isinstance(value, bool) or not isinstance(value, float):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
