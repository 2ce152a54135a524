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
    windows = source.windows
    length = windows.shape[1]
    sizes = [len(code) if code is not None and split else 1 for split in is_split]
    out = []
    for pattern in product((False, True), repeat=sum(sizes)):
        pieces = list(torch.tensor(pattern).split(sizes))
        words = torch.ones(length)
        parts = torch.ones(length, len(code) if code is not None else 1)
        for place, piece in enumerate(pieces):
            if is_split[place]:
                parts[place] = (~piece).double()
            else:
                words[place] = float(not piece[0])
        coins = torch.tensor([0.0 if split else 1.0 for split in is_split])
        draws = Draws(
            torch.zeros(len(windows)),
            *(t.double().expand(len(windows), *t.shape) for t in (words, coins, parts)),
        )
        units = choose_units(torch.zeros_like(windows, dtype=torch.bool), draws, code, 0.5)
        corruption = corrupt(windows, units, torch.full((len(windows),), 0.5), code)
        terms = cross_entropies(
            denoiser,
            windows,
            torch.zeros_like(windows, dtype=torch.bool),
            corruption,
            torch.ones(len(windows), dtype=torch.float64),
            code,
        )
        expected = float(terms.rows @ source.probabilities)
        out.append((sum(pattern), sum(sizes), expected))
    return out


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
    times, weights = quadrature()
    share = schedule.masked_share(times)
    total = torch.zeros_like(times)
    for masked, units, nats in outcomes:
        total += share**masked * (1 - share) ** (units - masked) * nats
    return float((weights * bound_weight(schedule, times) * total).sum())
