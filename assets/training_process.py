"""The process that trains: ``python -m assets.training_process``, started by the epochs' asset.

It speaks Dagster Pipes by the small package dagster-pipes, without Dagster itself. Settings come
in; out go, as they happen, lists that begin with their kind::

    ["progress", task, done, total, unit]       what the library tells its observer
    ["record", event, values]
    ["say", line, level]
    ["epoch", epoch, reused, text]              its checkpoint is on disk, and denoised the text
    ["error", name of the class, line]          of perigee.errors; the last one

Under torchrun the first process speaks for all.
"""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from types import FrameType
from typing import TYPE_CHECKING, Any

from dagster_pipes import (
    PipesContext,
    PipesDefaultContextLoader,
    PipesEnvVarParamsLoader,
    open_dagster_pipes,
)

from assets.lifeline import Lifeline
from perigee.errors import Interrupted, PerigeeError
from perigee.observer import SILENT, Level, Observer, Scalar

if TYPE_CHECKING:
    from perigee.settings import Settings
    from perigee.training.reports import EpochReport

SECONDS_BETWEEN_MESSAGES = 1.0
"""Of progress and of steps; the run shows even fewer."""


class PipesObserver:
    """Sends what the library tells its observer to the run."""

    def __init__(
        self,
        send: Callable[[list[Any]], None],
        should_stop: Callable[[], bool],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._send = send
        self._asked = should_stop
        self._clock = clock
        self._last: dict[str, float] = {}

    def progress(self, task: str, done: int, total: int | None, unit: str) -> None:
        """Once a second, and the last of each task."""
        if self._is_due(task) or done == total:
            self._send(["progress", task, done, total, unit])

    def record(self, event: str, values: Mapping[str, Scalar]) -> None:
        """Steps once a second, other events always."""
        if event != "step" or self._is_due("a step"):
            self._send(["record", event, dict(values)])

    def say(self, message: str, level: Level = "info") -> None:
        """Every line."""
        self._send(["say", message, level])

    def should_stop(self) -> bool:
        """Whether the run asks for a stop, or is gone."""
        return self._asked()

    def _is_due(self, kind: str) -> bool:
        now = self._clock()
        if now - self._last.get(kind, -SECONDS_BETWEEN_MESSAGES) < SECONDS_BETWEEN_MESSAGES:
            return False
        self._last[kind] = now
        return True


def train(extras: Mapping[str, Any], observer: Observer) -> "Iterator[tuple[EpochReport, str]]":
    """Train the epochs that the run asks for; as each is on disk, its report and a text of it."""
    from perigee.settings import Settings
    from perigee.training.processes import joined_processes
    from perigee.training.trainer import train_epochs

    settings = Settings.model_validate_json(extras["settings"])
    with joined_processes(os.environ, settings.training.use_gpu, SILENT) as processes:
        for report in train_epochs(
            settings,
            epochs=extras["epochs"],
            on_change=extras["on_change"],
            observer=observer,
            processes=processes,
        ):
            is_first = processes.rank == 0
            yield report, text_of(settings, report, observer) if is_first else ""


def text_of(settings: "Settings", report: "EpochReport", observer: Observer) -> str:
    """A text of an epoch; none is no reason to end the training."""
    from perigee.generation.epoch_text import epoch_text

    try:
        return epoch_text(settings, report.checkpoint)
    except PerigeeError as error:
        observer.say(f"no text of epoch {report.epoch}: {error}", "warning")
        return ""


def speak(pipes: PipesContext, lifeline: Lifeline) -> int:
    """Train and tell the run of it; the exit status."""
    observer = PipesObserver(pipes.report_custom_message, lambda: lifeline.is_cut)
    try:
        for report, text in train(pipes.extras, observer):
            pipes.report_custom_message(["epoch", report.epoch, report.reused, text])
            lifeline.wait_for_permit()
    except PerigeeError as error:
        pipes.report_custom_message(["error", type(error).__name__, str(error)])
        return error.exit_status
    return 0


def work_along() -> int:
    """Train as one of torchrun's other processes; the exit status."""
    params = PipesEnvVarParamsLoader().load_context_params()  # type: ignore[no-untyped-call]
    try:
        with PipesDefaultContextLoader().load_context(params) as context:
            for _ in train(context["extras"] or {}, SILENT):
                pass
    except Interrupted:
        return 0  # a failure would make torchrun end the first one, which keeps a snapshot
    except PerigeeError as error:
        print(f"process {os.environ['RANK']}: {error}", file=sys.stderr)  # noqa: T201
        return error.exit_status
    return 0


def main() -> int:
    """Train until the epochs are done or the run wants no more; the exit status."""
    if os.environ.get("RANK", "0") != "0":
        return work_along()
    lifeline = Lifeline()

    def cut(_number: int, _frame: FrameType | None) -> None:
        lifeline.cut()

    # service managers and torchrun signal more than once: none may end it before its snapshot
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, cut)
    with open_dagster_pipes() as pipes:
        return speak(pipes, lifeline)


if __name__ == "__main__":
    sys.exit(main())
