"""The forward process: which words, or which parts of words, are masked.

A *unit* is what is masked at one stroke: a whole word, or one part of a word that a coin has
chosen to be masked part by part. Units are masked independently of each other and of the text.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from perigee.diffusion.absorbing import MASK
from perigee.diffusion.code import HIDDEN, PartCode
from perigee.diffusion.times import Draws


@dataclass(frozen=True)
class Corruption:
    """Masked windows."""

    token_ids: Int[Tensor, "B L"]
    """The windows with [MASK] wherever a word is not wholly visible."""
    is_whole: Bool[Tensor, "B L"]
    """Words masked at one stroke: their unit is the word."""
    is_hidden: Bool[Tensor, "B L R"] | None = None
    """Masked parts of words that are masked part by part; ``None`` without a code."""
    residues: Int[Tensor, "B L R"] | None = None
    """For the denoiser: what is seen of the words that are masked in part, else -1."""

    @property
    def is_masked(self) -> Bool[Tensor, "B L"]:
        """Words of which something is hidden: those that read [MASK]."""
        return self.is_whole if self.is_hidden is None else self.is_whole | self.is_hidden.any(-1)


@dataclass(frozen=True)
class Units:
    """What can be masked in some windows, each unit with the uniform number that decides."""

    words: Float[Tensor, "B L"]
    """Numbers of the words masked whole; infinite elsewhere, where nothing can be masked so."""
    parts: Float[Tensor, "B L R"] | None
    """Numbers of the parts of the others; infinite elsewhere. ``None`` without a code."""

    def flat(self) -> Float[Tensor, "B U"]:
        """All numbers of a row, one after the other."""
        if self.parts is None:
            return self.words
        return torch.cat((self.words, self.parts.flatten(1)), dim=1)


def choose_units(
    is_padding: Bool[Tensor, "B L"], draws: Draws, code: PartCode | None, unmask_fraction: float
) -> Units:
    """Throw every word's coin: with probability ``unmask_fraction`` its units are its parts.

    The coin is apart from the time, so that the bound holds for every outcome and for their mean.
    """
    if code is None or unmask_fraction == 0.0:
        return Units(draws.words.masked_fill(is_padding, torch.inf), None)
    assert draws.coins is not None, "a code needs draws with parts"
    assert draws.parts is not None, "a code needs draws with parts"
    is_split = draws.coins < unmask_fraction
    words = draws.words.masked_fill(is_padding | is_split, torch.inf)
    parts = draws.parts.masked_fill((is_padding | ~is_split).unsqueeze(-1), torch.inf)
    return Units(words, parts)


def corrupt(
    token_ids: Int[Tensor, "B L"],
    units: Units,
    threshold: Float[Tensor, " B"],
    code: PartCode | None = None,
) -> Corruption:
    """Mask the units whose number is below the row's ``threshold``.

    With the threshold 1 - alpha_t this is the forward process at time t; with
    :func:`threshold_of_count` it masks exactly so many units, every choice of them equally likely.
    """
    is_whole = units.words < threshold[:, None]
    if units.parts is None:
        return Corruption(token_ids.masked_fill(is_whole, MASK), is_whole)
    assert code is not None, "parts need a code"
    is_hidden = units.parts < threshold[:, None, None]
    is_partial = is_hidden.any(-1)
    residues = code.parts(token_ids).masked_fill(is_hidden | ~is_partial.unsqueeze(-1), HIDDEN)
    return Corruption(
        token_ids.masked_fill(is_whole | is_partial, MASK), is_whole, is_hidden, residues
    )


def count_units(units: Units) -> Int[Tensor, " B"]:
    """Number of units of each row."""
    return units.flat().isfinite().sum(1)


def threshold_of_count(units: Units, counts: Int[Tensor, " B"]) -> Float[Tensor, " B"]:
    """The threshold below which exactly ``counts`` units of each row lie."""
    numbers = units.flat().sort(dim=1).values
    beyond = torch.full_like(numbers[:, :1], torch.inf)
    return torch.cat((numbers, beyond), dim=1).gather(1, counts[:, None]).squeeze(1)
