from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from perigee import stages
from perigee.settings import DiffusionSettings, ModelSettings, Settings, TrainingSettings

WORDS = [f"{a}{b}" for a in ("ba", "de", "ki", "mo", "su") for b in ("n", "r", "l", "s", "t", "m")]
SHAPE = ModelSettings(
    num_layers=1,
    model_dim=16,
    oscillator_count=2,
    num_heads=2,
    mamba_repeat=1,
    min_radius=4,
    max_radius=8,
)

MakeTraining = Callable[..., Settings]


def settings_in(directory: Path, **training: object) -> Settings:
    """A training of 3 epochs of 5 steps, on a model of a few thousand parameters."""
    keys: dict[str, object] = {
        "train_path": str(directory / "unified.train.raw"),
        "val_path": str(directory / "unified.valid.raw"),
        "test_path": str(directory / "unified.test.raw"),
        "vocab_path": str(directory / "perigee_vocab.json"),
        "vocab_size": 30,
        "checkpoint_dir": str(directory / "checkpoints"),
        "log_path": str(directory / "logs" / "log.jsonl"),
        "sequence_length": 16,
        "stride": 16,
        "max_sequences": 14,
        "max_valid_sequences": 4,
        "batch_size": 3,
        "epochs": 3,
        "learning_rate": 1e-2,
        "log_every": 2,
        "seed": 7,
        "use_gpu": False,
        "snapshot_minutes": 0.0,
        "precision": "float32",
    }
    return Settings(
        model=SHAPE,
        training=TrainingSettings.model_validate(keys | training),
        diffusion=DiffusionSettings(evaluation_times=2),
    )


def write_documents(path: Path, seed: int, documents: int) -> None:
    """Mostly each word follows the one before it in the list: there is something to learn."""
    numbers = np.random.default_rng(seed)
    with path.open("w", encoding="utf-8") as file:
        for _ in range(documents):
            steps = numbers.choice([1, 2, 7], size=numbers.integers(5, 40), p=[0.8, 0.1, 0.1])
            file.write(" ".join(WORDS[i % len(WORDS)] for i in np.cumsum(steps)) + "\n")


def write_all_documents(directory: Path) -> None:
    for seed, (split, documents) in enumerate({"train": 40, "valid": 8, "test": 8}.items()):
        write_documents(directory / f"unified.{split}.raw", seed, documents)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Documents, vocabulary and windows, made once by the real stages."""
    directory = tmp_path_factory.mktemp("prepared")
    write_all_documents(directory)
    stages.prepare(settings_in(directory))
    return directory


@pytest.fixture
def make_training(prepared: Path, tmp_path: Path) -> MakeTraining:
    """Settings of a small training whose data lie in a directory of its own."""

    def make(name: str = "run", **training: object) -> Settings:
        directory = tmp_path / name
        if not directory.exists():
            shutil.copytree(prepared, directory)
        return settings_in(directory, **training)

    return make
