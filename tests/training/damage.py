"""Ways to damage a checkpoint: by chance, by a bad disk, by hand, by someone with intentions."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from perigee.errors import ArtifactError
from perigee.manifest import read_manifest, record_file, write_manifest
from perigee.training.checkpoint import load_checkpoint

STRANGE = (
    None,
    True,
    -1,
    0.5,
    float("nan"),
    10**30,
    "",
    "../../etc/passwd",
    [],
    {},
    [[1]],
    {"": 0},
)
"""What a JSON value may be replaced by."""


class Trap:
    """Unpickling this leaves a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = str(mark)

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (self.mark,)


@dataclass(frozen=True)
class Outcome:
    """What became of one damaged checkpoint."""

    name: str
    """The file that was damaged."""
    kind: str
    result: str
    """``refused``, or ``same weights``, ``wrong weights``, ``several lines``, ``crashed: ...``."""


def replace_value(document: Any, numbers: np.random.Generator) -> Any:
    """Put something strange somewhere in a JSON value, or take something away."""
    keys = list(document) if isinstance(document, dict) else range(len(document))
    key = keys[int(numbers.integers(len(keys)))]
    value = document[key]
    if isinstance(value, dict | list) and value and numbers.random() < 0.8:
        replace_value(value, numbers)
    elif numbers.random() < 0.2:
        del document[key]
    else:
        document[key] = STRANGE[int(numbers.integers(len(STRANGE)))]
    return document


def mend_hashes(directory: Path) -> None:
    """Write the manifest anew for the files as they are: for someone who wants to be believed."""
    path = directory / "manifest.json"
    manifest = read_manifest(path)
    files = tuple(record_file(directory / file.path, directory) for file in manifest.files)
    write_manifest(path, replace(manifest, files=files))


def kinds_for(name: str) -> tuple[str, ...]:
    """How the file called ``name`` can be damaged."""
    kinds = ["flip", "cut", "remove", "empty", "longer", "zeros", "pickle", "torch.save"]
    if name.endswith(".json"):
        kinds += ["digit", "value", "nested"]
    if name.endswith(".safetensors"):
        kinds += ["forged pickle", "forged torch.save"]
    return tuple(kinds)


def corrupt(path: Path, kind: str, numbers: np.random.Generator, mark: Path) -> None:
    """Damage the file at ``path``; whatever unpickles a trap makes the directory ``mark``."""
    data = bytearray(path.read_bytes())
    place = int(numbers.integers(len(data)))
    match kind.removeprefix("forged "):
        case "flip":
            data[place] ^= 1 << int(numbers.integers(8))
        case "cut":
            del data[place:]
        case "empty":
            data = bytearray()
        case "longer":
            data += numbers.bytes(1 + place % 7)
        case "zeros":
            data[place : place + 512] = bytes(len(data[place : place + 512]))
        case "pickle":
            data = bytearray(pickle.dumps(Trap(mark)))
        case "digit":
            spots = [i for i, c in enumerate(data) if 48 <= c < 57]
            data[spots[place % len(spots)] if spots else 0] += 1
        case "value":
            data = bytearray(json.dumps(replace_value(json.loads(data), numbers)).encode())
        case "nested":
            data = bytearray(b"[" * 100_000)
    if kind == "remove":
        path.unlink()
    elif kind.endswith("torch.save"):
        torch.save(Trap(mark), path)
    else:
        path.write_bytes(data)
    if kind.startswith("forged"):
        mend_hashes(path.parent)


def weights_of(directory: Path) -> dict[str, torch.Tensor]:
    """All tensors of the checkpoint's denoiser, averaged weights."""
    return dict(load_checkpoint(directory).denoiser.state_dict())


def outcome_of(directory: Path, right: dict[str, torch.Tensor]) -> str:
    """What loading the checkpoint does now."""
    try:
        found = weights_of(directory)
    except ArtifactError as error:
        return "refused" if "\n" not in str(error) else "several lines"
    except Exception as error:  # what a user would see as a traceback
        return f"crashed: {error!r:.200}"
    same = found.keys() == right.keys() and all(torch.equal(found[n], right[n]) for n in right)
    return "same weights" if same else "wrong weights"


def damage_and_load(
    directory: Path, times: int, seed: int, mark: Path, told: Callable[[int], None] = lambda _: None
) -> list[Outcome]:
    """Damage the checkpoint again and again, load it each time, and mend it."""
    files = {file.name: file.read_bytes() for file in sorted(directory.iterdir())}
    cases = [(name, kind) for name in files for kind in kinds_for(name)]
    right, numbers, outcomes = weights_of(directory), np.random.default_rng(seed), []
    for number in range(times):
        name, kind = cases[number % len(cases)]
        corrupt(directory / name, kind, numbers, mark)
        outcomes.append(Outcome(name, kind, outcome_of(directory, right)))
        for file in (name, "manifest.json"):
            (directory / file).write_bytes(files[file])
        told(number + 1)
    return outcomes
