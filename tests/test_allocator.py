from __future__ import annotations

import subprocess
import sys

import pytest

from perigee.allocator import keep_freed_memory

FAULTS = """
import resource, sys, torch
from perigee.observer import SILENT
from perigee.training.device import choose_device
if sys.argv[1] == "kept":
    choose_device(False, SILENT)
def step():
    return [torch.ones(1 << 20) for _ in range(20)]
step()
begin = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - begin)
"""


def faults(how: str) -> int:
    """Pages that the kernel had to fetch for 20 steps of 80 MB."""
    found = subprocess.run(
        [sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True
    )
    return int(found.stdout)


@pytest.mark.skipif(not keep_freed_memory(), reason="the C library is not glibc")
def test_a_step_computes_in_the_memory_of_the_last() -> None:
    assert faults("kept") < 0.1 * faults("as it comes")
