"""Runs and trainings killed, stopped, doubled: the next run ends as if nothing had happened."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import numpy as np
import pytest
from dagster import DagsterEventType, DagsterRunStatus

from perigee.config import load_settings
from perigee.files import sha256_file
from perigee.stages import prepare

ROOT = Path(__file__).parents[2]
EPOCHS = 4
SETTINGS = f"""
[model]
num_layers = 1
model_dim = 16
oscillator_count = 2
num_heads = 2
mamba_repeat = 1
max_radius = 24
[generation]
steps = 2
length = 16
[training]
sequence_length = 32
stride = 32
max_sequences = 40
max_valid_sequences = 4
batch_size = 2
epochs = {EPOCHS}
learning_rate = 1e-3
vocab_size = 300
use_gpu = false
log_every = 1
snapshot_minutes = 0
"""
CHECKPOINTS = Path("artifacts/perigee/checkpoints")
MATERIALIZE = "asset", "materialize", "--select", 'key:"checkpoint.*"'


def write_documents(directory: Path) -> None:
    numbers = np.random.default_rng(1)
    directory.mkdir()
    for split, documents in {"train": 60, "valid": 10, "test": 10}.items():
        lines = (
            " ".join(f"word{n % 280}" for n in numbers.zipf(1.5, size=30)) for _ in range(documents)
        )
        (directory / f"unified.{split}.raw").write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root of the project with windows to train on."""
    directory = tmp_path_factory.mktemp("prepared")
    for name in ("assets", "perigee", "pipelines", "configs", "workspace.yaml", "dagster.yaml"):
        (directory / name).symlink_to(ROOT / name)
    (directory / "tiny.toml").write_text(SETTINGS)
    write_documents(directory / "data_sets")
    before = Path.cwd()
    os.chdir(directory)
    try:
        prepare(load_settings("tiny.toml", {}))
        with dg.DagsterInstance.from_config(str(directory)):
            pass  # two processes that make its databases at once would disturb each other
    finally:
        os.chdir(before)
    return directory


@pytest.fixture
def project(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root of its own, to stand in."""
    root = tmp_path / "project"
    shutil.copytree(prepared, root, symlinks=True)
    monkeypatch.chdir(root)
    return root


class Run:
    """``dagster asset materialize`` of all epochs, in a session of its own."""

    def __init__(self, root: Path, **variables: str) -> None:
        self.root = root
        environ = {
            "PATH": os.defpath,
            "HOME": str(root),
            "DAGSTER_HOME": str(root),
            "PYTHONPATH": str(root),
            "PERIGEE_CONFIG": "tiny.toml",
            "OMP_NUM_THREADS": "1",
            "PYTHONWARNINGS": "ignore",
            "DAGSTER_MODULE_NAME": "pipelines.definitions",
            "DAGSTER_CLI_ASSET_MATERIALIZE_CONFIG_JSON": '{"loggers": {"console": {}}}',
            **variables,
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "dagster", *MATERIALIZE],
            cwd=root,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def end(self) -> tuple[int, list[str]]:
        """Wait for its end: status and lines."""
        said, complaints = self._process.communicate(timeout=240)
        return self._process.returncode, (said + complaints).splitlines()

    def comes_to(self, epoch: int) -> int:
        """Wait until three steps of ``epoch`` are done; the number of the process that trains."""
        log = self.root / "artifacts/perigee/logs/training_log.jsonl"
        steps = f'{{"event": "step", "epoch": {epoch}, '
        wait_for(lambda: log.is_file() and log.read_text().count(steps) >= 3)
        return int((self.root / CHECKPOINTS / ".perigee.lock").read_text().split()[-1])


def wait_for(happened: Callable[[], object], seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def is_gone(process: int) -> bool:
    """Whether it has ended; nobody need have asked for its status."""
    try:
        return ") Z " in Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return True


def weights(root: Path) -> dict[str, str]:
    """What the last epoch holds."""
    last = root / CHECKPOINTS / f"perigee_epoch{EPOCHS}"
    return {file.name: sha256_file(file) for file in sorted(last.glob("*.safetensors"))}


def stored(root: Path) -> list[tuple[DagsterRunStatus, list[tuple[int, bool]]]]:
    """The runs in their order: status; epochs that were reported, and whether as reused."""
    found = []
    with dg.DagsterInstance.from_config(str(root)) as instance:
        for run in reversed(instance.get_runs()):
            kind = DagsterEventType.ASSET_MATERIALIZATION
            events = [e.asset_materialization for e in instance.all_logs(run.run_id, of_type=kind)]
            assert all(e is not None and e.metadata["sample text"].value for e in events)
            epochs = [
                (int(str(e.metadata["epoch"].value)), bool(e.metadata["reused"].value))
                for e in events
                if e is not None
            ]
            found.append((run.status, epochs))
    return found


@pytest.fixture(scope="module")
def undisturbed(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The weights of a training that nothing happened to."""
    root = tmp_path_factory.mktemp("undisturbed") / "project"
    shutil.copytree(prepared, root, symlinks=True)
    status, said = Run(root).end()
    assert status == 0, said
    assert len(weights(root)) == 3
    return weights(root)


def test_killed_twice_and_stopped_once_it_ends_as_if_undisturbed(
    project: Path, undisturbed: dict[str, str]
) -> None:
    # the run's own process is killed: training keeps a snapshot and ends
    run = Run(project)
    training = run.comes_to(2)
    run.signal(signal.SIGKILL)
    assert run.end()[0] == -signal.SIGKILL
    wait_for(lambda: is_gone(training))
    assert list((project / CHECKPOINTS).glob("perigee_snapshots/step*"))
    assert stored(project) == [(DagsterRunStatus.STARTED, [(1, False)])]

    # the process that trains is killed: the run says so in one line
    run = Run(project)
    os.kill(run.comes_to(3), signal.SIGKILL)
    status, said = run.end()
    assert status == 2, said
    assert said[-1].startswith("perigee: the training process was ended by SIGKILL (by hand, or")
    assert said[-1].endswith("run the job again: it goes on with epoch 3")
    assert not any("Traceback" in line or "Stack Trace" in line for line in said)
    assert stored(project)[-1] == (DagsterRunStatus.FAILURE, [(1, True), (2, False)])

    # the run is asked to stop, more than once: a snapshot, and nothing left behind
    run = Run(project)
    training = run.comes_to(EPOCHS)
    for _ in range(3):
        run.signal(signal.SIGTERM)
        time.sleep(0.05)
    status, said = run.end()
    assert status == 75, said
    assert said[-1].startswith("perigee: stopped by request after step ")
    assert f"of epoch {EPOCHS}; everything is kept in {CHECKPOINTS}/perigee_snapshots/" in said[-1]
    assert is_gone(training)

    status, said = Run(project).end()
    assert status == 0, said
    before = [(epoch, True) for epoch in range(1, EPOCHS)]
    assert stored(project)[-1] == (DagsterRunStatus.SUCCESS, [*before, (EPOCHS, False)])
    assert weights(project) == undisturbed


def test_of_two_runs_at_once_the_second_waits(project: Path, undisturbed: dict[str, str]) -> None:
    first = Run(project)
    first.comes_to(1)
    second = Run(project)
    assert first.end()[0] == 0
    status, said = second.end()
    assert status == 0, said
    assert any("the device is in use by process" in line for line in said)
    assert any("the device is free: going on" in line for line in said)
    reported = [epochs for _, epochs in stored(project)]
    assert reported == [[(n, reused) for n in range(1, EPOCHS + 1)] for reused in (False, True)]
    assert weights(project) == undisturbed


def test_torchruns_processes_train_one_model(project: Path) -> None:
    settings = SETTINGS.replace("batch_size = 2", "batch_size = 2\nprocesses = 2")
    (project / "tiny.toml").write_text(settings)
    run = Run(project)
    run.comes_to(2)
    run.signal(signal.SIGTERM)
    status, said = run.end()
    assert status == 75, said
    assert "everything is kept in" in said[-1]
    status, said = Run(project).end()
    assert status == 0, said
    manifest = json.loads((project / CHECKPOINTS / "perigee_epoch4/manifest.json").read_text())
    assert manifest["counts"]["processes"] == 2
