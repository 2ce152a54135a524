"""The second of two runs waits for the device, and the kernel frees it with its holder."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import dagster as dg

from assets.device import device_lease
from perigee.files import exclusive_lock

HOLD = """
import sys, time
from pathlib import Path
from perigee.files import exclusive_lock
with exclusive_lock(Path(sys.argv[1]), what="the device"):
    print("held", flush=True)
    time.sleep(600)
"""


def lines(instance: dg.DagsterInstance, lock: Path) -> list[str]:
    """What a step logs that takes the device."""

    @dg.asset
    def step(context: dg.AssetExecutionContext) -> None:
        with device_lease(context, lock, seconds=0.02):
            context.log.info("computing")

    result = dg.materialize([step], instance=instance)
    logged = instance.all_logs(result.run_id)
    return [entry.user_message for entry in logged if entry.dagster_event is None]


def test_a_free_device_is_taken_without_a_word(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    assert lines(instance, tmp_path / "device.lock") == ["computing"]
    assert lines(instance, tmp_path / "device.lock") == ["computing"]  # and given back


def test_the_second_run_waits(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    lock, held = tmp_path / "device.lock", threading.Event()

    def hold() -> None:
        with exclusive_lock(lock, what="the device"):
            held.set()
            time.sleep(1.0)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    first, second, third = lines(instance, lock)
    holder.join()
    assert first.startswith("the device is in use by process ")
    assert first.endswith(": waiting until it is free")
    assert (second, third) == ("the device is free: going on", "computing")


def test_a_killed_run_leaves_the_device_free(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    lock = tmp_path / "device.lock"
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(lock)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    holder.kill()
    holder.wait()
    holder.stdout.close()
    assert lines(instance, lock) == ["computing"]
