"""Checkpoints of two numbers, in the form of real ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from perigee.files import write_json
from perigee.manifest import Manifest, record_file, write_manifest


def write_checkpoint(path: Path, epoch: int, bound: float, weight: float = 1.0) -> Manifest:
    """A checkpoint in the form of a real one, with a weight of one number."""
    path.mkdir(parents=True, exist_ok=True)
    for name in ("model", "optimizer"):
        save_file({"w": np.array([weight, float(epoch)])}, path / f"{name}.safetensors")
    validation = {"nats_per_word": bound, "standard_error": 0.01, "perplexity": 2.718**bound}
    state = {"progress": {}, "train_loss": bound + 0.1, "validation": validation}
    write_json(path / "state.json", state)
    for name in ("settings.json", "perigee_vocab.json"):
        write_json(path / name, {})
    files = [record_file(f, path) for f in sorted(path.glob("*")) if f.name != "manifest.json"]
    counts = {"steps": 3, "parameters": 1234, "tokens_per_second": 9.0, "seconds": 1.0}
    artifact = f"checkpoint.epoch_{epoch}"
    manifest = Manifest(artifact, "checkpoint", "1", {}, (), files, counts)
    write_manifest(path / "manifest.json", manifest)
    return manifest
