"""What a training tells of its epochs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perigee.errors import CheckpointError
from perigee.manifest import Manifest
from perigee.settings import Settings
from perigee.training.layout import read_state


@dataclass(frozen=True)
class EpochReport:
    """An epoch whose checkpoint is on disk."""

    epoch: int
    checkpoint: Path
    manifest: Manifest
    train_loss: float
    """Mean weighted loss of the epoch's words, nats."""
    validation: dict[str, Any]
    """The bound on the validation windows: nats_per_word, standard_error, perplexity ..."""
    tokens_per_second: float
    """Words of the windows a second, over the optimiser's steps."""
    seconds: float
    """Spent in the optimiser's steps, over all attempts."""
    reused: bool
    """True if the checkpoint stood already, made by the same recipe."""


@dataclass(frozen=True)
class TrainingReport:
    """A training, or as much of it as was asked for."""

    epochs: tuple[EpochReport, ...]
    log: Path
    curve: Path
    """The loss curve as PNG."""

    @property
    def reused(self) -> bool:
        """Whether there was nothing left to do."""
        return all(report.reused for report in self.epochs)


def epoch_report(
    settings: Settings, epoch: int, manifest: Manifest, *, reused: bool
) -> EpochReport:
    """The report of an epoch from its checkpoint.

    Raises
    ------
    CheckpointError
        If the checkpoint does not hold an epoch's results.
    """
    path = settings.checkpoint_path(epoch)
    state = read_state(path)
    try:
        return EpochReport(
            epoch=epoch,
            checkpoint=path,
            manifest=manifest,
            train_loss=float(state["train_loss"]),
            validation=dict(state["validation"]),
            tokens_per_second=float(manifest.counts["tokens_per_second"]),
            seconds=float(manifest.counts["seconds"]),
            reused=reused,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"does not hold the results of an epoch ({error!r})", place=path
        ) from None
