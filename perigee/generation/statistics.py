"""How varied texts are: figures that mean something only beside those of real text."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from perigee.tokenizer.prime import SPECIAL_TOKENS

REACH = 16
"""Words before a word among which it counts as a repetition."""

Texts = Sequence[npt.NDArray[np.integer]]


@dataclass(frozen=True)
class TextStatistics:
    """Figures of some texts. Most depend on how many and how long they are: compare like with like.

    NaN where there is nothing to count.
    """

    texts: int
    words: int
    distinct_1: float
    """Share of all words that differ from each other (Li et al., NAACL 2016)."""
    distinct_2: float
    """The same of pairs of neighbours; none reaches from text to text."""
    distinct_3: float
    """The same of runs of three."""
    repetition: float
    """Share of words that stand among the ``REACH`` before them, too (rep/16 of Welleck et al.,
    "Neural text generation with unlikelihood training", ICLR 2020, section 6)."""
    entropy: float
    """Mean over texts of the entropy of the text's own word frequencies, nats."""
    special_share: float
    """Share of special tokens: [UNK], [BOS], [EOS]; of drawn ones none is meant to be there."""


def text_statistics(texts: Texts) -> TextStatistics:
    """The statistics of texts given as word ids."""
    words = [text.tolist() for text in texts]
    total = sum(map(len, words))
    repeated = sum(
        word in text[max(0, place - REACH) : place]
        for text in words
        for place, word in enumerate(text)
    )
    special = sum(word < len(SPECIAL_TOKENS) for text in words for word in text)
    entropies = [_entropy(text) for text in words if text]
    return TextStatistics(
        texts=len(words),
        words=total,
        distinct_1=distinct_share(words, 1),
        distinct_2=distinct_share(words, 2),
        distinct_3=distinct_share(words, 3),
        repetition=_share(repeated, total),
        entropy=math.fsum(entropies) / len(entropies) if entropies else math.nan,
        special_share=_share(special, total),
    )


def distinct_share(texts: Iterable[Sequence[int]], n: int) -> float:
    """Share of all runs of ``n`` words inside texts that differ from each other."""
    runs = [tuple(text[place : place + n]) for text in texts for place in range(len(text) - n + 1)]
    return _share(len(set(runs)), len(runs))


def _entropy(words: Sequence[int]) -> float:
    shares = [count / len(words) for count in Counter(words).values()]
    return -math.fsum(share * math.log(share) for share in shares)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan
