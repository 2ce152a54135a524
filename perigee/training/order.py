"""Which windows a step sees: pure functions of (seed, epoch, step).

Nothing is carried from step to step, so a resumed run asks for step 731 and gets what the
uninterrupted run saw there, and each of several processes finds its own rows by itself.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from perigee.randomness import generator


def epoch_order(seed: int, epoch: int, windows: int) -> NDArray[np.int64]:
    """The order in which ``epoch`` (1, 2, ...) visits the windows: each exactly once."""
    return generator(seed, "order", epoch).permutation(windows).astype(np.int64)


def steps_per_epoch(windows: int, batch_size: int) -> int:
    """Optimiser steps of an epoch; the last one may hold fewer windows than the others."""
    return -(-windows // batch_size)


def batch_rows(order: NDArray[np.int64], epoch_step: int, batch_size: int) -> NDArray[np.int64]:
    """Windows of step ``epoch_step`` (0, 1, ...), in the order of their positions in the batch."""
    return order[epoch_step * batch_size : (epoch_step + 1) * batch_size]


def divide(rows: int, parts: int) -> list[slice]:
    """Positions 0 ... rows - 1 in ``parts`` runs whose lengths differ by one at the most."""
    bounds = [rows * part // parts for part in range(parts + 1)]
    return [slice(start, stop) for start, stop in pairwise(bounds)]
