"""Rolling snapshots inside an epoch: the last two, so that a damaged one loses little."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from perigee.errors import CheckpointError
from perigee.files import partial_path, remove_partials
from perigee.manifest import Manifest
from perigee.observer import Observer
from perigee.settings import Settings
from perigee.training.checkpoint import (
    CheckpointRecord,
    save_checkpoint,
)
from perigee.training.layout import read_progress, verify_checkpoint
from perigee.training.learner import Learner
from perigee.training.progress import Progress

KEPT = 2


@dataclass(frozen=True)
class Snapshot:
    """A whole snapshot on disk."""

    path: Path
    manifest: Manifest
    progress: Progress


@dataclass(frozen=True)
class Snapshots:
    """The snapshots of one training, each a checkpoint named after its step."""

    directory: Path

    def save(self, learner: Learner, record: CheckpointRecord) -> Path:
        """Write a snapshot and drop all but the last two.

        Raises
        ------
        OSError
            If the disk is full; the snapshots that are there stay.
        """
        path = self.directory / f"step{learner.progress.step:09d}"
        save_checkpoint(path, learner, record)
        for old in self._paths()[:-KEPT]:
            _remove(old)
        return path

    def latest(self, observer: Observer) -> Snapshot | None:
        """The last snapshot that is whole; damaged ones are named and passed over."""
        damaged = 0
        for path in reversed(self._paths()):
            try:
                manifest = verify_checkpoint(path)
                progress = read_progress(path)
            except CheckpointError as error:
                observer.say(f"a damaged snapshot is passed over: {error}", "warning")
                damaged += 1
                continue
            if damaged:
                observer.say(f"falling back to the snapshot {path}", "warning")
            return Snapshot(path, manifest, progress)
        return None

    def drop_after(self, step: int) -> None:
        """Remove the snapshots of later steps, and what was left half written."""
        for path in self._paths():
            if int(path.name.removeprefix("step")) > step:
                _remove(path)
        if self.directory.is_dir():
            remove_partials(self.directory)

    def clear(self) -> None:
        """Remove all snapshots: an epoch's checkpoint has taken their place."""
        if self.directory.is_dir():
            _remove(self.directory)

    def _paths(self) -> list[Path]:
        found = self.directory.glob("step*")
        return sorted(p for p in found if p.is_dir() and p.name.removeprefix("step").isdigit())


def _remove(path: Path) -> None:
    # Renamed first: a kill in the middle leaves rubbish that is known as such, no half snapshot.
    rubbish = partial_path(path)
    path.rename(rubbish)
    shutil.rmtree(rubbish)


def snapshots_of(settings: Settings) -> Snapshots:
    """The snapshots of the settings' training: ``<checkpoint_name>_snapshots/step<N>/``."""
    directory = Path(settings.training.checkpoint_dir)
    return Snapshots(directory / f"{settings.checkpoint_stem}_snapshots")
