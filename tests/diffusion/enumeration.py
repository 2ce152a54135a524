"""The bound without chance: all outcomes of coins and masks, Gauss quadrature over time."""

from __future__ import annotations

from itertools import product

import numpy as np
import torch
from torch import Tensor
from toy_sources import Source

from perigee.diffusion.code import PartCode
from perigee.diffusion.denoiser import Denoiser
from perigee.diffusion.forward import choose_units, corrupt
from perigee.diffusion.schedule import Schedule
from perigee.diffusion.terms import cross_entropies
from perigee.diffusion.times import Draws
from perigee.diffusion.weights import bound_weight


def quadrature(nodes: int = 48) -> tuple[Tensor, Tensor]:
    """Gauss-Legendre nodes and weights on (0, 1)."""
    places, weights = np.polynomial.legendre.leggauss(nodes)
    return torch.from_numpy((places + 1) / 2), torch.from_numpy(weights / 2)


def masked_cross_entropies(
    denoiser: Denoiser, source: Source, code: PartCode | None, is_split: tuple[bool, ...]
) -> list[tuple[int, int, float]]:
    """For every set of masked units: its size, the number of units, the expected cross-entropy."""
    length, count = source.windows.shape[1], len(source.windows)
    sizes = [len(code) if code is not None and split else 1 for split in is_split]
    patterns = list(product((0.0, 1.0), repeat=sum(sizes)))
    words = torch.ones(len(patterns), length, dtype=torch.float64)
    parts = torch.ones(len(patterns), length, len(code) if code is not None else 1).double()
    for row, pattern in enumerate(patterns):
        for place, piece in enumerate(torch.tensor(pattern).double().split(sizes)):
            if is_split[place]:
                parts[row, place] = 1.0 - piece
            else:
                words[row, place] = 1.0 - piece[0]
    coins = torch.tensor([0.0 if split else 1.0 for split in is_split]).double()
    # All patterns of all windows in one batch: a number of 0 means masked, 1 visible.
    rows = len(patterns) * count
    draws = Draws(
        torch.zeros(rows),
        words.repeat_interleave(count, 0),
        coins.expand(rows, length),
        parts.repeat_interleave(count, 0),
    )
    windows = source.windows.repeat(len(patterns), 1)
    is_padding = torch.zeros_like(windows, dtype=torch.bool)
    units = choose_units(is_padding, draws, code, 0.5)
    corruption = corrupt(windows, units, torch.full((rows,), 0.5, dtype=torch.float64), code)
    ones = torch.ones(rows, dtype=torch.float64)
    terms = cross_entropies(denoiser, windows, is_padding, corruption, ones, code)
    expected = terms.rows.view(len(patterns), count) @ source.probabilities
    return [
        (int(sum(pattern)), sum(sizes), nats)
        for pattern, nats in zip(patterns, expected.tolist(), strict=True)
    ]


def exact_bound(
    denoiser: Denoiser,
    source: Source,
    schedule: Schedule,
    code: PartCode | None = None,
    is_split: tuple[bool, ...] | None = None,
) -> float:
    """The NELBO, nats a window, for one outcome of the coins."""
    length = source.windows.shape[1]
    outcomes = masked_cross_entropies(denoiser, source, code, is_split or (False,) * length)
    return integrate(outcomes, schedule)


def integrate(outcomes: list[tuple[int, int, float]], schedule: Schedule) -> float:
    """The expected cross-entropies of all sets, weighted and integrated over time."""
    times, weights = quadrature()
    share = schedule.masked_share(times)
    total = torch.zeros_like(times)
    for masked, units, nats in outcomes:
        total += share**masked * (1 - share) ** (units - masked) * nats
    return float((weights * bound_weight(schedule, times) * total).sum())
