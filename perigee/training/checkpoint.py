"""Checkpoints, written and read: they appear whole or not at all, and nothing is unpickled.

What they hold is told in :mod:`perigee.training.layout`.
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

from perigee.errors import CheckpointError
from perigee.files import atomic_directory
from perigee.manifest import Input, Manifest, record_file, write_manifest
from perigee.model.denoiser import Denoiser
from perigee.settings import Settings
from perigee.tokenizer.prime import PrimeTokenizer
from perigee.training.layout import (
    AVERAGE,
    MANIFEST,
    MODEL,
    OPTIMIZER,
    SETTINGS,
    STATE,
    VOCABULARY,
    checkpoint_directory,
    is_released,
    read_progress,
    read_state,
    verify_checkpoint,
)
from perigee.training.learner import Learner, build_denoiser
from perigee.training.optimizer import optimizer_tensors, restore_optimizer
from perigee.training.recipe import CODE_VERSION, STAGE
from perigee.training.tensors import fill, module_tensors, read_tensors, write_tensors


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
        write_manifest(aside / MANIFEST, manifest)
    return manifest


def vocabulary_files(tokenizer: PrimeTokenizer) -> dict[str, bytes]:
    """What ``tokenizer`` is saved as; made once, as 50,000 words take a fifth of a second."""
    with TemporaryDirectory() as directory:
        tokenizer.save(Path(directory))
        return {file.name: file.read_bytes() for file in sorted(Path(directory).iterdir())}


def _json_bytes(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def restore(path: Path, learner: Learner) -> Manifest:
    """Bring ``learner`` to the state of the checkpoint at ``path``; its manifest.

    Raises
    ------
    CheckpointError
        If the checkpoint is damaged, is of another model, or has released its optimiser's state.
    """
    manifest = verify_checkpoint(path)
    if is_released(manifest):
        raise CheckpointError(
            "has given up its optimiser's state ([training] kept_optimizers): no training goes on "
            "from it",
            place=path,
            remedy="put its optimizer.safetensors and manifest.json back from a copy, or start "
            "anew with --fresh (the earlier run's files are kept aside)",
        )
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


def _read_settings(path: Path) -> Settings:
    try:
        return Settings.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        first = str(error).splitlines()[0]
        raise CheckpointError(f"does not hold settings ({first})", place=path) from None
