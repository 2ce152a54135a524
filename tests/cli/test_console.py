from __future__ import annotations

import io
import sys

import pytest

from perigee.cli.console import ConsoleObserver


class Screen(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_the_bar_shows_progress_loss_and_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "160")
    with ConsoleObserver() as observer:
        observer.progress("epoch 1", 25, 100, "steps")
        observer.record("step", {"step": 25, "loss": 5.4321, "tokens_per_second": 4477.2})
        observer.progress("epoch 1", 26, 100, "steps")
        observer.say("a message")
    shown = screen.getvalue()
    assert "epoch 1" in shown
    assert "loss 5.432" in shown
    assert "tokens per second 4,477" in shown
    assert "26/100" in shown
    assert "a message" in shown


def test_without_a_terminal_there_are_lines_and_no_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with ConsoleObserver() as observer:
        observer.progress("epoch 1", 25, 100, "steps")
        observer.record("step", {"step": 25, "loss": 5.4321})
        observer.say("look out", "warning")
        monkeypatch.setattr("perigee.cli.console.SECONDS_BETWEEN_LINES", 0.0)
        observer.progress("epoch 1", 50, 100, "steps")
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "step: step 25  loss 5.432",
        "warning: look out",
        "epoch 1: 50 of 100 steps",
    ]
