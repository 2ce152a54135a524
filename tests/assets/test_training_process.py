"""What the training process sends, how it is started, and what its end says."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from assets.training_process import PipesObserver
from assets.training_run import ROOT, command, environment, explanation
from perigee.errors import Interrupted, TrainingError
from perigee.settings import Settings, TrainingSettings


def test_progress_and_steps_are_thinned_and_lines_are_not() -> None:
    sent: list[Any] = []
    now = 0.0
    observer = PipesObserver(sent.append, lambda: now > 2.0, clock=lambda: now)
    for step in range(1, 11):
        observer.progress("epoch 1", step, 10, "steps")
        observer.record("step", {"step": step})
        observer.say(f"step {step}")
        now += 0.3
    observer.record("validation", {"epoch": 1})
    assert observer.should_stop()
    steps = [message[2]["step"] for message in sent if message[:2] == ["record", "step"]]
    assert steps == [1, 5, 9]
    assert [m[2] for m in sent if m[0] == "progress"] == [1, 5, 9, 10]
    assert [m[1] for m in sent if m[0] == "say"] == [f"step {n}" for n in range(1, 11)]
    assert sent[-1] == ["record", "validation", {"epoch": 1}]


def test_several_processes_are_torchruns() -> None:
    one = Settings()
    several = Settings(training=TrainingSettings(processes=4, batch_size=4))
    assert command(one) == [sys.executable, "-m", "assets.training_process"]
    module = "assets.training_process"
    assert command(several) == [sys.executable, "-m", "perigee.cli.torchrun", "4", module]


def test_the_process_finds_the_code_and_its_threads_are_patient(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    assert environment()["PYTHONPATH"] == f"{ROOT}:elsewhere"
    assert environment()["GOMP_SPINCOUNT"] == "4000"
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    assert environment()["GOMP_SPINCOUNT"] == "7"


UNREACHABLE = TrainingError("the other processes cannot be reached")
STOPPED = Interrupted("stopped by request after step 3")


def test_why_training_ended(tmp_path: Path) -> None:
    settings = Settings(training=TrainingSettings(checkpoint_dir=str(tmp_path), epochs=3))
    (settings.checkpoint_path(1)).mkdir()
    (settings.checkpoint_path(1) / "manifest.json").touch()

    def why(status: int, **more: Any) -> str:
        return repr(explanation(status, settings, more.get("told"), more.get("interrupt")))

    assert why(0) == "None"
    assert why(75, told=STOPPED) == repr(STOPPED)
    assert why(2, told=UNREACHABLE) == repr(UNREACHABLE)
    # a signal that comes while Python ends, after everything was kept
    assert why(-signal.SIGTERM, told=STOPPED) == repr(STOPPED)
    for status in (-signal.SIGKILL, 128 + signal.SIGKILL):
        line = why(status, told=UNREACHABLE)
        assert "ended by SIGKILL (by hand, or because memory ran out" in line
        assert line.endswith("run the job again: it goes on with epoch 2')")
    assert "within 50 s" in why(-signal.SIGALRM)
    assert "ended with status 1" in why(1)
    assert "ended with status 255" in why(255)
    assert why(-signal.SIGKILL, interrupt=KeyboardInterrupt()) == "KeyboardInterrupt()"
    assert why(75, told=STOPPED, interrupt=KeyboardInterrupt()) == repr(STOPPED)
