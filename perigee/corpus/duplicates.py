"""A set of the texts seen so far, in 16 bytes a text."""

from __future__ import annotations

from bisect import bisect_left
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

_FRESH = 1 << 16
_MERGED = 4


class _Run(NamedTuple):
    """Keys in order. Python's bisection of a view takes a microsecond, NumPy's for one key ten."""

    keys: npt.NDArray[np.uint64]
    """(N, 2) halves of the keys, in the order of the first."""
    first: memoryview
    second: memoryview

    @classmethod
    def of(cls, keys: npt.NDArray[np.uint64]) -> _Run:
        """The run of ``keys`` in any order."""
        ordered = np.asfortranarray(keys[np.argsort(keys[:, 0], kind="stable")])
        return cls(ordered, ordered[:, 0].data, ordered[:, 1].data)

    def holds(self, first: int, second: int) -> bool:
        """Whether a key is here."""
        place = bisect_left(self.first, first)
        while place < len(self.first) and self.first[place] == first:
            if self.second[place] == second:
                return True
            place += 1
        return False


class SeenTexts:
    """Remembers SHA-256 digests by their first 128 bits.

    Two different texts would have to agree in 128 bits to be taken for one (for 17 million
    documents: one chance in 10**24). A Python set of digests takes about 100 bytes a text, 1.7 GB
    for OpenWebText2; here the bulk is held in a few sorted arrays of growing sizes.
    """

    def __init__(self) -> None:
        self._fresh: set[bytes] = set()
        self._runs: list[_Run] = []

    def __len__(self) -> int:
        return len(self._fresh) + sum(len(run.keys) for run in self._runs)

    def __contains__(self, digest: bytes) -> bool:
        key = digest[:16]
        if key in self._fresh:
            return True
        if not self._runs:
            return False
        first, second = np.frombuffer(key, np.uint64).tolist()
        return any(run.holds(first, second) for run in self._runs)

    def add(self, digest: bytes) -> None:
        """Remember ``digest``; it must not be here yet."""
        self._fresh.add(digest[:16])
        if len(self._fresh) < _FRESH:
            return
        keys = np.frombuffer(b"".join(self._fresh), np.uint64).reshape(-1, 2)
        self._fresh.clear()
        while self._runs and len(self._runs[-1].keys) <= _MERGED * len(keys):
            keys = np.concatenate([self._runs.pop().keys, keys])
        self._runs.append(_Run.of(keys))
