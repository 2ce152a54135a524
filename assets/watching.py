"""Between the library and Dagster: its progress as log lines, its errors as one-line failures."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import dagster as dg

from assets.names import TRAINING_METRICS
from perigee.errors import BusyError, DownloadError, Interrupted, PerigeeError
from perigee.observer import Level, Scalar

SECONDS_BETWEEN_EVENTS = 10.0
"""A log line costs 3 to 5 ms and a metric 7 to 20 ms in SQLite: too much for every step."""
RETRIES = 5
FIRST_WAIT_SECONDS = 5.0
"""After the library's own retries of a request: 155 s in all, which outlast a server's restart."""


class DagsterObserver:
    """Receives the library's reports within one step of a run.

    Messages become log lines; progress at most one line a task in ``seconds``; records of training
    steps at most one observation of ``training_metrics`` in ``seconds``, which the UI plots.
    """

    def __init__(
        self,
        context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext,
        *,
        seconds: float = SECONDS_BETWEEN_EVENTS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._context = context
        self._seconds = seconds
        self._clock = clock
        self._last: dict[str, float] = {}

    def progress(self, task: str, done: int, total: int | None, unit: str) -> None:
        """One line in a while: 1,200 of 2,000 documents."""
        self._last.setdefault(f"progress {task}", self._clock())  # short tasks say nothing
        if self._is_due(f"progress {task}"):
            of = "" if total is None else f" of {total:,}"
            self._context.log.info(f"{task}: {done:,}{of} {unit}")

    def record(self, event: str, values: Mapping[str, Scalar]) -> None:
        """Steps as metrics once in a while; every other event as a line."""
        if event != "step":
            self._context.log.info(f"{event}: {_phrase(values)}")
        elif self._is_due("step"):
            metadata = {k: v for k, v in values.items() if v is not None}
            self._context.op_execution_context.log_event(
                dg.AssetObservation(TRAINING_METRICS, metadata=metadata)
            )
            self._context.log.info(_phrase(values))

    def say(self, message: str, level: Level = "info") -> None:
        """A log line of that level."""
        if level == "warning":
            self._context.log.warning(message)
        else:
            self._context.log.info(message)

    def should_stop(self) -> bool:
        """Never: terminating a run sends a signal, which training catches itself."""
        return False

    def _is_due(self, kind: str) -> bool:
        now = self._clock()
        if kind in self._last and now - self._last[kind] < self._seconds:
            return False
        self._last[kind] = now
        return True


@contextmanager
def watched(
    context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext,
) -> Iterator[DagsterObserver]:
    """An observer for the step; what goes wrong by a user's hand fails the step with its one line.

    A server's fault and an output that another run is writing, and nothing else, are tried again,
    after waits that double: a wrong setting stays wrong. A retry policy would retry everything, a
    terminated run too (Dagster 1.13).
    """
    try:
        yield DagsterObserver(context)
    except (DownloadError, BusyError) as error:
        if context.retry_number >= RETRIES:
            raise dg.Failure(str(error)) from None
        seconds = FIRST_WAIT_SECONDS * 2**context.retry_number
        context.log.warning(f"{error}; trying again in {seconds:.0f} seconds")
        raise dg.RetryRequested(max_retries=RETRIES, seconds_to_wait=seconds) from error
    except Interrupted as stop:
        context.log.warning(str(stop))
        raise dg.DagsterExecutionInterruptedError(str(stop)) from None
    except PerigeeError as error:
        raise dg.Failure(str(error)) from None


def _phrase(values: Mapping[str, Scalar]) -> str:
    def text(value: Scalar) -> str:
        return f"{value:.4g}" if isinstance(value, float) else str(value)

    return ", ".join(f"{name.replace('_', ' ')} {text(v)}" for name, v in values.items())
