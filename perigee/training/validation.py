"""The bound on the validation windows after an epoch, with the averaged weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perigee.diffusion.bound import evaluate_bound
from perigee.diffusion.objective import Objective
from perigee.observer import Level, Observer, Scalar
from perigee.settings import Settings
from perigee.training.device import Device
from perigee.training.learner import Learner


class StopValidation(Exception):
    """Ends a validation in the middle; the averaged weights are taken out again on its way."""


@dataclass(frozen=True)
class StoppableObserver:
    """Passes everything on, and calls ``check``, which may raise, at each sign of progress."""

    observer: Observer
    check: Callable[[], None]

    def progress(self, task: str, done: int, total: int | None, unit: str) -> None:
        """See :class:`~perigee.observer.Observer`."""
        self.observer.progress(task, done, total, unit)
        self.check()

    def record(self, event: str, values: Mapping[str, Scalar]) -> None:
        """See :class:`~perigee.observer.Observer`."""
        self.observer.record(event, values)

    def say(self, message: str, level: Level = "info") -> None:
        """See :class:`~perigee.observer.Observer`."""
        self.observer.say(message, level)

    def should_stop(self) -> bool:
        """See :class:`~perigee.observer.Observer`."""
        return self.observer.should_stop()


def validate(
    learner: Learner,
    windows: NDArray[np.uint16],
    objective: Objective,
    settings: Settings,
    device: Device,
    observer: Observer,
) -> dict[str, Scalar]:
    """The bound in nats per word with its standard error, in float32, as JSON values.

    Every one of several processes computes it alike: that takes no longer than one doing so, and
    none has to wait for another.
    """
    training = settings.training
    averaged = nullcontext() if learner.average is None else learner.average.applied()
    with averaged:
        report = evaluate_bound(
            learner.denoiser,
            windows,
            objective=objective,
            times_per_window=settings.diffusion.evaluation_times,
            seed=training.seed,
            batch_size=max(1, training.batch_size // training.accumulate),
            device=device.torch_device,
            observer=observer,
        )
    return {
        name: value if math.isfinite(value) else None for name, value in report.to_dict().items()
    }
