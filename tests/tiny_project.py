"""A root of the project whose code is this one's and whose data and settings are its own."""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
CODE = ("assets", "configs", "deploy", "perigee", "pipelines", "workspace.yaml", "dagster.yaml")
BIN = Path(sys.executable).parent

SETTINGS = """
[model]
num_layers = 1
model_dim = 16
oscillator_count = 2
num_heads = 2
mamba_repeat = 1
max_radius = 24
[training]
sequence_length = 32
stride = 32
max_sequences = 32
max_valid_sequences = 4
batch_size = 8
epochs = 2
learning_rate = 1e-3
vocab_size = 300
use_gpu = false
[data]
train_limit = 4
valid_limit = 1
test_limit = 1
embedded_words = 10000
[generation]
steps = 2
length = 16
"""


def make_root(directory: Path, settings: str = SETTINGS) -> Path:
    """Make ``directory`` such a root; ``tiny.toml`` in it holds the settings."""
    for name in CODE:
        (directory / name).symlink_to(ROOT / name)
    (directory / "tiny.toml").write_text(settings)
    return directory


def environment(root: Path, **variables: str) -> dict[str, str]:
    """Next to nothing, so that no setting of whoever runs the tests gets in."""
    return {
        "PATH": f"{BIN}{os.pathsep}{os.defpath}",
        "HOME": str(root),
        "PYTHONPATH": str(root),
        "OMP_NUM_THREADS": "1",
        "PERIGEE_CONFIG": "tiny.toml",
        **variables,
    }
