"""A set of the texts seen so far, in 16 bytes a text."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_FRESH = 1 << 16


class SeenTexts:
    """Remembers SHA-256 digests by their first 128 bits.

    Two different texts would have to agree in 128 bits to be taken for one (for 17 million
    documents: one chance in 10**24). A Python set of digests takes about 100 bytes a text, 1.7 GB
    for OpenWebText2; here the bulk is held in sorted arrays whose sizes double.
    """

    def __init__(self) -> None:
        self._fresh: set[bytes] = set()
        self._runs: list[npt.NDArray[np.uint64]] = []

    def __len__(self) -> int:
        return len(self._fresh) + sum(len(run) for run in self._runs)

    def __contains__(self, digest: bytes) -> bool:
        key = digest[:16]
        return key in self._fresh or any(_holds(run, key) for run in self._runs)

    def add(self, digest: bytes) -> None:
        """Remember ``digest``; it must not be here yet."""
        self._fresh.add(digest[:16])
        if len(self._fresh) < _FRESH:
            return
        run = np.frombuffer(b"".join(self._fresh), np.uint64).reshape(-1, 2)
        self._fresh.clear()
        while self._runs and len(self._runs[-1]) <= len(run):
            run = np.concatenate([self._runs.pop(), run])
        self._runs.append(run[np.argsort(run[:, 0], kind="stable")])


def _holds(run: npt.NDArray[np.uint64], key: bytes) -> bool:
    high, low = np.frombuffer(key, np.uint64)
    first, last = np.searchsorted(run[:, 0], [high, high + np.uint64(1)])
    # The last key of all has no successor: its range ends with the run.
    end = len(run) if high == np.iinfo(np.uint64).max else last
    return bool(np.any(run[first:end, 1] == low))
