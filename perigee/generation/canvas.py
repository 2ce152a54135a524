"""The texts while they are denoised, and what the network says about their positions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from perigee.diffusion.denoiser import Denoiser
from perigee.generation.distribution import certainty
from perigee.generation.request import CertaintyName
from perigee.tokenizer.prime import EOS, MASK

Ids = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.float64]

LOGITS_AT_ONCE = 2**24
"""Logits computed together: 64 MiB in float32, 128 MiB in float64."""


@dataclass
class Canvas:
    """B texts of L positions, some given, some drawn, some masked."""

    token_ids: Ids
    """(B, L)."""
    is_given: Flags
    """(B, L): the prompt's words, or padding; never changed."""
    residues: Ids | None = None
    """(B, L, R): visible residues, -1 where hidden; for a model with glimpses."""
    is_padding: Flags | None = None
    """(B, L), where rows differ in length."""
    ends: bool = True
    """Whether a drawn [EOS] closes the positions after it."""
    log_probability: Numbers = field(init=False)
    """(B, L): the model's log-probability of each drawn word at its time; NaN where none was."""

    def __post_init__(self) -> None:
        self.log_probability = np.full(self.token_ids.shape, np.nan)

    @property
    def is_masked(self) -> Flags:
        return np.asarray(self.token_ids == MASK)

    @property
    def is_past_end(self) -> Flags:
        """(B, L): positions behind the first drawn [EOS]: no part of the text any more.

        They stay masked for the network. For a denoiser that is consistent over orders this changes
        nothing: words that are never looked at do not bear on the others.
        """
        if not self.ends:
            return np.zeros_like(self.is_given)
        is_end = (self.token_ids == EOS) & ~self.is_given
        return np.asarray(is_end.cumsum(axis=1) - is_end > 0)

    def write(self, rows: Ids, columns: Ids, words: Ids, log_probabilities: Numbers) -> None:
        """Decide positions; ``log_probabilities`` are the model's own, at temperature 1."""
        self.token_ids[rows, columns] = words
        self.log_probability[rows, columns] = log_probabilities
        if self.residues is not None:
            self.residues[rows, columns] = -1

    def erase(self, is_remasked: Flags) -> None:
        """Mask positions again."""
        self.token_ids[is_remasked] = MASK
        self.log_probability[is_remasked] = np.nan
        if self.residues is not None:
            self.residues[is_remasked] = -1


@dataclass(frozen=True)
class WordHead:
    """A denoiser, and which words may stand where."""

    denoiser: Denoiser
    forbidden: tuple[int, ...]
    """Ids that are never drawn."""
    end_from: int = 0
    """First position at which [EOS] is allowed."""

    @property
    def device(self) -> torch.device:
        return self.denoiser.output_weight.device


class Glance:
    """What the network sees in one step; a row costs one pass, and only if it is asked about."""

    def __init__(self, head: WordHead, canvas: Canvas, start: int, stop: int) -> None:
        self._head, self._canvas = head, canvas
        self._start, self._stop = start, stop
        self._index = np.full(len(canvas.token_ids), -1)
        self._hidden: Tensor | None = None

    def certainty(self, is_asked: Flags, kind: CertaintyName) -> Numbers:
        """(B, L) certainties in nats; minus infinity where not asked."""
        score = np.full(is_asked.shape, -np.inf)
        rows, columns = np.nonzero(is_asked)
        for part, logits in self._logits(rows, columns):
            # float32 ranks well enough; only draws need more.
            values = certainty(logits.float(), kind)
            score[rows[part], columns[part]] = values.double().cpu().numpy()
        return score

    def distributions(self, rows: Ids, columns: Ids) -> Iterator[tuple[slice, Tensor]]:
        """Log-probabilities in float64 at the given positions, a slice of them at a time."""
        for part, logits in self._logits(rows, columns):
            yield part, logits.double().log_softmax(dim=-1)

    def _logits(self, rows: Ids, columns: Ids) -> Iterator[tuple[slice, Tensor]]:
        hidden = self._look(rows)
        denoiser, device = self._head.denoiser, self._head.device
        index = torch.from_numpy(self._index[rows]).to(device)
        place = torch.from_numpy(columns - self._start).to(device)
        size = max(1, LOGITS_AT_ONCE // denoiser.output_weight.shape[0])
        for begin in range(0, len(rows), size):
            part = slice(begin, begin + size)
            asked = hidden[index[part], place[part]]
            yield part, self._allow(denoiser.logits(asked), columns[part])

    def _allow(self, logits: Tensor, columns: Ids) -> Tensor:
        forbidden = torch.tensor(self._head.forbidden, device=logits.device)
        logits.index_fill_(-1, forbidden, -torch.inf)  # ours alone: made from a copy
        too_early = np.flatnonzero(columns < self._head.end_from)
        if len(too_early):
            logits[torch.from_numpy(too_early).to(logits.device), EOS] = -torch.inf
        return logits

    def _look(self, rows: Ids) -> Tensor:
        missing = np.setdiff1d(rows, np.flatnonzero(self._index >= 0))
        if len(missing) or self._hidden is None:
            canvas, device = self._canvas, self._head.device

            def seen(values: npt.NDArray[np.generic] | None) -> Tensor | None:
                if values is None:
                    return None
                window = values[missing, self._start : self._stop]
                return torch.from_numpy(np.ascontiguousarray(window)).to(device)

            token_ids = seen(canvas.token_ids)
            assert token_ids is not None
            hidden = self._head.denoiser.hidden(
                token_ids, seen(canvas.is_padding), seen(canvas.residues)
            )
            known = 0 if self._hidden is None else len(self._hidden)
            self._index[missing] = known + np.arange(len(missing))
            self._hidden = hidden if self._hidden is None else torch.cat([self._hidden, hidden])
        return self._hidden
