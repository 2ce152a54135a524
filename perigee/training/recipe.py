"""What decides a training's weights, for asking whether a checkpoint is the one wanted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from perigee.manifest import Input, Manifest
from perigee.settings import Settings
from perigee.training.learning_rate import depends_on_length

STAGE = "checkpoint"
CODE_VERSION = "2"
DECISIVE = (
    "sequence_length",
    "batch_size",
    "learning_rate",
    "mask_fraction",
    "unmask_fraction",
    "seed",
    "optimizer",
    "weight_decay",
    "lr_schedule",
    "gradient_clip",
    "ema_decay",
    "precision",
)
"""Keys of ``[training]`` that change the weights. Not among them: where files go, what is recorded,
``accumulate`` and the number of processes (the same to rounding), and ``epochs`` unless the
learning rate's schedule is stretched over them: a finished training can be given more epochs."""


@dataclass(frozen=True)
class TrainingRecipe:
    """Settings and inputs of a training, as its checkpoints' manifests hold them."""

    settings: Mapping[str, Any]
    """The decisive settings, by table."""
    data: tuple[Input, ...]
    """Windows and vocabulary."""

    def inputs(self, epoch: int, previous: Manifest | None) -> tuple[Input, ...]:
        """Inputs of ``epoch``: the data, and the checkpoint of the epoch before."""
        if previous is None:
            return self.data
        name = epoch_name(epoch - 1)
        return (*self.data, Input(name, previous.version))


def epoch_name(epoch: int) -> str:
    """Name of the checkpoint of ``epoch`` as an artifact."""
    return f"checkpoint.epoch_{epoch}"


def decisive_settings(settings: Settings) -> dict[str, Any]:
    """The settings that change the weights or the validation, as JSON values."""
    document = settings.model_dump(mode="json")
    training = {key: document["training"][key] for key in DECISIVE}
    if settings.training.compile:  # it rounds otherwise
        training["compile"] = True
    if depends_on_length(settings.training):
        training["epochs"] = settings.training.epochs
    return {
        "model": document["model"],
        "training": training,
        "diffusion": document["diffusion"],
    }


def windows_input(split: str, manifest: Manifest) -> Input:
    """Windows as an input; their settings go along to explain a difference."""
    return Input(f"windows.{split}", manifest.version, details=dict(manifest.settings))


def differences(
    old: Manifest, settings: Mapping[str, Any], inputs: Sequence[Input]
) -> tuple[str, ...]:
    """In what an artifact's recipe differs from the one wanted, each as ``name: old -> new``."""
    if old.recipe == Manifest("", STAGE, CODE_VERSION, settings, inputs, (), {}).recipe:
        return ()
    found = list(_compare(old.settings, settings))
    if old.code_version != CODE_VERSION:
        found.append(f"code version: {old.code_version} -> {CODE_VERSION}")
    before, now = ({i.name: i for i in group} for group in (old.inputs, inputs))
    for name in sorted(before.keys() | now.keys()):
        found.extend(_compare_inputs(name, before.get(name), now.get(name)))
    return tuple(found)


def _compare_inputs(name: str, old: Input | None, new: Input | None) -> Iterator[str]:
    versions = ["none" if i is None else i.version[:8] for i in (old, new)]
    if versions[0] == versions[1]:
        return
    reasons = ", ".join(_compare(old.details, new.details)) if old and new else ""
    yield f"{name}: {' -> '.join(versions)}{f' ({reasons})' if reasons else ''}"


def _compare(old: Mapping[str, Any], new: Mapping[str, Any], path: str = "") -> Iterator[str]:
    for key in sorted(old.keys() | new.keys()):
        a, b = old.get(key), new.get(key)
        place = f"{path}.{key}" if path else key
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            yield from _compare(a, b, place)
        elif a != b:
            table, _, name = place.rpartition(".")
            yield f"{f'[{table}] ' if table else ''}{name}: {a} -> {b}"
