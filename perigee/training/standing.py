"""What earlier runs left on disk: epochs that count, epochs that do not, and moving them aside."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perigee.errors import CheckpointError
from perigee.files import recover_directory, remove_partials
from perigee.manifest import Input, Manifest
from perigee.observer import SILENT, Observer
from perigee.settings import Settings
from perigee.training.layout import verify_checkpoint
from perigee.training.recipe import TrainingRecipe, differences
from perigee.training.snapshots import snapshots_of

REMEDY = "go back to those, or start anew with --fresh (the earlier run's files are kept aside)"


def tidy(settings: Settings) -> None:
    """Finish or remove what killed processes left half done."""
    directory = Path(settings.training.checkpoint_dir)
    if not directory.is_dir():
        return
    for epoch in range(1, settings.training.epochs + 1):
        recover_directory(settings.checkpoint_path(epoch))
    remove_partials(directory)


def set_damaged_aside(settings: Settings, observer: Observer) -> None:
    """Rename checkpoints that are not whole, and name them; they will be made again."""
    for epoch in range(1, settings.training.epochs + 1):
        path = settings.checkpoint_path(epoch)
        if not path.is_dir():
            continue
        try:
            verify_checkpoint(path)
        except CheckpointError as error:
            aside = _free_name(path, "damaged")
            path.rename(aside)
            observer.say(f"a damaged checkpoint is now {aside.name}: {error}", "warning")


def standing_epoch(
    settings: Settings, recipe: TrainingRecipe, epoch: int, previous: Manifest | None
) -> Manifest | None:
    """The manifest of ``epoch``'s checkpoint, or ``None`` if there is none.

    Without ``previous`` the epoch before is not asked after.

    Raises
    ------
    CheckpointError
        If it was made from other settings or data, with the list of differences.
    """
    path = settings.checkpoint_path(epoch)
    if not path.is_dir():
        return None
    manifest = verify_checkpoint(path)
    if previous is None:
        _check_data(path, manifest, recipe)
    else:
        refuse_differences(path, manifest, recipe.settings, recipe.inputs(epoch, previous))
    return manifest


def refuse_differences(
    path: Path, manifest: Manifest, settings: Mapping[str, Any], inputs: tuple[Input, ...]
) -> None:
    """Refuse an artifact of another recipe.

    Raises
    ------
    CheckpointError
        With every difference, old and new.
    """
    if found := differences(manifest, settings, inputs):
        raise CheckpointError(
            f"was made from other settings or data: {'; '.join(found)}", place=path, remedy=REMEDY
        )


def check_compatible(settings: Settings, recipe: TrainingRecipe) -> None:
    """Look at all that stands, before anything is computed.

    Raises
    ------
    CheckpointError
        If a checkpoint or the last snapshot is of other settings or data.
    """
    for epoch in range(1, settings.training.epochs + 1):
        standing_epoch(settings, recipe, epoch, None)
    snapshot = snapshots_of(settings).latest(SILENT)
    if snapshot is not None:
        _check_data(snapshot.path, snapshot.manifest, recipe)


def _check_data(path: Path, manifest: Manifest, recipe: TrainingRecipe) -> None:
    before = tuple(i for i in manifest.inputs if i.name.startswith("checkpoint."))
    refuse_differences(path, manifest, recipe.settings, (*recipe.data, *before))


def set_aside(settings: Settings) -> Path | None:
    """Move an earlier run's checkpoints, snapshots and log into a directory of their own.

    Returns the directory, ``<checkpoint_name>_earlier<N>``, or ``None`` if there was nothing.
    """
    directory, stem = Path(settings.training.checkpoint_dir), settings.checkpoint_stem
    log = Path(settings.training.log_path)
    ours = re.compile(re.escape(stem) + r"_(epoch\d+|snapshots)")
    found = sorted(p for p in directory.glob("*") if ours.fullmatch(p.name))
    if not found:
        return None
    aside = _free_name(directory / stem, "earlier")
    aside.mkdir()
    for path in [*found, log]:
        if path.exists():
            _move(path, aside / path.name)
    return aside


def _move(path: Path, target: Path) -> None:
    try:
        shutil.move(path, target)
    except OSError as error:
        raise CheckpointError(
            f"cannot be moved to {target} ({error.strerror})", place=path, remedy="move it yourself"
        ) from None


def _free_name(path: Path, word: str) -> Path:
    number = 1
    while (candidate := path.with_name(f"{path.name}_{word}{number}")).exists():
        number += 1
    return candidate
