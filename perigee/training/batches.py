"""A step's batch: a pure function of (seed, epoch, step), cut into passes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Int
from numpy.typing import NDArray
from torch import Tensor

from perigee.diffusion.absorbing import PAD, is_pad
from perigee.diffusion.times import Draws, draw_noise
from perigee.training.order import divide


@dataclass(frozen=True)
class Pass:
    """Rows that go through the denoiser together."""

    token_ids: Int[Tensor, "B L"]
    is_padding: Bool[Tensor, "B L"]
    draws: Draws


@dataclass(frozen=True)
class Batch:
    """The global batch of one optimiser step, and what of it this process computes."""

    windows: NDArray[np.uint16]
    """All windows, (N, L)."""
    rows: NDArray[np.int64]
    """The batch's windows, in the order of their positions."""
    words: int
    """Words of the global batch: every id but [PAD]."""
    seed: int
    epoch: int
    step: int
    """Step of the epoch, 0, 1, ..."""
    parts: int
    """Parts of a word's code, 0 for whole words only."""

    def passes(self, *, rank: int, processes: int, accumulate: int) -> Iterator[Pass]:
        """Rows of process ``rank``, in ``accumulate`` passes at the most; none is empty."""
        share = divide(len(self.rows), processes)[rank]
        own = np.arange(len(self.rows))[share]
        for part in divide(len(own), accumulate):
            if len(positions := own[part]):
                yield self._pass(positions)

    def _pass(self, positions: NDArray[np.int64]) -> Pass:
        token_ids = torch.from_numpy(self.windows[self.rows[positions]].astype(np.int64))
        draws = draw_noise(
            self.seed,
            epoch=self.epoch,
            step=self.step,
            positions=positions.tolist(),
            batch_size=len(self.rows),
            length=token_ids.shape[1],
            parts=self.parts,
        )
        return Pass(token_ids, is_pad(token_ids), draws)


def make_batch(
    windows: NDArray[np.uint16],
    rows: NDArray[np.int64],
    *,
    seed: int,
    epoch: int,
    step: int,
    parts: int,
) -> Batch:
    """The batch of ``rows``, windows of step ``step`` (0, 1, ...) of ``epoch``."""
    words = int(np.count_nonzero(windows[rows] != PAD))
    return Batch(windows, rows, words, seed, epoch, step, parts)
