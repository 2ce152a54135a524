from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

KILL = Path(__file__).resolve().parents[2] / "benchmarks" / "kill.py"


@pytest.mark.parametrize(("number", "kills"), [("KILL", 6), ("TERM", 3)])
def test_killed_at_random_moments_ends_as_if_untouched(
    tmp_path: Path, number: str, kills: int
) -> None:
    """The short form of benchmarks/kill.py: real signals, forked processes, every byte compared."""
    figures = tmp_path / "figures.json"
    options = ["--kills", str(kills), "--epochs", "1", "--signal", number, "--json", str(figures)]
    subprocess.run([sys.executable, str(KILL), *options], check=True, timeout=240)
    found = json.loads(figures.read_text())
    assert found["kills"] >= kills
    assert found["trainings_ended"] >= 1
    assert found["trainings_that_differ"] == 0
