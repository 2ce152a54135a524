"""The shared instance on a real PostgreSQL: queue, services, a command line, a restart."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from postgres_server import PostgresServer
from services import Service, wait_until
from shared_instance import SharedInstance
from tiny_project import SETTINGS, make_root
from units import ROOT

pytestmark = pytest.mark.postgres

EXECUTE = "-m dagster job execute -m pipelines.definitions -j train_perigee"
THREE_EPOCHS = SETTINGS.replace("epochs = 2", "epochs = 3")
OUTAGE_SECONDS = 1.5


def test_the_settings_are_what_dagster_takes(
    database: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in database.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    files = sorted((ROOT / "deploy").rglob("*"))
    with dg.DagsterInstance.from_config(str(ROOT / "deploy")) as instance:
        assert type(instance.event_log_storage).__name__ == "PatientPostgresEventLogStorage"
        assert not instance.telemetry_enabled
        assert not instance.nux_enabled
        assert instance.run_monitoring_enabled
        assert not instance.run_retries_enabled
        instance.event_log_storage.set_concurrency_slots("device", 1)
        assert instance.get_runs() == []
    assert sorted((ROOT / "deploy").rglob("*")) == files  # nothing is written beside them


@pytest.fixture
def shared(database: PostgresServer, tmp_path: Path) -> Iterator[SharedInstance]:
    (tmp_path / "shared").mkdir()
    instance = SharedInstance(make_root(tmp_path / "shared", THREE_EPOCHS), database)
    try:
        instance.start()
        yield instance
    finally:
        instance.stop()


def assets_of_runs(database: PostgresServer) -> dict[tuple[str, str], set[str]]:
    """Every run with its status, and the assets that it has made."""
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT runs.run_id, status, asset_key FROM runs JOIN event_logs USING (run_id)"
            " WHERE dagster_event_type = 'ASSET_MATERIALIZATION'"
        )
        rows = cursor.fetchall()
    return {row[:2]: {asset for *run, asset in rows if run == list(row[:2])} for row in rows}


def test_two_ways_to_run_and_a_restart_of_the_server(
    shared: SharedInstance, database: PostgresServer, tmp_path: Path
) -> None:
    """A queued run and a command in another checkout at once; the server is away in between."""
    (tmp_path / "other").mkdir()
    other = make_root(tmp_path / "other", THREE_EPOCHS)
    queued = shared.pages.launch("train_perigee")
    wait_until(lambda: shared.status(queued) == "STARTED", 60, "the queue")
    by_hand = Service(
        [sys.executable, *EXECUTE.split()],
        other,
        {**shared.environ, "PYTHONPATH": str(other), "DAGSTER_HOME": str(other / "deploy")},
        tmp_path / "by_hand.log",
    )
    first = "checkpoint.epoch_1"
    wait_until(lambda: first in shared.pages.materialised(queued), 120, "the first epoch")
    assert shared.status(queued) == "STARTED"
    assert by_hand.process.poll() is None

    database.stop()
    time.sleep(OUTAGE_SECONDS)
    database.start()

    assert by_hand.process.wait(120) == 0, by_hand.said()
    ended = ("SUCCESS", "FAILURE", "CANCELED")
    wait_until(lambda: shared.status(queued) in ended, 120, "the queued run")
    assert "PostgreSQL is back after" in by_hand.said() + shared.log("code").read_text()
    runs = assets_of_runs(database)
    assert len(runs) == 2
    assert {status for _, status in runs} == {"SUCCESS"}
    made_by_both, *rest = set(map(frozenset, runs.values()))
    assert rest == []
    assert {f'["checkpoint.epoch_{n}"]' for n in (1, 2, 3)} | {'["model_card"]'} <= made_by_both
