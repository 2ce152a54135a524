from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from perigee.errors import TrainingError
from perigee.observer import SILENT
from perigee.settings import Settings
from perigee.training.log import read_log
from perigee.training.processes import OneProcess, _buckets, joined_processes, launched_ranks
from perigee.training.trainer import train_epochs

Make = Callable[..., Settings]


SMALL_STEPS = {"epochs": 2, "log_every": 1, "learning_rate": 1e-3}
"""Adam makes a step of full length of a gradient that is all rounding; small ones differ less."""


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


def run_ranks(*jobs: tuple[Settings, int, int | None]) -> tuple[list[list[int]], str]:
    """Exit statuses of the processes of every job (settings, processes, deadly step); stderr."""
    documents = [
        {"settings": settings.model_dump_json(), "port": free_port(), "count": n, "dies_at": step}
        for settings, n, step in jobs
    ]
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("forked_ranks.py")), json.dumps(documents)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    lines = done.stdout.splitlines()
    return [[int(status) for status in line.split()] for line in lines], done.stderr


def losses(settings: Settings) -> list[tuple[int, float, float]]:
    records = read_log(Path(settings.training.log_path))
    return [(r["step"], r["loss"], r["grad_norm"]) for r in records if r["event"] == "step"]


def test_several_processes_train_as_one(make_training: Make) -> None:
    """Same losses step by step to float32 rounding; the last batch has two windows for three."""
    one = make_training("one", **SMALL_STEPS)
    list(train_epochs(one))
    several = {n: make_training(f"of{n}", **SMALL_STEPS) for n in (2, 3)}
    killed = make_training("killed", **SMALL_STEPS)
    statuses, said = run_ranks((several[2], 2, None), (several[3], 3, None), (killed, 2, 7))
    assert statuses == [[0, 0], [0, 0, 0], [2, -9]]
    for settings in several.values():
        same_losses(settings, one)

    # Rank 1 was killed in the second epoch: the other one stops, and one alone goes on.
    assert "the other processes cannot be reached" in said
    assert killed.checkpoint_path(1).is_dir()
    reports = list(train_epochs(killed))
    assert [report.reused for report in reports] == [True, False]
    same_losses(killed, one)


def same_losses(settings: Settings, expected: Settings) -> None:
    assert len(losses(expected)) == 10
    for a, b in zip(losses(settings), losses(expected), strict=True):
        assert a == pytest.approx(b, rel=1e-4)


def test_without_a_launcher_there_is_one_process() -> None:
    with joined_processes({}, False, SILENT) as processes:
        assert isinstance(processes, OneProcess)
        tensor = torch.ones(2)
        processes.add([tensor])
        processes.wait()
        assert tensor.tolist() == [1.0, 1.0]
        assert processes.largest([1.0, 2.0]) == [1.0, 2.0]


def test_the_launchers_numbers_are_read_or_refused() -> None:
    environ = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}
    assert launched_ranks(environ) == (3, 4, 1)
    with pytest.raises(TrainingError, match="RANK=3, WORLD_SIZE=None"):
        launched_ranks({"RANK": "3"})


def test_buckets_hold_every_tensor_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perigee.training.processes.BUCKET_BYTES", 40)
    tensors = [torch.zeros(n) for n in (4, 4, 4, 20, 1)] + [torch.zeros(1, dtype=torch.float64)]
    buckets = _buckets(tensors)
    assert [t for bucket in buckets for t in bucket] == tensors
    assert [len(bucket) for bucket in buckets] == [2, 1, 1, 1, 1]
