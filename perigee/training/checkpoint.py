"""Checkpoints: directories of safetensors and JSON that appear whole or not at all.

::

    perigee_epoch3/
        model.safetensors       weights after the last step
        ema.safetensors         averaged weights: what evaluation and generation use
        optimizer.safetensors   the optimiser's state
        state.json              progress, training loss, validation
        settings.json           the settings that decided the weights
        perigee_vocab.json      the vocabulary; tokenizer.json: the same for other tools
        manifest.json           inputs, recipe, sha256 of every file; written last

A snapshot inside an epoch has the same form. Nothing here is ever unpickled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch
from pydantic import ValidationError

from perigee.errors import ArtifactError, CheckpointError
from perigee.files import atomic_directory, read_json
from perigee.manifest import Input, Manifest, read_manifest, record_file, verify_files
from perigee.manifest import write_manifest as _write_manifest
from perigee.model.denoiser import Denoiser
from perigee.settings import Settings
from perigee.tokenizer.prime import PrimeTokenizer
from perigee.training.learner import Learner, build_denoiser
from perigee.training.optimizer import optimizer_tensors, restore_optimizer
from perigee.training.progress import Progress
from perigee.training.recipe import CODE_VERSION, STAGE
from perigee.training.tensors import fill, module_tensors, read_tensors, write_tensors

MANIFEST = "manifest.json"
MODEL, AVERAGE, OPTIMIZER = "model.safetensors", "ema.safetensors", "optimizer.safetensors"
STATE, SETTINGS, VOCABULARY = "state.json", "settings.json", "perigee_vocab.json"
REQUIRED = frozenset({MODEL, OPTIMIZER, STATE, SETTINGS, VOCABULARY})


@dataclass(frozen=True)
class CheckpointRecord:
    """What a checkpoint holds beside the learner."""

    artifact: str
    settings: Mapping[str, Any]
    inputs: tuple[Input, ...]
    vocabulary: Mapping[str, bytes]
    """The vocabulary's files by name; see :func:`vocabulary_files`."""
    results: Mapping[str, Any]
    """Training loss and validation: the same whenever the same training is done again."""
    circumstances: Mapping[str, Any]
    """Seconds, speed, device ...: kept in the manifest's counts, and part of no hash."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint as evaluation and generation use it."""

    path: Path
    denoiser: Denoiser
    tokenizer: PrimeTokenizer
    settings: Settings
    """The settings that decided the weights; the others have their defaults."""
    state: Mapping[str, Any]
    """Progress, training loss, validation."""
    manifest: Manifest


def save_checkpoint(path: Path, learner: Learner, record: CheckpointRecord) -> Manifest:
    """Write a checkpoint to ``path``: aside, flushed, hashed, renamed.

    Raises
    ------
    OSError
        If the disk is full or cannot be written; nothing half is left behind.
    """
    with atomic_directory(path) as aside:
        write_tensors(aside / MODEL, module_tensors(learner.denoiser))
        if learner.average is not None:
            write_tensors(aside / AVERAGE, learner.average.values)
        write_tensors(aside / OPTIMIZER, optimizer_tensors(learner.optimizer, learner.denoiser))
        state = {"progress": learner.progress.to_dict(), **record.results}
        texts = {name: _json_bytes(v) for name, v in ((STATE, state), (SETTINGS, record.settings))}
        for name, content in {**texts, **record.vocabulary}.items():
            (aside / name).write_bytes(content)
        manifest = Manifest(
            artifact=record.artifact,
            stage=STAGE,
            code_version=CODE_VERSION,
            settings=record.settings,
            inputs=record.inputs,
            files=tuple(record_file(file, aside) for file in sorted(aside.iterdir())),
            counts={
                "parameters": sum(p.numel() for p in learner.denoiser.parameters()),
                "steps": learner.progress.step,
                **record.results,
                **record.circumstances,
            },
        )
        _write_manifest(aside / MANIFEST, manifest)
    return manifest


def vocabulary_files(tokenizer: PrimeTokenizer) -> dict[str, bytes]:
    """What ``tokenizer`` is saved as; made once, as 50,000 words take a fifth of a second."""
    with TemporaryDirectory() as directory:
        tokenizer.save(Path(directory))
        return {file.name: file.read_bytes() for file in sorted(Path(directory).iterdir())}


def _json_bytes(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


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
        verify_files(path / MANIFEST, manifest)
    except CheckpointError:
        raise
    except ArtifactError as error:
        raise CheckpointError(error.problem, place=error.place, expected=error.expected) from None
    return manifest


def restore(path: Path, learner: Learner) -> Manifest:
    """Bring ``learner`` to the state of the checkpoint at ``path``; its manifest.

    Raises
    ------
    CheckpointError
        If the checkpoint is damaged or is of another model.
    """
    manifest = verify_checkpoint(path)
    fill(module_tensors(learner.denoiser), read_tensors(path / MODEL), path / MODEL)
    if learner.average is not None:
        fill(learner.average.values, read_tensors(path / AVERAGE), path / AVERAGE)
    tensors = read_tensors(path / OPTIMIZER)
    restore_optimizer(learner.optimizer, learner.denoiser, tensors, path / OPTIMIZER)
    learner.progress = read_progress(path)
    return manifest


def load_checkpoint(
    path: Path,
    *,
    weights: Literal["average", "last"] = "average",
    device: torch.device | str = "cpu",
) -> Checkpoint:
    """The denoiser of a checkpoint, ready to use, with its tokenizer and settings.

    Parameters
    ----------
    path:
        A checkpoint's or a snapshot's directory; the original's ``.jls`` ending is dropped.
    weights:
        The averaged weights (the last ones where there is no average), or the last ones.
    device:
        Where the denoiser is put.

    Raises
    ------
    CheckpointError
        If it is missing, damaged, or of another model than its settings say.
    """
    path = checkpoint_directory(path)
    manifest = verify_checkpoint(path)
    settings = _read_settings(path / SETTINGS)
    tokenizer = PrimeTokenizer.load(path / VOCABULARY)
    denoiser = build_denoiser(settings, len(tokenizer))
    tensors = module_tensors(denoiser)
    values = read_tensors(path / MODEL)
    if weights == "average" and (path / AVERAGE).is_file():
        values |= read_tensors(path / AVERAGE)
    fill(tensors, values, path)
    denoiser.to(device).eval().requires_grad_(False)
    return Checkpoint(path, denoiser, tokenizer, settings, read_state(path), manifest)


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


def _read_settings(path: Path) -> Settings:
    try:
        return Settings.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        first = str(error).splitlines()[0]
        raise CheckpointError(f"does not hold settings ({first})", place=path) from None
