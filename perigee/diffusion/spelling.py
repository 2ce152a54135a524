"""The cost of spelling what the vocabulary does not hold, for the open-vocabulary figure.

A word model that says [UNK] has not said which word. A figure that can be compared between
vocabularies charges every [UNK] its spelling too (Rae et al., "Compressive transformers for
long-range sequence modelling", ICLR 2020, section 4.1, whose perplexity on PG-19 is per whitespace
word). The spelling model is an n-gram over characters with interpolated Witten-Bell smoothing
(Witten and Bell, "The zero-frequency problem", 1991), normalised over all of Unicode: no word is
impossible, and together with the bound the figure stays a bound.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from perigee.diffusion.bound import BoundReport

ORDER = 6
"""Characters of an n-gram: five of context, one to be told."""
END = "\ue000"
"""Ends a word; a private character, so that no text holds it after cleaning."""
BEGIN = "\ue001"
"""Fills the context at a word's beginning."""
SYMBOLS = 0x110000 - 0x800
"""All characters that Unicode can have, surrogates left out: what an unseen character shares."""


@dataclass(frozen=True)
class SpellingModel:
    """How often each character followed each context; see :func:`fit_spelling`."""

    order: int
    followers: Mapping[str, Mapping[str, int]]
    totals: Mapping[str, int] = field(repr=False)
    """Sum of the followers' counts of each context."""

    def probability(self, context: str, character: str) -> float:
        """Probability of ``character`` after ``context`` (its last ``order - 1`` characters).

        A context of n followings by T different characters gives T / (n + T) of its probability
        to the next shorter context; the empty one to all of Unicode evenly.
        """
        probability = 1.0 / SYMBOLS
        for length in range(self.order):
            if length > len(context):
                break
            suffix = context[len(context) - length :]
            seen = self.followers.get(suffix)
            if seen is None:
                break
            total = self.totals[suffix]
            count = seen.get(character, 0)
            probability = (count + len(seen) * probability) / (total + len(seen))
        return probability

    def nats(self, word: str) -> float:
        """Cost of spelling ``word`` and ending it."""
        context = BEGIN * (self.order - 1)
        cost = 0.0
        for character in word + END:
            cost -= math.log(self.probability(context, character))
            context = (context + character)[1:] if self.order > 1 else ""
        return cost


def fit_spelling(words: Iterable[str] | Mapping[str, int], order: int = ORDER) -> SpellingModel:
    """Count the characters of the training split's words that are not in the vocabulary.

    A mapping gives each word's number of occurrences.
    """
    followers: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for word, times in Counter(words).items():
        text = BEGIN * (order - 1) + word + END
        for place in range(order - 1, len(text)):
            for length in range(order):
                followers[text[place - length : place]][text[place]] += times
    totals = {context: counts.total() for context, counts in followers.items()}
    return SpellingModel(order, dict(followers), totals)


@dataclass(frozen=True)
class OpenVocabularyReport:
    """The bound of some windows with every unknown word spelled out, per whitespace word."""

    nats_per_word: float
    standard_error: float
    """The bound's, in the same unit; spelling adds no chance."""
    whitespace_words: int
    unknown_words: int
    spelling_nats: float
    """Cost of all spellings together."""

    @property
    def perplexity(self) -> float:
        """Perplexity per whitespace word."""
        return math.exp(min(self.nats_per_word, 700.0))


def open_vocabulary(
    bound: BoundReport, unknown: Iterable[str], spelling: SpellingModel, whitespace_words: int
) -> OpenVocabularyReport:
    """Charge every [UNK] its spelling and divide by the words between white space.

    Parameters
    ----------
    bound:
        Of some windows.
    unknown:
        The words behind their [UNK] ids, one for each occurrence, normalised as the tokenizer does.
    spelling:
        Fitted on the training split.
    whitespace_words:
        What ``str.split`` makes of the windows' text. Case and white space are not charged: the
        figure is of the normalised text.
    """
    assert whitespace_words > 0, "no text"
    costs = [spelling.nats(word) for word in unknown]
    spelled = math.fsum(costs)
    return OpenVocabularyReport(
        nats_per_word=(bound.nats_per_word * bound.words + spelled) / whitespace_words,
        standard_error=bound.standard_error * bound.words / whitespace_words,
        whitespace_words=whitespace_words,
        unknown_words=len(costs),
        spelling_nats=spelled,
    )
