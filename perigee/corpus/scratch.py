"""Arrays that a thread uses again: fresh memory costs more than a vectorised pass over it."""

from __future__ import annotations

import threading

import numpy as np
import numpy.typing as npt

_ARRAYS = 4
_KEPT = 1 << 23

Bytes = npt.NDArray[np.uint8]
Flags = npt.NDArray[np.bool_]
Places = npt.NDArray[np.int64]


class _Arrays(threading.local):
    """Those of one thread."""

    def __init__(self) -> None:
        self.kept = [np.empty(0, np.uint8) for _ in range(_ARRAYS)]


_arrays = _Arrays()


def scratch(number: int, size: int) -> Bytes:
    """Array ``number`` (0 to 3) of this thread, of ``size`` bytes of any contents.

    It is the caller's until the next one asks for the same number.
    """
    if size > _KEPT:
        return np.empty(size, np.uint8)
    kept = _arrays.kept
    if len(kept[number]) < size:
        kept[number] = np.empty(2 * size, np.uint8)
    return kept[number][:size]


def flags(number: int, size: int) -> Flags:
    """The same as truth values."""
    return scratch(number, size).view(np.bool_)


def places_of(characters: Bytes, character: int) -> Places:
    """Where ``character`` stands; uses array 0."""
    return np.flatnonzero(np.equal(characters, character, out=flags(0, len(characters))))
