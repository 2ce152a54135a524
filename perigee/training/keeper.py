"""Keeping a training on disk: snapshots inside an epoch, a checkpoint at its end."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from perigee.manifest import Input, Manifest
from perigee.settings import Settings
from perigee.tokenizer.prime import PrimeTokenizer
from perigee.training.checkpoint import (
    CheckpointRecord,
    save_checkpoint,
    vocabulary_files,
)
from perigee.training.device import Device
from perigee.training.layout import verify_checkpoint
from perigee.training.learner import Learner
from perigee.training.processes import Processes
from perigee.training.recipe import TrainingRecipe, epoch_name
from perigee.training.retention import release_optimizers
from perigee.training.snapshots import snapshots_of


class Keeper:
    """Writes what a resume needs; only the first of several processes writes."""

    def __init__(
        self,
        settings: Settings,
        recipe: TrainingRecipe,
        tokenizer: PrimeTokenizer,
        device: Device,
        processes: Processes,
    ) -> None:
        self.settings, self.recipe = settings, recipe
        self.device, self.processes = device, processes
        self.snapshots = snapshots_of(settings)
        self._vocabulary = vocabulary_files(tokenizer)
        self.seconds = 0.0
        """Spent in the steps of the epoch in hand, over all attempts."""
        self._inputs: tuple[Input, ...] = ()
        self._next_snapshot = math.inf

    def begin(self, inputs: tuple[Input, ...], seconds: float, step: int) -> None:
        """Begin an epoch made from ``inputs``, or go on with one after ``step`` and ``seconds``."""
        self._inputs, self.seconds = inputs, seconds
        if self.processes.rank == 0:
            self.snapshots.drop_after(step)
        self._plan()

    def is_due(self) -> bool:
        """Whether ``snapshot_minutes`` have gone by."""
        return time.monotonic() >= self._next_snapshot

    def write_snapshot(self, learner: Learner) -> Path | None:
        """Write a snapshot, and plan the next; its directory, in the first process."""
        path = None
        if self.processes.rank == 0:
            path = self.snapshots.save(learner, self._record("snapshot", learner, {}))
        self._plan()
        return path

    def write_checkpoint(
        self, epoch: int, learner: Learner, results: Mapping[str, Any]
    ) -> Manifest:
        """Write the checkpoint of ``epoch``; the snapshots inside it have served their time."""
        path = self.settings.checkpoint_path(epoch)
        if self.processes.rank == 0:
            save_checkpoint(path, learner, self._record(epoch_name(epoch), learner, results))
            self.snapshots.clear()
            release_optimizers(self.settings)
        self.processes.wait()
        return verify_checkpoint(path)

    def _plan(self) -> None:
        minutes = self.settings.training.snapshot_minutes
        self._next_snapshot = time.monotonic() + 60.0 * minutes if minutes > 0.0 else math.inf

    def _record(
        self, artifact: str, learner: Learner, results: Mapping[str, Any]
    ) -> CheckpointRecord:
        words = learner.progress.epoch_words
        return CheckpointRecord(
            artifact=artifact,
            settings=self.recipe.settings,
            inputs=self._inputs,
            vocabulary=self._vocabulary,
            results=results,
            circumstances={
                "seconds": self.seconds,
                "tokens_per_second": words / self.seconds if self.seconds > 0.0 else 0.0,
                "device": self.device.name,
                "processes": self.processes.count,
                "threads": torch.get_num_threads(),
                "torch": torch.__version__,
            },
        )
