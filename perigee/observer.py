"""How library code tells what it does, without knowing who listens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

Level = Literal["info", "warning"]
Scalar = str | int | float | bool | None


@runtime_checkable
class Observer(Protocol):
    """Receives progress, records and messages; can ask for a stop.

    The command line shows them as progress bars, Dagster as metadata and log events, the tests
    keep them as lists.
    """

    def progress(self, task: str, done: int, total: int | None, unit: str) -> None:
        """``done`` of ``total`` (``None``: not known) units of ``task`` are finished."""

    def record(self, event: str, values: Mapping[str, Scalar]) -> None:
        """A measured event: a training step, a validation, a finished epoch."""

    def say(self, message: str, level: Level = "info") -> None:
        """One line for a person."""

    def should_stop(self) -> bool:
        """Whether work should end at the next safe point."""


class SilentObserver:
    """Listens to nothing."""

    def progress(self, task: str, done: int, total: int | None, unit: str) -> None:
        return None

    def record(self, event: str, values: Mapping[str, Scalar]) -> None:
        return None

    def say(self, message: str, level: Level = "info") -> None:
        return None

    def should_stop(self) -> bool:
        return False


@dataclass
class ListObserver:
    """Keeps everything, for tests and for notebooks."""

    steps: list[tuple[str, int, int | None, str]] = field(default_factory=list)
    records: list[tuple[str, dict[str, Scalar]]] = field(default_factory=list)
    messages: list[tuple[Level, str]] = field(default_factory=list)
    stop: bool = False

    def progress(self, task: str, done: int, total: int | None, unit: str) -> None:
        self.steps.append((task, done, total, unit))

    def record(self, event: str, values: Mapping[str, Scalar]) -> None:
        self.records.append((event, dict(values)))

    def say(self, message: str, level: Level = "info") -> None:
        self.messages.append((level, message))

    def should_stop(self) -> bool:
        return self.stop


SILENT: Observer = SilentObserver()
