"""What the user wrote, as positions: words that stay, places to fill in, and words not known."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from perigee.tokenizer.prime import MASK, UNK, PrimeTokenizer
from perigee.tokenizer.words import normalise

_PLACE = re.compile(r"\[MASK(?::\d+)?\]")


@dataclass(frozen=True)
class Prompt:
    """A prompt read into positions."""

    token_ids: npt.NDArray[np.int64]
    """(n,); [MASK] at places to fill in, [UNK] at unknown words."""
    spelling: Mapping[int, str]
    """The user's words as they were written, by position."""
    warnings: tuple[str, ...]

    @property
    def has_places(self) -> bool:
        """Whether there is a ``[MASK]`` to fill in."""
        return bool((self.token_ids == MASK).any())

    @property
    def first_open(self) -> int:
        """The first position to be decided."""
        places = np.flatnonzero(self.token_ids == MASK)
        return int(places[0]) if len(places) else len(self.token_ids)

    @property
    def last_given(self) -> int:
        """The last position with a word of the user's; -1 if there is none."""
        given = np.flatnonzero(self.token_ids != MASK)
        return int(given[-1]) if len(given) else -1


def read_prompt(text: str, tokenizer: PrimeTokenizer) -> Prompt:
    """Read a prompt; an unknown word becomes [UNK] for the model and stays as written for readers.

    Raises
    ------
    GenerationError
        If it asks for more places than any window has.
    """
    numbers, words = tokenizer.read_prompt(text)
    token_ids = np.asarray(numbers, dtype=np.int64)
    given = np.flatnonzero(token_ids != MASK).tolist()
    written = _as_written(_PLACE.sub(" ", text), [words[i] for i in given])
    unknown = [word for i, word in zip(given, written, strict=True) if token_ids[i] == UNK]
    return Prompt(token_ids, dict(zip(given, written, strict=True)), _warnings(unknown))


def asks_to_fill(text: str) -> bool:
    """Whether there is a ``[MASK]`` in ``text``."""
    return _PLACE.search(text) is not None


def _as_written(text: str, words: Sequence[str]) -> list[str]:
    """The stretches of ``text`` that the tokenizer reads as ``words``: the user's own capitals."""
    written = []
    rest = text.lstrip()
    for word in words:
        ends = range(1, min(len(rest), 4 * len(word) + 4) + 1)
        end = next((end for end in ends if normalise(rest[:end]) == word), 0)
        if not end:  # a character that the normaliser drops or merges across words
            return list(words)
        written.append(rest[:end])
        rest = rest[end:].lstrip()
    return written


def _warnings(unknown: Sequence[str]) -> tuple[str, ...]:
    if not unknown:
        return ()
    distinct = list(dict.fromkeys(unknown))
    words = ", ".join(repr(word) for word in distinct[:8]) + (" ..." if len(distinct) > 8 else "")
    return (f"not in the vocabulary, so the model sees [UNK]: {words}",)
