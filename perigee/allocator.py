"""Memory that a step frees is kept for the next one, instead of being fetched from the system."""

from __future__ import annotations

import ctypes
from functools import cache

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Of ``mallopt`` (malloc.h)."""
KEPT_BYTES = 1 << 30


@cache
def keep_freed_memory() -> bool:
    """Let glibc's ``malloc`` keep what is freed; whether that could be set.

    By default every tensor of some megabytes is mapped anew and given back when it is freed, so
    that the kernel first clears each of its pages: a quarter of a training step's time on a CPU.
    The environment's own MALLOC_ settings are overruled; other C libraries are left alone.
    """
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    is_trimmed = set_option(M_TRIM_THRESHOLD, KEPT_BYTES)
    is_mapped = set_option(M_MMAP_THRESHOLD, KEPT_BYTES)
    return bool(is_trimmed == is_mapped == 1)
