"""The unigram model: what a bound has to beat to have learnt anything of context."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perigee.diffusion.absorbing import FIRST_WORD, PAD
from perigee.diffusion.bound import ratio_estimate

WINDOWS_AT_A_TIME = 1024


@dataclass(frozen=True)
class UnigramReport:
    """Likelihood of some windows under word frequencies; exact, not a bound."""

    nats_per_word: float
    standard_error: float
    """Over windows taken as independent."""
    words: int

    @property
    def perplexity(self) -> float:
        """Perplexity per word."""
        return math.exp(self.nats_per_word)


def count_words(windows: NDArray[np.uint16], vocabulary_size: int) -> NDArray[np.int64]:
    """How often each id stands in ``windows`` (N, L)."""
    counts = np.zeros(vocabulary_size, dtype=np.int64)
    for part in _parts(windows):
        counts += np.bincount(part.ravel(), minlength=vocabulary_size)
    return counts


def unigram_likelihood(
    counts: NDArray[np.int64], windows: NDArray[np.uint16], *, smoothing: float = 1.0
) -> UnigramReport:
    """Likelihood of ``windows`` under the frequencies ``counts`` of other ones.

    ``smoothing`` is added to the count of every id that can be a word: all but [PAD] and [MASK]
    (Lidstone; 1 is Laplace's rule). Words are all ids but [PAD].
    """
    smoothed = counts + smoothing
    smoothed[:FIRST_WORD] = 0.0
    with np.errstate(divide="ignore"):
        cost = -np.log(smoothed / smoothed.sum())
    cost[PAD] = 0.0
    nats = np.concatenate([cost[part].sum(axis=1) for part in _parts(windows)])
    words = np.concatenate([np.count_nonzero(part != PAD, axis=1) for part in _parts(windows)])
    mean, error = ratio_estimate(nats[words > 0], words[words > 0])
    return UnigramReport(mean, error, int(words.sum()))


def _parts(windows: NDArray[np.uint16]) -> Iterator[NDArray[np.uint16]]:
    for start in range(0, len(windows), WINDOWS_AT_A_TIME):
        yield windows[start : start + WINDOWS_AT_A_TIME]
