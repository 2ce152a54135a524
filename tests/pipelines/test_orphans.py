"""Runs whose process is gone are failed, and no others."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import pytest
from dagster import DagsterEvent, DagsterEventType, DagsterRunStatus

from pipelines import orphans
from pipelines.orphans import HOST_TAG, fail_orphans, is_alive, orphaned_runs


@dg.asset
def nothing() -> None:
    return None


def started_run(
    instance: dg.DagsterInstance, pid: int, tags: dict[str, str] | None = None
) -> dg.DagsterRun:
    """A run that process ``pid`` of this machine has started."""
    job = dg.Definitions(assets=[nothing]).resolve_implicit_global_asset_job_def()
    here = {HOST_TAG: socket.gethostname()}
    run = instance.create_run_for_job(job, tags={**here, **(tags or {})})
    event = DagsterEvent(DagsterEventType.RUN_START.value, job.name, pid=pid)
    instance.report_dagster_event(event, run.run_id)
    return run


def status(instance: dg.DagsterInstance, run: dg.DagsterRun) -> DagsterRunStatus:
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    return found.status


@pytest.fixture
def gone() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_process_is_alive_only_as_long_as_it_is_the_same(gone: int) -> None:
    now = time.time()
    assert is_alive(os.getpid(), now)
    assert not is_alive(os.getpid(), now - 1e6)  # this process began later: another had its number
    assert not is_alive(gone, now)


def test_names_of_processes_may_hold_anything(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    fields = " ".join(["S", *["0"] * 18, "500", "0"])
    (tmp_path / "7" / "stat").write_text(f"7 (a) b (c)) {fields}\n")
    (tmp_path / "stat").write_text("cpu 1 2 3\nbtime 1000\n")
    began = 1000 + 500 / os.sysconf("SC_CLK_TCK")
    assert is_alive(7, began, tmp_path)
    assert not is_alive(7, began - 2, tmp_path)


def test_orphans_fail_and_the_living_go_on(instance: dg.DagsterInstance, gone: int) -> None:
    orphan, living = started_run(instance, gone), started_run(instance, os.getpid())
    elsewhere = started_run(instance, gone, {HOST_TAG: "another machine"})
    assert fail_orphans(instance) == [orphan.run_id]
    assert status(instance, elsewhere) == DagsterRunStatus.STARTED
    assert status(instance, orphan) == DagsterRunStatus.FAILURE
    assert status(instance, living) == DagsterRunStatus.STARTED


def test_a_run_that_ends_well_while_it_is_looked_at_is_no_orphan(
    instance: dg.DagsterInstance, gone: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = started_run(instance, gone)

    def has_just_ended(*_arguments: object) -> bool:
        event = DagsterEvent(DagsterEventType.RUN_SUCCESS.value, run.job_name)
        instance.report_dagster_event(event, run.run_id)
        return False

    monkeypatch.setattr(orphans, "is_alive", has_just_ended)
    assert fail_orphans(instance) == []
    assert status(instance, run) == DagsterRunStatus.SUCCESS


def test_the_sensor_says_what_it_did(instance: dg.DagsterInstance, gone: int) -> None:
    orphan = started_run(instance, gone)
    first = orphaned_runs(dg.build_sensor_context(instance=instance))
    assert isinstance(first, dg.SkipReason)
    assert first.skip_message == f"failed {orphan.run_id}"
    second = orphaned_runs(dg.build_sensor_context(instance=instance))
    assert isinstance(second, dg.SkipReason)
    assert second.skip_message == "no orphaned run"
