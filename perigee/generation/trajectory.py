"""The record of a denoising: one frame a step, and how its positions are to be written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from perigee.generation.request import Request
from perigee.tokenizer.prime import EOS, MASK, PrimeTokenizer

SlotKind = Literal["prompt", "word", "new", "masked", "glimpse"]

MASKED_TEXT = "[???]"
RESIDUE_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


@dataclass(frozen=True)
class Frame:
    """All texts after a step; step 0 is the beginning. Arrays are (B, L)."""

    step: int
    token_ids: npt.NDArray[np.int64]
    is_masked: npt.NDArray[np.bool_]
    is_changed: npt.NDArray[np.bool_]
    """Positions that look other than in the frame before."""
    probability: npt.NDArray[np.float64]
    """The model's probability of each drawn word when it was drawn; NaN elsewhere."""
    residues: npt.NDArray[np.int64] | None = None
    """(B, L, R) visible residues, -1 where hidden; ``None`` without glimpses."""


@dataclass(frozen=True)
class Slot:
    """One position as it is shown."""

    position: int
    text: str
    kind: SlotKind
    is_attached: bool
    """Whether no space stands before it, as before a comma."""


@dataclass(frozen=True)
class Wording:
    """Writes positions as a person reads them."""

    tokenizer: PrimeTokenizer
    is_prompt: npt.NDArray[np.bool_]
    """(L,)."""
    spelling: Mapping[int, str] = field(default_factory=dict)
    """The prompt's words as the user wrote them, by position; the vocabulary is in lower case."""

    def slots(self, frame: Frame, row: int) -> list[Slot]:
        """The text of ``row`` in ``frame``, up to its first [EOS], which is left out."""
        ids = frame.token_ids[row]
        is_end = (ids == EOS) & ~self.is_prompt
        stop = int(is_end.argmax()) if is_end.any() else len(ids)
        words = [self._word(frame, row, position) for position in range(stop)]
        attached = self.tokenizer.attachments(
            [w if k != "masked" else MASKED_TEXT for w, k in words]
        )
        return [
            Slot(position, text, kind, is_attached)
            for position, ((text, kind), is_attached) in enumerate(
                zip(words, attached, strict=True)
            )
        ]

    def text(self, frame: Frame, row: int) -> str:
        """The text of ``row`` in ``frame`` as one line."""
        return join_slots(self.slots(frame, row))

    def _word(self, frame: Frame, row: int, position: int) -> tuple[str, SlotKind]:
        word = int(frame.token_ids[row, position])
        if word == MASK:
            if frame.residues is not None and (frame.residues[row, position] >= 0).any():
                return glimpse_text(frame.residues[row, position]), "glimpse"
            return MASKED_TEXT, "masked"
        text = self.spelling.get(position, self.tokenizer.tokens[word])
        if self.is_prompt[position]:
            return text, "prompt"
        return text, "new" if frame.is_changed[row, position] else "word"


def glimpse_text(residues: Sequence[int] | npt.NDArray[np.int64]) -> str:
    """``[g?a]``: a letter for each visible residue, a question mark for each hidden one."""
    letters = (RESIDUE_LETTERS[int(r) % len(RESIDUE_LETTERS)] if r >= 0 else "?" for r in residues)
    return f"[{''.join(letters)}]"


def join_slots(slots: Sequence[Slot]) -> str:
    """The slots as one line, punctuation attached."""
    parts = [slot.text if slot.is_attached else " " + slot.text for slot in slots]
    return "".join(parts).strip()


@dataclass(frozen=True)
class Trajectory:
    """A finished generation."""

    request: Request
    wording: Wording
    frames: tuple[Frame, ...]
    """The beginning, then one a step; it ends early when nothing can change any more."""
    log_likelihood: tuple[float, ...] | None
    """For each text, the exact log-probability (nats) with which this sampler draws it (every drawn
    word, also behind an [EOS]); ``None`` where the sampler has none."""
    warnings: tuple[str, ...] = ()

    @property
    def batch(self) -> int:
        return len(self.frames[0].token_ids)

    @property
    def texts(self) -> list[str]:
        """The finished texts."""
        return [self.wording.text(self.frames[-1], row) for row in range(self.batch)]

    @property
    def word_ids(self) -> list[npt.NDArray[np.int64]]:
        """The ids of the finished texts, the prompt's included, [EOS] left out."""
        last = self.frames[-1]
        return [
            last.token_ids[row][[slot.position for slot in self.wording.slots(last, row)]]
            for row in range(self.batch)
        ]

    @property
    def drawn_words(self) -> list[int]:
        """How many words of each text were drawn: what its log-likelihood is a product over."""
        return [int(np.isfinite(p).sum()) for p in self.frames[-1].probability]
