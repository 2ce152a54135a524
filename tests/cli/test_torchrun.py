"""Several processes for one command, and one exit status for all."""

from __future__ import annotations

import json
import os
import subprocess
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


ROOT = Path(__file__).resolve().parents[2]
PROBE = """
import json, os
from pathlib import Path
import torch
from perigee.observer import SILENT
from perigee.training.processes import joined_processes

def listening(process):
    sockets = set()
    for entry in Path(f"/proc/{process}/fd").iterdir():
        try:
            sockets.add(os.readlink(entry))
        except FileNotFoundError:
            pass
    found = []
    for version in ("tcp", "tcp6"):
        for line in Path("/proc/net", version).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
                found.append(fields[1].partition(":")[0])
    return found

with joined_processes(os.environ, False, SILENT) as processes:
    total = torch.ones(3)
    processes.add([total])
    found = listening(os.getpid()) + (listening(os.getppid()) if processes.rank == 0 else [])
    Path(f"rank{processes.rank}.json").write_text(json.dumps([found, total.tolist()]))
    processes.wait()
"""
LOOPBACK = {"0100007F", "00000000000000000000000001000000"}
"""127.0.0.1 and ::1 as the kernel writes them in /proc/net."""


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="Linux tells what listens")
def test_nothing_listens_beyond_loopback(tmp_path: Path) -> None:
    (tmp_path / "probe.py").write_text(PROBE)
    environ = {
        name: value for name, value in os.environ.items() if not name.endswith("_SOCKET_IFNAME")
    }
    done = subprocess.run(
        [sys.executable, "-m", "perigee.cli.torchrun", "2", "probe"],
        cwd=tmp_path,
        env={
            **environ,
            "PYTHONPATH": os.pathsep.join((str(ROOT), str(tmp_path))),
            "TMPDIR": str(tmp_path),
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    seen = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in range(2)]
    assert [total for _, total in seen] == [[2.0] * 3] * 2
    addresses = {address for found, _ in seen for address in found}
    assert addresses, "gloo listens, for the other process"
    assert addresses <= LOOPBACK
    assert not list(tmp_path.glob("perigee-*")), "the files of the meeting are removed"
