"""A database server for all tests of what is deployed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from postgres_server import PROGRAMS, PostgresServer


@pytest.fixture(scope="session")
def database() -> Iterator[PostgresServer]:
    if PROGRAMS is None:
        pytest.skip("PostgreSQL's server is not installed: apt-get install postgresql")
    server = PostgresServer()
    yield server
    server.remove()
