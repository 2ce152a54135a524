"""One run computes on the device at a time, whoever started it."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import dagster as dg

from perigee.errors import BusyError
from perigee.files import exclusive_lock

DEVICE_LOCK = Path("artifacts/dagster/device.lock")
SECONDS_BETWEEN_TRIES = 1.0


@contextmanager
def device_lease(
    context: dg.AssetExecutionContext,
    lock: Path = DEVICE_LOCK,
    *,
    seconds: float = SECONDS_BETWEEN_TRIES,
) -> Iterator[int]:
    """Hold the device, after waiting for whoever holds it; yields the lock's file descriptor.

    The pool's slot keeps queued runs apart, but ``dagster job execute`` asks no queue, and a slot
    outlives a killed run. A kernel lock asks everybody, and dies with its process; the process that
    trains is given it too, so that the device is free when both are gone.
    """
    with ExitStack() as held:
        waited = False
        while True:
            try:
                descriptor = held.enter_context(exclusive_lock(lock, what="the device"))
                break
            except BusyError as busy:
                if not waited:
                    context.log.info(f"{busy.problem}: waiting until it is free")
                waited = True
                time.sleep(seconds)
        if waited:
            context.log.info("the device is free: going on")
        yield descriptor
