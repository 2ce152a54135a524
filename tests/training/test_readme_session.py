from __future__ import annotations

import re
from pathlib import Path

import pytest

from perigee import stages
from perigee.config import load_settings
from perigee.training.trainer import train

ROOT = Path(__file__).resolve().parents[2]
CONFIG = """
[model]
num_layers = 1
model_dim = 16
oscillator_count = 2
num_heads = 2
mamba_repeat = 1
min_radius = 4
max_radius = 8
[training]
train_path = "{data}/unified.train.raw"
val_path = "{data}/unified.valid.raw"
test_path = "{data}/unified.test.raw"
vocab_size = 30
checkpoint_name = "perigee_sample"
sequence_length = 16
stride = 16
max_sequences = 14
max_valid_sequences = 4
batch_size = 3
epochs = 2
use_gpu = false
"""


def test_the_python_session_runs_as_the_readme_has_it(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (session,) = re.findall(r"```python\n(.*?)```", readme, re.S)
    monkeypatch.chdir(tmp_path)
    config = Path("configs/perigee_sample.toml")
    config.parent.mkdir()
    config.write_text(CONFIG.format(data=prepared))
    stages.prepare(load_settings(config))
    train(load_settings(config), until_epoch=1)
    names: dict[str, object] = {}
    exec(session, names)
    assert capsys.readouterr().out.startswith("The default value is used when ")
    checkpoints = Path("artifacts/perigee/checkpoints")
    assert {path.name for path in checkpoints.glob("*_epoch?")} == {
        "perigee_sample_epoch1",
        "perigee_sample_epoch2",
    }
    assert type(names["denoiser"]).__name__ == "Denoiser"
