"""Which masked positions a step decides, and which decided ones it masks again.

A step goes from noise level t down to s. ``alpha`` is the share of known words.

Ancestral (MDLM, arXiv 2406.07524, eq. 7): each masked position is decided with probability
(alpha_s - alpha_t) / (1 - alpha_t), by a coin of its own, whatever the word. Remasking (ReMDM,
arXiv 2503.00307, eq. 6): a decided position is masked again with probability sigma, a masked one is
decided with probability (alpha_s - (1 - sigma) alpha_t) / (1 - alpha_t); sigma = 0 is ancestral.
Confidence: the positions whose distribution is most certain, as many as the schedule asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from perigee.diffusion.schedule import ScheduleName, schedule_named
from perigee.generation.request import Remasking, Request
from perigee.randomness import generator

Flags = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Choice:
    """What a step does, (B, L) each."""

    is_decided: Flags
    """Masked positions that get a word."""
    is_remasked: Flags
    """Decided positions that lose theirs."""
    is_revealed: Flags | None = None
    """(B, L, R): residues to reveal at masked positions that are unmasked in parts."""

    @property
    def writes(self) -> bool:
        """Whether there is something to look up and write."""
        return bool(self.is_decided.any()) or (
            self.is_revealed is not None and bool(self.is_revealed.any())
        )


class Order(Protocol):
    """Chooses positions, one step at a time."""

    @property
    def remasks(self) -> bool:
        """Whether a text that is whole may change again."""

    def choose(
        self,
        step: int,
        stream: int,
        is_open: Flags,
        is_written: Flags,
        certainty: Callable[[], Numbers],
    ) -> Choice:
        """Choose among the masked positions ``is_open`` and the drawn ones ``is_written``.

        ``step`` counts within the block; ``stream`` is the step's own number in the whole run, for
        draws. ``certainty`` computes the (B, L) certainties at open positions; it costs a pass
        through the network and is called only if they matter.
        """


def known_share(schedule: ScheduleName, steps: int) -> Numbers:
    """Alpha at the ``steps + 1`` ends of the steps, from 0 (all masked) to 1."""
    times = torch.linspace(1.0, 0.0, steps + 1, dtype=torch.float64)
    alpha = schedule_named(schedule).alpha(times).numpy()
    alpha[0], alpha[-1] = 0.0, 1.0  # exactly, whatever the cosine rounds to
    return alpha


def remasking_schedule(alpha: Numbers, remasking: Remasking) -> tuple[Numbers, Numbers]:
    """Alpha (steps + 1,) and sigma (steps,) of a remasking sampler; sigma is valid at each step."""
    steps = len(alpha) - 1
    if remasking.kind == "loop":
        alpha = _looping_share(steps, 1.0 - remasking.loop_masked)
    before, after = alpha[:-1], alpha[1:]
    # Before the first step nothing is known, and there is nothing to take back.
    known = np.where(before > 0.0, before, np.inf)
    largest = np.minimum(1.0, (1.0 - after) / known)
    match remasking.kind:
        case "cap":
            return alpha, np.minimum(remasking.strength, largest)
        case "rescale":
            return alpha, remasking.strength * largest
        case "loop":
            return alpha, np.where(before == after, np.minimum(remasking.strength, largest), 0.0)


def _looping_share(steps: int, held: float) -> Numbers:
    rise, hold = max(1, steps // 4), steps // 2
    up = held * (np.arange(rise + 1) / rise)
    finish = steps - rise - hold
    end = held + (1.0 - held) * np.arange(1, finish + 1) / max(1, finish)
    alpha = np.concatenate([up, np.full(hold, held), end])
    alpha[-1] = 1.0
    return alpha


@dataclass(frozen=True)
class CoinOrder:
    """Ancestral and remasking: one coin for each position and step."""

    decide: Numbers
    """(steps,) probability that a masked position is decided."""
    remask: Numbers
    """(steps,) probability that a decided one is masked again."""
    seed: int
    partial_fraction: float = 0.0
    """Probability that a position is unmasked residue by residue, by a coin thrown once."""
    residue_count: int = 0

    @property
    def remasks(self) -> bool:
        return bool(self.remask.any())

    def choose(
        self,
        step: int,
        stream: int,
        is_open: Flags,
        is_written: Flags,
        certainty: Callable[[], Numbers],
    ) -> Choice:
        del certainty
        shape, decide = is_open.shape, self.decide[step]
        coins = row_uniforms(self.seed, "generation.order", stream, shape)
        is_remasked = is_written & (coins < self.remask[step])
        is_decided = is_open & (coins < decide)
        if self.partial_fraction == 0.0:
            return Choice(is_decided, is_remasked)
        kinds = row_uniforms(self.seed, "generation.kinds", 0, shape)
        is_partial = is_open & (kinds < self.partial_fraction)
        shape_of_parts = (*shape, self.residue_count)
        coins = row_uniforms(self.seed, "generation.residues", stream, shape_of_parts)
        return Choice(
            is_decided & ~is_partial, is_remasked, is_partial[..., None] & (coins < decide)
        )


@dataclass(frozen=True)
class ConfidenceOrder:
    """The most certain positions first; ties go to the left."""

    alpha: Numbers
    """(steps + 1,) share of known words at the ends of the steps."""
    noise: float
    """Scale of the Gumbel noise on the certainty, at the beginning."""
    seed: int

    @property
    def remasks(self) -> bool:
        return False

    def choose(
        self,
        step: int,
        stream: int,
        is_open: Flags,
        is_written: Flags,
        certainty: Callable[[], Numbers],
    ) -> Choice:
        nothing = np.zeros_like(is_written)
        open_count = is_open.sum(axis=1)
        staying = (1.0 - self.alpha[step + 1]) / (1.0 - self.alpha[step])
        # Rounded to the nearest count, so that short texts are spread over all the steps.
        count = open_count - np.floor(open_count * staying + 0.5).astype(np.int64)
        if not count.any():
            return Choice(nothing, nothing)
        if (count == open_count).all():
            return Choice(is_open, nothing)
        score = certainty()
        if self.noise:
            uniforms = row_uniforms(self.seed, "generation.order", stream, is_open.shape)
            gumbel = -np.log(-np.log(np.clip(uniforms, 1e-300, 1.0 - 1e-16)))
            score = score + self.noise * (1.0 - self.alpha[step]) * gumbel
        return Choice(_highest(score, is_open, count), nothing)


def _highest(score: Numbers, is_open: Flags, count: npt.NDArray[np.int64]) -> Flags:
    # A margin of zero has the certainty minus infinity, and still comes before a closed position.
    rank = np.where(is_open, -np.maximum(score, -1e300), np.inf)
    ranked = np.argsort(rank, axis=1, kind="stable")
    is_chosen = np.zeros_like(is_open)
    within = np.arange(is_open.shape[1])[None, :] < count[:, None]
    np.put_along_axis(is_chosen, ranked, within, axis=1)
    return is_chosen


def row_uniforms(
    seed: int, stream: str, step: int, shape: tuple[int, ...], rows: Iterable[int] | None = None
) -> Numbers:
    """Uniform numbers in [0, 1) of ``shape`` (B, L, ...), a stream of its own for each row.

    Only those of ``rows`` are drawn, where they are named.
    """
    uniforms = np.zeros(shape)
    for row in range(shape[0]) if rows is None else rows:
        uniforms[row] = generator(seed, stream, int(row), step).random(shape[1:])
    return uniforms


def build_order(request: Request, steps: int, residue_count: int = 0) -> Order:
    """The order that ``request`` asks for, over a block of ``steps`` steps."""
    alpha = known_share(request.schedule, steps)
    match request.sampler:
        case "confidence":
            return ConfidenceOrder(alpha, request.order_noise, request.seed)
        case "ancestral":
            sigma = np.zeros(steps)
        case "remasking":
            alpha, sigma = remasking_schedule(alpha, request.remasking)
    before, after = alpha[:-1], alpha[1:]
    decide = (after - (1.0 - sigma) * before) / (1.0 - before)
    decide = np.clip(decide, 0.0, 1.0)
    return CoinOrder(decide, sigma, request.seed, request.partial_fraction or 0.0, residue_count)
