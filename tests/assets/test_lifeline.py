"""A training does not outlive its run, ends when asked, and holds the device until it has ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from assets import lifeline
from assets.lifeline import Child
from perigee.errors import BusyError
from perigee.files import exclusive_lock

ROOT = Path(__file__).parents[2]
ENVIRON = {**os.environ, "PYTHONPATH": str(ROOT)}

TRAINING = """
import sys, time
from pathlib import Path
from assets.lifeline import Lifeline
lifeline, log = Lifeline(), Path(sys.argv[1])
for epoch in range(100):
    log.write_text(str(epoch))
    lifeline.wait_for_permit()
    if lifeline.is_cut:
        time.sleep(float(sys.argv[2]))  # a step, a snapshot
        log.write_text("kept")
        sys.exit(75)
"""

RUN = """
import os, sys, time
from pathlib import Path
from assets.lifeline import Child
from perigee.files import exclusive_lock
with exclusive_lock(Path("device.lock"), what="the device") as lock:
    child = Child([sys.executable, *sys.argv[1:]], os.environ, [lock])
    time.sleep(600)
"""


def wait_for(happened: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def reads(path: Path, text: str) -> Callable[[], bool]:
    return lambda: path.is_file() and path.read_text() == text


def training(log: Path, seconds: float = 0.0) -> list[str]:
    return ["-c", TRAINING, str(log), str(seconds)]


def test_epochs_are_permitted_one_by_one_until_the_stop(tmp_path: Path) -> None:
    log = tmp_path / "log"
    child = Child([sys.executable, *training(log)], ENVIRON)
    wait_for(reads(log, "0"))
    time.sleep(0.1)
    assert log.read_text() == "0"
    child.go_on()
    wait_for(reads(log, "1"))
    assert child.is_running()
    assert child.stop() == 75
    assert log.read_text() == "kept"


def test_a_killed_runs_training_ends_and_holds_the_device_until_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    log, lock = tmp_path / "log", Path("device.lock")
    run = subprocess.Popen([sys.executable, "-c", RUN, *training(log, 1.0)], env=ENVIRON)
    wait_for(reads(log, "0"))
    run.send_signal(signal.SIGKILL)
    run.wait()
    with pytest.raises(BusyError), exclusive_lock(lock, what="the device"):
        pass
    with exclusive_lock(lock, what="the device", wait_seconds=20):
        assert log.read_text() == "kept"


def test_the_end_is_that_of_all_processes(tmp_path: Path) -> None:
    """torchrun itself may be killed, and its workers still be at work."""
    log = tmp_path / "log"
    launcher = "import subprocess, sys; subprocess.Popen([sys.executable, *sys.argv[1:]])"
    child = Child([sys.executable, "-c", launcher, *training(log, 0.5)], ENVIRON)
    wait_for(lambda: not child.is_running())
    child.stop()
    assert log.read_text() == "kept"


@pytest.mark.parametrize("stuck", ["time.sleep(600)", "while True: pass"])
def test_what_is_stuck_is_ended(monkeypatch: pytest.MonkeyPatch, stuck: str) -> None:
    monkeypatch.setattr(lifeline, "STOP_SECONDS", 0.2)
    child = Child([sys.executable, "-c", f"import time\n{stuck}"], ENVIRON)
    assert child.stop() == -signal.SIGKILL


def test_what_is_stuck_ends_by_itself_when_the_run_is_gone(tmp_path: Path) -> None:
    log = tmp_path / "log"
    stuck = (
        "import pathlib, sys, time\nfrom assets import lifeline\nlifeline.STOP_SECONDS = 1\n"
        "lifeline.Lifeline()\npathlib.Path(sys.argv[1]).write_text('0')\ntime.sleep(600)"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", stuck, str(log)], env=ENVIRON, stdin=subprocess.PIPE
    )
    wait_for(reads(log, "0"))
    assert child.stdin is not None
    child.stdin.close()
    assert child.wait(20) == -signal.SIGALRM


def test_a_second_interrupt_does_not_take_the_snapshot_away(tmp_path: Path) -> None:
    log = tmp_path / "log"
    child = Child([sys.executable, *training(log, 1.0)], ENVIRON)
    wait_for(reads(log, "0"))
    again = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    again.start()
    handler = signal.getsignal(signal.SIGINT)
    assert child.stop() == 75
    again.join()
    assert log.read_text() == "kept"
    assert signal.getsignal(signal.SIGINT) is handler
