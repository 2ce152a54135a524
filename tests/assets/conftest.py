"""A project of its own for each test, with corpora of a few lines."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from perigee.settings import Settings

SETTINGS = """
[model]
num_layers = 1
model_dim = 16
oscillator_count = 2
num_heads = 2
max_radius = 24
[training]
sequence_length = 16
stride = 16
max_sequences = 8
max_valid_sequences = 4
batch_size = 2
epochs = 3
vocab_size = 200
use_gpu = false
[data]
pg19_root = "pg19"
openwebtext2 = "archive.tar"
train_limit = 2
valid_limit = 1
test_limit = 1
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory to stand in, whose ``tiny.toml`` PERIGEE_CONFIG names."""
    for name in [n for n in os.environ if n.startswith(("PERIGEE_", "DAGSTER_"))]:
        monkeypatch.delenv(name)
    (tmp_path / "tiny.toml").write_text(SETTINGS)
    monkeypatch.setenv("PERIGEE_CONFIG", "tiny.toml")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def settings(project: Path) -> Settings:
    from perigee.config import load_settings

    return load_settings(project / "tiny.toml")


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral
