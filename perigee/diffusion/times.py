"""Times of a batch, and the random numbers of its rows.

The uniform numbers behind the times of a step are spread evenly over (0, 1] with one common random
shift (antithetic for two rows, stratified for more; Kingma et al., "Variational diffusion models",
NeurIPS 2021, appendix I.1). The place of a row is its position in the *global* batch, so how many
processes or accumulations share the batch changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from perigee.randomness import generator


@dataclass(frozen=True)
class Draws:
    """Uniform random numbers of B rows, float64 on the CPU; see :func:`draw_noise`."""

    times: Float[Tensor, " B"]
    """Behind the times, in (0, 1]; stratified over the global batch."""
    words: Float[Tensor, "B L"]
    """Behind the masks of whole words, in [0, 1)."""
    coins: Float[Tensor, "B L"] | None = None
    """Which words are masked part by part; only where there is a code."""
    parts: Float[Tensor, "B L R"] | None = None
    """Behind the masks of a word's R parts; only where there is a code."""


def spread(shift: float, positions: Sequence[int], total: int) -> Float[Tensor, " B"]:
    """Evenly spread numbers in (0, 1]: of ``total``, those at ``positions``, moved by ``shift``."""
    places = torch.tensor(list(positions), dtype=torch.float64) / total
    return 1.0 - torch.remainder(places + shift, 1.0)


def draw_noise(
    seed: int,
    *,
    epoch: int,
    step: int,
    positions: Sequence[int],
    batch_size: int,
    length: int,
    parts: int = 0,
) -> Draws:
    """The random numbers of some rows of one optimiser step.

    Parameters
    ----------
    seed, epoch, step:
        Which step; the numbers are a pure function of these and of a row's position.
    positions:
        Places of the rows in the global batch, each in ``range(batch_size)``.
    batch_size:
        Rows of the global batch: over all processes and accumulations.
    length:
        Words in a window, L.
    parts:
        Parts R of a word's code; 0 for whole words only.
    """
    shift = float(generator(seed, "times", epoch, step).random())
    rows = [generator(seed, "noise", epoch, step, position) for position in positions]
    return Draws(spread(shift, positions, batch_size), *_row_numbers(rows, length, parts))


def draw_evaluation(
    seed: int, *, rows: Sequence[tuple[int, int]], strata: int, length: int, parts: int = 0
) -> Draws:
    """The random numbers of an evaluation's rows: (window, stratum) with stratum < ``strata``.

    A window's times are stratified on their own, and windows are independent of each other, so
    that the spread between windows gives an honest standard error.
    """
    generators = [generator(seed, "bound", window, stratum) for window, stratum in rows]
    times = [
        1.0 - (stratum + numbers.random()) / strata
        for (_, stratum), numbers in zip(rows, generators, strict=True)
    ]
    return Draws(torch.tensor(times, dtype=torch.float64), *_row_numbers(generators, length, parts))


def _row_numbers(
    rows: Sequence[np.random.Generator], length: int, parts: int
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    # A row's numbers are drawn in one piece: words first, so that a code does not change them.
    columns = 2 + parts if parts else 1
    numbers = np.empty((len(rows), columns, length))
    for row, source in enumerate(rows):
        numbers[row] = source.random((columns, length))
    tensor = torch.from_numpy(numbers)
    if not parts:
        return tensor[:, 0], None, None
    return tensor[:, 0], tensor[:, 1], tensor[:, 2:].transpose(1, 2)


def warp(uniforms: Float[Tensor, "*shape"], mask_fraction: float) -> Float[Tensor, "*shape"]:
    """Times u ** ((1 - m) / m): their mean is m; m = 0.5 leaves them uniform."""
    return uniforms ** ((1.0 - mask_fraction) / mask_fraction)


def density(times: Float[Tensor, "*shape"], mask_fraction: float) -> Float[Tensor, "*shape"]:
    """Probability density of the times that :func:`warp` makes of uniform numbers."""
    power = (1.0 - mask_fraction) / mask_fraction
    return times ** (1.0 / power - 1.0) / power
