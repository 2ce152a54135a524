"""Trainings that are stopped in the middle."""

from __future__ import annotations

from dataclasses import dataclass

from perigee.observer import ListObserver
from perigee.settings import Settings
from perigee.training.trainer import EpochReport, train_epochs


@dataclass
class StopAfter(ListObserver):
    """Asks for a stop after a number of signs of progress in ``unit``."""

    count: int = 0
    unit: str = "steps"

    def progress(self, task: str, done: int, total: int | None, unit: str) -> None:
        self.count -= unit == self.unit

    def should_stop(self) -> bool:
        return self.count <= 0


def run(settings: Settings, **options: object) -> list[EpochReport]:
    """Every epoch's report."""
    return list(train_epochs(settings, **options))
