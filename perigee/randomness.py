"""Random numbers as pure functions of (seed, stream, indices).

No generator state is ever carried or saved: whoever asks for the numbers of step 731 gets them
without having drawn those of step 730. Numbers are drawn by NumPy's Philox on the CPU, so that
they are the same on every device and for every number of processes (Salmon et al., "Parallel
random numbers: as easy as 1, 2, 3", SC 2011).
"""

from __future__ import annotations

import hashlib

import numpy as np


def stream_key(seed: int, stream: str, *indices: int) -> int:
    """A 128-bit key for ``indices`` of ``stream`` under ``seed``: other arguments, another key."""
    text = ":".join([str(int(seed)), stream, *(str(int(index)) for index in indices)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "little")


def generator(seed: int, stream: str, *indices: int) -> np.random.Generator:
    """A fresh counter-based generator for ``indices`` of ``stream`` under ``seed``."""
    return np.random.Generator(np.random.Philox(key=stream_key(seed, stream, *indices)))
