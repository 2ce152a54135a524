"""Waiting for a database that is away, and writing what a broken connection lost."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import dagster as dg
import psycopg2
import pytest
from postgres_server import PostgresServer
from sqlalchemy import event

from pipelines.postgres import MOST_TRIES, Outage, PatientPostgresStorage


@dataclass
class Away:
    """A server that refuses until a time; the clock moves only while somebody sleeps."""

    until: float
    now: float = 0.0
    tries: int = 0
    dbapi: Any = field(default_factory=lambda: SimpleNamespace(OperationalError=OSError))

    def connect(self, *_arguments: object, **_parameters: object) -> str:
        self.tries += 1
        if self.now < self.until:
            raise OSError("first line\nconnection refused")
        return "a connection"

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def connect(server: Away, outage: Outage) -> Any:
    return outage.connect(server, None, (), {})


def test_it_waits_for_the_server_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    server = Away(until=60)
    outage = Outage(900, clock=server.clock, sleep=server.sleep)
    with caplog.at_level(logging.WARNING):
        assert connect(server, outage) == "a connection"
    assert 60 <= server.now < 66
    assert server.tries < 25
    assert [r.message for r in caplog.records] == [
        "PostgreSQL: connection refused; trying for 900 s",
        f"PostgreSQL is back after {server.now:.1f} s",
    ]


def test_patience_ends_and_begins_again(caplog: pytest.LogCaptureFixture) -> None:
    server = Away(until=1e9)
    outage = Outage(30, clock=server.clock, sleep=server.sleep)
    for _ in range(6):  # Dagster's own tries
        with pytest.raises(OSError, match="connection refused"):
            connect(server, outage)
    assert 30 <= server.now < 36
    server.until = server.now
    assert connect(server, outage) == "a connection"
    server.until = server.now + 20
    assert connect(server, outage) == "a connection"


@pytest.fixture
def storage(database: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> PatientPostgresStorage:
    for name, value in database.environment().items():
        monkeypatch.setenv(name, value)
    config = {"postgres_url": "postgresql+psycopg2:///", "patience_seconds": 5}
    return PatientPostgresStorage.from_config_value(None, config)


def break_connections(
    storage: PatientPostgresStorage,
    database: PostgresServer,
    times: int,
    beginning: str = "INSERT INTO event_logs",
) -> list[int]:
    """The server ends the connections of the next ``times`` such statements; their numbers."""
    broken: list[int] = []

    def end(_connection: Any, cursor: Any, statement: str, *_rest: object) -> None:
        if statement.startswith(beginning) and len(broken) < times:
            broken.append(cursor.connection.get_backend_pid())
            with database.connect() as other, other.cursor() as command:
                command.execute("SELECT pg_terminate_backend(%s, 5000)", [broken[-1]])

    for part in (storage.event_log_storage, storage.run_storage, storage.schedule_storage):
        event.listen(part._engine, "before_cursor_execute", end)
    return broken


def entry(run: str) -> dg.EventLogEntry:
    return dg.EventLogEntry(
        error_info=None, level=20, user_message="a line", run_id=run, timestamp=1.0
    )


def test_an_event_survives_the_end_of_its_connection(
    storage: PatientPostgresStorage, database: PostgresServer
) -> None:
    broken = break_connections(storage, database, MOST_TRIES - 1)
    storage.event_log_storage.store_event(entry("patient"))
    assert len(broken) == MOST_TRIES - 1
    logged = storage.event_log_storage.get_logs_for_run("patient")
    assert [line.user_message for line in logged] == ["a line"]


@pytest.mark.parametrize(
    "read",
    [
        lambda storage: storage.event_log_storage.get_asset_records([dg.AssetKey("a")]),
        lambda storage: storage.event_log_storage.get_logs_for_run("none"),
        lambda storage: storage.event_log_storage.has_asset_key_col("cached_status_data"),
        lambda storage: storage.run_storage.get_runs(),
        lambda storage: storage.schedule_storage.get_ticks("a", "b"),
    ],
)
def test_a_read_survives_the_end_of_its_connection(
    storage: PatientPostgresStorage,
    database: PostgresServer,
    read: Callable[[PatientPostgresStorage], object],
) -> None:
    expected = read(storage)
    broken = break_connections(storage, database, MOST_TRIES - 1, "SELECT")
    assert read(storage) == expected
    assert len(broken) == MOST_TRIES - 1


def test_a_server_that_breaks_every_connection_is_given_up(
    storage: PatientPostgresStorage, database: PostgresServer
) -> None:
    broken = break_connections(storage, database, 1_000)
    with pytest.raises(Exception, match=r"terminating connection|closed the connection"):
        storage.event_log_storage.store_event(entry("impatient"))
    assert len(broken) == MOST_TRIES


def test_dagsters_own_storage_loses_it(
    database: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Why there is a storage of ours: when this fails, Dagster has learnt it."""
    from dagster_postgres import DagsterPostgresStorage

    for name, value in database.environment().items():
        monkeypatch.setenv(name, value)
    storage = DagsterPostgresStorage("postgresql+psycopg2:///")
    break_connections(storage, database, 1)
    with pytest.raises(Exception, match=r"terminating connection|closed the connection"):
        storage.event_log_storage.store_event(entry("impatient"))


def test_a_password_that_is_wrong_is_no_outage_for_ever(
    storage: PatientPostgresStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", "wrong")
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        Outage(0).connect(storage.event_log_storage._engine.dialect, None, (), {"dsn": ""})
