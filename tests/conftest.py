"""What all tests share: in CI the examples of property tests are the same each time."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from dagster._core.storage.defs_state.base import set_defs_state_storage
from hypothesis import settings

settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")

# Whoever started the tests may ignore these (a shell's background job does, SIGINT), and so would
# all that the tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGTERM, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def own_dagster_state() -> Iterator[None]:
    """No test loads definitions beside an instance that another one has left behind.

    Dagster (1.13) keeps the newest instance's storage in a variable of the process, and puts
    back a closed one when instances do not end in the reverse order of their beginning.
    """
    with set_defs_state_storage(None):
        yield
