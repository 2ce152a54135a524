"""Several processes for one command, and one exit status for all."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from perigee.cli import training
from perigee.cli.torchrun import exit_status, is_wanted


@pytest.mark.parametrize(
    ("statuses", "one"), [([], 0), ([2], 2), ([75, 2], 75), ([2, -9], 137), ([-11], 139)]
)
def test_of_several_ends_a_signals_comes_first(statuses: list[int], one: int) -> None:
    assert exit_status(statuses) == one


def test_torchrun_is_started_once() -> None:
    assert is_wanted(2, {})
    assert not is_wanted(1, {})
    assert not is_wanted(2, {"RANK": "1"})


def test_train_starts_itself_in_several_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "two.toml"
    config.write_text("[training]\nprocesses = 2\nbatch_size = 4\n")
    arguments = ["train", str(config), "--resume"]
    monkeypatch.setattr(sys, "argv", ["perigee", *arguments])
    monkeypatch.delenv("RANK", raising=False)
    started = []

    def launch(*command: object) -> int:
        started.append(command)
        return 137

    monkeypatch.setattr(training, "launch", launch)
    with pytest.raises(SystemExit) as ended:
        training.train(config, resume=True)
    assert ended.value.code == 137
    assert started == [(2, "perigee", arguments)]
