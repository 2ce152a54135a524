"""What a checkpoint's directory holds, where it lies, and whether it is whole.

::

    perigee_epoch3/
        model.safetensors       weights after the last step
        ema.safetensors         averaged weights: what evaluation and generation use
        optimizer.safetensors   the optimiser's state; see :mod:`~perigee.training.retention`
        state.json              progress, training loss, validation
        settings.json           the settings that decided the weights
        perigee_vocab.json      the vocabulary; tokenizer.json: the same for other tools
        manifest.json           inputs, recipe, sha256 of every file; written last

A snapshot inside an epoch has the same form. Nothing here is ever unpickled.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from perigee.errors import ArtifactError, CheckpointError
from perigee.files import read_json
from perigee.manifest import FileRecord, Manifest, read_manifest, verify_files
from perigee.settings import Settings
from perigee.training.progress import Progress
from perigee.training.recipe import STAGE

MANIFEST = "manifest.json"
MODEL, AVERAGE, OPTIMIZER = "model.safetensors", "ema.safetensors", "optimizer.safetensors"
STATE, SETTINGS, VOCABULARY = "state.json", "settings.json", "perigee_vocab.json"
REQUIRED = frozenset({MODEL, OPTIMIZER, STATE, SETTINGS, VOCABULARY})
RELEASED = "optimizer_released"
"""The manifest's count that says that the optimiser's state is kept no longer."""


def is_released(manifest: Manifest) -> bool:
    """Whether the optimiser's state has been given up: no epoch can be trained from it."""
    counts = manifest.counts  # no hash covers them: they may be anything
    return isinstance(counts, Mapping) and counts.get(RELEASED) is True


def kept_files(manifest: Manifest) -> tuple[FileRecord, ...]:
    """The files that a checkpoint's directory has to hold."""
    released = is_released(manifest)
    return tuple(f for f in manifest.files if not (released and f.path == OPTIMIZER))


def verify_checkpoint(path: Path) -> Manifest:
    """The manifest of the checkpoint at ``path``, after comparing every file with its hash.

    Raises
    ------
    CheckpointError
        If it is missing, incomplete, edited or damaged; the line names the file.
    """
    try:
        manifest = read_manifest(path / MANIFEST)
        if manifest.stage != STAGE:
            raise CheckpointError(f"is a {manifest.stage}, no checkpoint", place=path)
        listed = {file.path for file in manifest.files}
        if not listed >= REQUIRED or any("/" in name for name in listed):
            raise CheckpointError("does not list a checkpoint's files", place=path / MANIFEST)
        verify_files(path / MANIFEST, replace(manifest, files=kept_files(manifest)))
    except CheckpointError:
        raise
    except ArtifactError as error:
        raise CheckpointError(error.problem, place=error.place, expected=error.expected) from None
    return manifest


def checkpoint_directory(path: Path) -> Path:
    """The directory meant by ``path``, which may carry the original's ``.jls`` ending.

    Raises
    ------
    CheckpointError
        If there is no such directory.
    """
    directory = path.with_suffix("") if path.suffix == ".jls" else path
    if not directory.is_dir():
        problem = "is a file, not a checkpoint's directory" if path.is_file() else "does not exist"
        raise CheckpointError(
            problem, place=path, remedy="train first, or name a directory that holds manifest.json"
        )
    return directory


def find_checkpoint(settings: Settings, path: Path | None = None) -> Path:
    """The directory of ``path``, or of the settings' last epoch that has a checkpoint.

    Raises
    ------
    CheckpointError
        If there is none.
    """
    if path is not None:
        return checkpoint_directory(path)
    for epoch in range(settings.training.epochs, 0, -1):
        if (settings.checkpoint_path(epoch) / MANIFEST).is_file():
            return settings.checkpoint_path(epoch)
    raise CheckpointError(
        "no epoch has a checkpoint yet",
        place=settings.checkpoint_path(1).parent,
        expected=settings.checkpoint_path(1).name,
        remedy="train first",
    )


def read_progress(path: Path) -> Progress:
    """How far the training of the checkpoint at ``path`` had come.

    Raises
    ------
    CheckpointError
        If it does not say.
    """
    return Progress.from_dict(read_state(path)["progress"], path / STATE)


def read_state(path: Path) -> Mapping[str, Any]:
    """Progress, training loss and validation, as the checkpoint at ``path`` holds them.

    Raises
    ------
    CheckpointError
        If it does not.
    """
    state = read_json(path / STATE)
    if not isinstance(state, dict) or "progress" not in state:
        raise CheckpointError("does not hold a training's state", place=path / STATE)
    return state
