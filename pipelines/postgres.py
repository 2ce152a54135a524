"""Storage in PostgreSQL that sits out a restart of the server; deploy/dagster.yaml names it."""

import functools
import inspect
import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

import sqlalchemy.exc
from dagster._config import Field, IntSource, UserConfigSchema
from dagster._core.storage.config import pg_config
from dagster._serdes import ConfigurableClassData
from dagster_postgres import (
    DagsterPostgresStorage,
    PostgresEventLogStorage,
    PostgresRunStorage,
    PostgresScheduleStorage,
)
from dagster_postgres.utils import pg_url_from_config
from sqlalchemy import Engine, event

PATIENCE_SECONDS = 900
FIRST_WAIT_SECONDS = 0.2
LONGEST_WAIT_SECONDS = 5.0
MOST_TRIES = 5
"""Of one call, over connections that break while they are used."""
READS = ("get_", "has_", "fetch_", "all_", "can_", "check_")
REPEATABLE_WRITES = frozenset(
    {
        "store_event",
        "store_event_batch",
        "handle_run_event",
        "add_run_tags",
        "set_cursor_values",
        "add_daemon_heartbeat",
        "claim_concurrency_slot",
        "free_concurrency_slot_for_step",
        "free_concurrency_slots_for_run",
        "update_asset_cached_status_data",
        "update_tick",
    }
)
"""Done twice they leave what they leave done once; only an event then stands there twice."""

Storage = TypeVar("Storage")
_log = logging.getLogger("perigee.postgres")
_inside = threading.local()


class Outage:
    """The server is away: how long already, and whether to go on waiting."""

    def __init__(
        self,
        patience_seconds: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._patience = patience_seconds
        self._clock = clock
        self._sleep = sleep
        self._since: float | None = None

    def connect(self, dialect: Any, _record: Any, arguments: Any, parameters: Any) -> Any:
        """SQLAlchemy's ``do_connect``: a connection, as soon as there is one.

        Once the patience is spent every try fails at once, until one succeeds: Dagster tries five
        times more.
        """
        wait = FIRST_WAIT_SECONDS
        while True:
            try:
                connection = dialect.connect(*arguments, **parameters)
            except dialect.dbapi.OperationalError as error:
                now = self._clock()
                if self._since is None:
                    self._since = now
                    reason = str(error).strip().splitlines()[-1]
                    _log.warning("PostgreSQL: %s; trying for %.0f s", reason, self._patience)
                if now - self._since >= self._patience:
                    raise
                self._sleep(wait)
                wait = min(2 * wait, LONGEST_WAIT_SECONDS)
            else:
                if self._since is not None:
                    _log.warning("PostgreSQL is back after %.1f s", self._clock() - self._since)
                self._since = None
                return connection


def patient(storage: type[Storage]) -> type[Storage]:
    """``storage``, whose reads and repeatable writes are done again if their connection breaks.

    An event that arrived, and only its receipt was lost, then stands there twice: of two evils,
    the other one fails a training that did nothing wrong, this is the smaller.
    """
    members = {
        name: _again(method)
        for name, method in inspect.getmembers(storage, inspect.isfunction)
        if name.startswith(READS) or name in REPEATABLE_WRITES
    }
    return type(f"Patient{storage.__name__}", (storage,), members)


def _again(method: Callable[..., Any]) -> Callable[..., Any]:
    """``method``, but tried anew; inside another such method, that one is tried anew as a whole."""

    @functools.wraps(method)
    def tried(*arguments: Any, **named: Any) -> Any:
        if getattr(_inside, "is_retried", False):
            return method(*arguments, **named)
        _inside.is_retried = True
        try:
            for _ in range(MOST_TRIES - 1):
                try:
                    return method(*arguments, **named)
                except sqlalchemy.exc.DBAPIError as error:
                    if not error.connection_invalidated:
                        raise
                _log.warning("PostgreSQL broke a connection: %s once more", method.__name__)
            return method(*arguments, **named)
        finally:
            _inside.is_retried = False

    return tried


class PatientPostgresStorage(DagsterPostgresStorage):
    """Dagster's storage in PostgreSQL, but waiting for a server that is away.

    Dagster's own gives up after some 11 s (1.13; no setting), which ends the run, and leaves it
    marked as running, since the record of its failure can no more be written than anything else.

    The webserver makes connections of its own and gives up as before: a page shows the error and is
    reloaded.
    """

    def __init__(
        self,
        postgres_url: str,
        patience_seconds: float = PATIENCE_SECONDS,
        inst_data: ConfigurableClassData | None = None,
    ) -> None:
        super().__init__(postgres_url, inst_data=inst_data)
        self._run_storage = patient(PostgresRunStorage)(postgres_url)
        self._event_log_storage = patient(PostgresEventLogStorage)(postgres_url)
        self._schedule_storage = patient(PostgresScheduleStorage)(postgres_url)
        for storage in (self._run_storage, self._event_log_storage, self._schedule_storage):
            wait_for_the_server(storage._engine, patience_seconds)

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """Dagster's, and for how long to wait."""
        patience = Field(IntSource, is_required=False, default_value=PATIENCE_SECONDS)
        return {**cast("dict[str, Any]", pg_config()), "patience_seconds": patience}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> "PatientPostgresStorage":
        """What Dagster calls with the settings of dagster.yaml."""
        url = pg_url_from_config(config_value)
        return cls(url, config_value["patience_seconds"], inst_data)


def wait_for_the_server(engine: Engine, patience_seconds: float) -> None:
    """Make ``engine`` wait for its server when it connects."""
    event.listen(engine, "do_connect", Outage(patience_seconds).connect)
