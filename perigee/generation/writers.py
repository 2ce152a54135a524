"""Putting words at the positions that an order has chosen: drawn whole, or residue by residue."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from perigee.generation.canvas import Canvas, Flags, Glance, Ids, Numbers
from perigee.generation.distribution import draw, sharpen
from perigee.generation.order import Choice, row_uniforms
from perigee.generation.request import Request
from perigee.tokenizer.prime import EOS, PAD
from perigee.tokenizer.residues import WordCode

Restriction = Callable[[slice], Tensor]
"""For a slice of the positions asked about, which words are allowed there, (n, V)."""


@dataclass(frozen=True)
class DrawingWriter:
    """Draws whole words, each independent of the others in the step, given what was seen before."""

    request: Request

    def write(self, canvas: Canvas, glance: Glance, choice: Choice, stream: int) -> None:
        """Draw a word for every decided position."""
        for chosen in self._turns(choice.is_decided):
            rows, columns = np.nonzero(chosen)
            if len(rows):
                words, log_probabilities = self.draw(canvas, glance, chosen, stream)
                canvas.write(rows, columns, words, log_probabilities)

    def draw(
        self,
        canvas: Canvas,
        glance: Glance,
        chosen: Flags,
        stream: int,
        restriction: Restriction | None = None,
    ) -> tuple[Ids, Numbers]:
        """Words and the model's own log-probabilities of them, in the order of ``np.nonzero``."""
        request = self.request
        rows, columns = np.nonzero(chosen)
        uniforms = row_uniforms(
            request.seed, "generation.words", stream, chosen.shape, np.unique(rows)
        )[chosen]
        words = np.empty(len(rows), dtype=np.int64)
        log_probabilities = np.empty(len(rows))
        for part, log_p in glance.distributions(rows, columns):
            if restriction is not None:
                is_allowed = restriction(part).to(log_p.device)
                log_p = log_p.masked_fill(~is_allowed, -torch.inf).log_softmax(dim=-1)
            sharp = sharpen(
                self._guard(canvas, rows[part], columns[part], log_p),
                temperature=request.temperature,
                top_k=request.top_k,
                top_p=request.top_p,
            )
            drawn = draw(sharp, torch.from_numpy(uniforms[part]).to(sharp.device))
            words[part] = drawn.cpu().numpy()
            log_probabilities[part] = log_p.gather(-1, drawn[:, None])[:, 0].cpu().numpy()
        return words, log_probabilities

    def _turns(self, is_decided: Flags) -> list[Flags]:
        """One turn without the guard; with it, turns whose positions are out of its reach."""
        count = self.request.no_repeat + 1
        turn = np.arange(is_decided.shape[1]) % count
        return [is_decided & (turn == i) for i in range(count)]

    def _guard(self, canvas: Canvas, rows: Ids, columns: Ids, log_p: Tensor) -> Tensor:
        reach = self.request.no_repeat
        if reach == 0:
            return log_p
        near = columns[:, None] + np.delete(np.arange(-reach, reach + 1), reach)
        length = canvas.token_ids.shape[1]
        around = canvas.token_ids[rows[:, None], near.clip(0, length - 1)]
        around[(near < 0) | (near >= length) | (around == EOS)] = PAD  # forbidden in any case
        guarded = log_p.scatter(-1, torch.from_numpy(around).to(log_p.device), -torch.inf)
        # Where every possible word stands near by, the guard gives way.
        return torch.where(guarded.isneginf().all(dim=-1, keepdim=True), log_p, guarded)


@dataclass(frozen=True)
class GlimpsingWriter:
    """Draws decided positions whole and reveals residues of others (partial masking).

    The residues of a position that a step reveals are those of one word, drawn among the words that
    agree with the residues already seen; the last residue leaves that word alone (Chinese
    remainders).
    """

    drawing: DrawingWriter
    code: WordCode

    def write(self, canvas: Canvas, glance: Glance, choice: Choice, stream: int) -> None:
        """Draw whole words, then reveal the residues of ``choice.is_revealed``."""
        assert canvas.residues is not None
        assert choice.is_revealed is not None
        if choice.is_decided.any():
            self.drawing.write(canvas, glance, choice, stream)
        is_revealed = choice.is_revealed & (canvas.residues < 0)
        chosen: Flags = np.any(is_revealed, axis=-1)
        rows, columns = np.nonzero(chosen)
        if not len(rows):
            return
        seen = canvas.residues[rows, columns]
        every = torch.from_numpy(self._all_residues())

        def agreeing(part: slice) -> Tensor:
            visible = torch.from_numpy(seen[part])[:, None, :]
            return ((visible < 0) | (visible == every)).all(dim=-1)

        words, log_p = self.drawing.draw(canvas, glance, chosen, stream, agreeing)
        seen = np.where(is_revealed[rows, columns], self.code.residues(words), seen)
        canvas.residues[rows, columns] = seen
        whole = (seen >= 0).all(axis=-1)
        canvas.write(rows[whole], columns[whole], words[whole], log_p[whole])

    def _all_residues(self) -> Ids:
        return np.asarray(self.code.residues(np.arange(self.code.vocabulary_size)), dtype=np.int64)
