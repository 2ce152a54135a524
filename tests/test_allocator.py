from __future__ import annotations

import subprocess
import sys

import pytest

from perigee.allocator import keep_freed_memory

HELD = """
import sys, torch
from pathlib import Path
from perigee.observer import SILENT
from perigee.training.device import choose_device
if sys.argv[1] == "kept":
    choose_device(False, SILENT)
def step():
    return [torch.ones(10 << 20) for _ in range(4)]
def resident():
    line = next(l for l in Path("/proc/self/status").read_text().splitlines() if "VmRSS" in l)
    return int(line.split()[1]) * 1024
before = resident()
for _ in range(3):
    step()
print(resident() - before)
"""


def held(how: str) -> int:
    """Bytes that the process still has after steps of 160 MiB whose tensors are all freed."""
    found = subprocess.run(
        [sys.executable, "-c", HELD, how], capture_output=True, text=True, check=True
    )
    return int(found.stdout)


@pytest.mark.skipif(not keep_freed_memory(), reason="the C library is not glibc")
def test_the_memory_of_a_step_is_kept_for_the_next() -> None:
    assert held("kept") > 100 * 2**20
    assert held("as it comes") < 60 * 2**20
