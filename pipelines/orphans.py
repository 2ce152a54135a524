"""Runs whose process is gone: found, and marked as failed.

Nobody watches the process of a ``dagster job execute``: killed, its run stays STARTED for ever and
keeps its slot in the pool, so that queued trainings would wait for ever too (Dagster 1.13). The
code server watches the runs that it launched, but not past its own end, or that of the database.
"""

import os
import socket
from pathlib import Path

import dagster as dg
from dagster import DagsterEventType, DagsterRunStatus, RunsFilter

HOST_TAG = "perigee/host"
"""The machine where a run's command was given: process numbers mean something there only."""


def is_alive(pid: int, before: float, proc: Path = Path("/proc")) -> bool:
    """Whether process ``pid`` is still the one that was there at the time ``before`` (Unix s).

    Numbers are given again: a process that began later is another one.
    """
    try:
        # field 22, and the name in field 2 may hold spaces and parentheses
        ticks = int((proc / str(pid) / "stat").read_text().rpartition(")")[2].split()[19])
        lines = (proc / "stat").read_text().splitlines()
    except OSError:
        return False
    booted = next(int(line.split()[1]) for line in lines if line.startswith("btime "))
    return booted + ticks / os.sysconf("SC_CLK_TCK") <= before + 1.0


def fail_orphans(instance: dg.DagsterInstance) -> list[str]:
    """Mark them as failed; returns their run ids. Runs on another machine are none of ours."""
    failed = []
    here = RunsFilter(statuses=[DagsterRunStatus.STARTED], tags={HOST_TAG: socket.gethostname()})
    for run in instance.get_runs(filters=here):
        for start in instance.all_logs(run.run_id, of_type=DagsterEventType.RUN_START)[:1]:
            pid = start.dagster_event.pid if start.dagster_event else None
            if pid is None or is_alive(pid, start.timestamp):
                continue
            # now that it is gone its last word is there: it may have been that all went well
            last = instance.get_run_by_id(run.run_id)
            if last is not None and last.status == DagsterRunStatus.STARTED:
                instance.report_run_failed(run, f"process {pid} of this run is gone")
                failed.append(run.run_id)
    return failed


@dg.sensor(
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Fails runs whose process was killed, so that queued ones can start.",
)
def orphaned_runs(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    """Looks at the runs of this machine."""
    failed = fail_orphans(context.instance)
    return dg.SkipReason(f"failed {', '.join(failed)}" if failed else "no orphaned run")
