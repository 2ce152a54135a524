"""Losses of a small training as they were when this file's figures were written.

They change with the model, its initial values, the objective, the order, the tokenizer and the
optimiser. After a change that is meant, write them anew:

    PYTHONPATH=. python tests/training/test_golden.py
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from perigee.settings import Settings
from perigee.training.log import read_log
from perigee.training.trainer import train_epochs

GOLDEN = Path(__file__).with_name("golden_losses.json")


def measure(settings: Settings) -> dict[str, list[float]]:
    reports = list(train_epochs(settings))
    records = read_log(Path(settings.training.log_path))
    return {
        "losses": [r["loss"] for r in records if r["event"] == "step"],
        "bounds": [report.validation["nats_per_word"] for report in reports],
    }


def test_losses_are_the_committed_ones(make_training: Callable[..., Settings]) -> None:
    golden = json.loads(GOLDEN.read_text())
    found = measure(make_training(log_every=1))
    assert len(golden["losses"]) == 15
    for name in ("losses", "bounds"):
        # Other processors sum in another order, and Adam enlarges what is only rounding.
        assert found[name] == pytest.approx(golden[name], rel=2e-3), name


def write_golden() -> None:
    sys.path.insert(0, str(Path(__file__).parent))
    from conftest import settings_in, write_all_documents

    from perigee import stages

    with TemporaryDirectory() as name:
        settings = settings_in(Path(name), log_every=1)
        write_all_documents(Path(name))
        stages.prepare(settings)
        GOLDEN.write_text(json.dumps(measure(settings), indent=2) + "\n")


if __name__ == "__main__":
    write_golden()
