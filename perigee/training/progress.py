"""How far a training has come."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from perigee.errors import CheckpointError


@dataclass(frozen=True)
class Progress:
    """The numbers, beside tensors, that a resume needs; floats survive JSON exactly."""

    epoch: int = 1
    """Epoch in hand, 1, 2, ..."""
    epoch_step: int = 0
    """Optimiser steps finished in it."""
    step: int = 0
    """Optimiser steps finished since the start."""
    epoch_loss: float = 0.0
    """Sum of the losses of the epoch's words, nats."""
    epoch_words: int = 0
    """Words of the epoch's batches so far."""
    record_loss: float = 0.0
    """Sum of the losses of the words since the last record, nats."""
    record_words: int = 0
    """Words since the last record."""

    def after_step(self, loss: float, words: int) -> Progress:
        """Progress after one more step of ``words`` words of mean loss ``loss``."""
        return replace(
            self,
            epoch_step=self.epoch_step + 1,
            step=self.step + 1,
            epoch_loss=self.epoch_loss + loss * words,
            epoch_words=self.epoch_words + words,
            record_loss=self.record_loss + loss * words,
            record_words=self.record_words + words,
        )

    def after_record(self) -> Progress:
        """Progress with the sums of the next record at zero."""
        return replace(self, record_loss=0.0, record_words=0)

    def next_epoch(self) -> Progress:
        """Progress at the beginning of the epoch after this one."""
        return replace(self, epoch=self.epoch + 1, epoch_step=0, epoch_loss=0.0, epoch_words=0)

    def to_dict(self) -> dict[str, int | float]:
        """The fields, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Any, place: Path) -> Progress:
        """The inverse of :meth:`to_dict`.

        Raises
        ------
        CheckpointError
            If a field is missing, unknown, of another type, negative or not finite.
        """
        known = {field.name: field.type for field in fields(cls)}
        if not isinstance(values, Mapping) or set(values) != set(known):
            raise CheckpointError("progress does not hold the fields it should", place=place)
        for name, kind in known.items():
            value = values[name]
            right = type(value) is int if kind == "int" else type(value) is float
            if not right or not math.isfinite(value) or (kind == "int" and value < 0):
                raise CheckpointError(
                    f"progress.{name} is {value!r}", place=place, expected=f"{kind}, finite"
                )
        return cls(**values)
