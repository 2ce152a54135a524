"""The tokenizer: words to ids and back, and the prime number of every word.

Id i has the (i+1)-th prime as its stable code: [PAD] 2, [MASK] 3, [UNK] 5, [BOS] 7, [EOS] 11, the
most frequent word 13.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from perigee.errors import GenerationError
from perigee.files import fingerprint
from perigee.tokenizer import spacing
from perigee.tokenizer.residues import ResidueCode, choose_moduli
from perigee.tokenizer.vocabulary_file import (
    BOS,
    EOS,
    MASK,
    PAD,
    SPECIAL_TOKENS,
    UNK,
    read_vocabulary,
    write_vocabulary,
)
from perigee.tokenizer.words import split_words

__all__ = ["BOS", "EOS", "MASK", "PAD", "SPECIAL_TOKENS", "UNK", "PrimeTokenizer"]

VOCABULARY_NAME = "perigee_vocab.json"
MAXIMUM_PLACES = 65_536
_PLACE = re.compile(r"\[MASK(?::(\d{1,9}))?\]")

Ids = npt.NDArray[np.uint16]


@dataclass(frozen=True)
class PrimeTokenizer:
    """A vocabulary and what can be done with it."""

    tokens: tuple[str, ...]
    """Words in the order of their ids, the special tokens first."""

    @classmethod
    def load(cls, vocab_path: Path) -> PrimeTokenizer:
        """Read a vocabulary file.

        Raises
        ------
        ArtifactError
            If it is missing or is not a vocabulary.
        """
        return cls(read_vocabulary(vocab_path))

    def save(self, directory: Path) -> None:
        """Write ``perigee_vocab.json`` and ``tokenizer.json`` into ``directory``."""
        write_vocabulary(directory / VOCABULARY_NAME, self.tokens)

    def __len__(self) -> int:
        return len(self.tokens)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the words in order."""
        return fingerprint(list(self.tokens))

    @cached_property
    def ids(self) -> dict[str, int]:
        """The id of every word."""
        return {word: number for number, word in enumerate(self.tokens)}

    def encode(self, text: str) -> Ids:
        """The ids of the words of ``text``; [UNK] for those that are not in the vocabulary.

        A special token's name in a text is read as the words it consists of.
        """
        return self._numbers(split_words(text))

    def read_prompt(self, text: str) -> tuple[Ids, list[str]]:
        """The ids of a prompt, and what is written at each of them.

        ``[MASK]`` is a place to fill in, ``[MASK:5]`` are five.

        Raises
        ------
        GenerationError
            If the places are more than a window could hold.
        """
        written: list[str] = []
        ids: list[Ids] = []
        end = 0
        for place in [*_PLACE.finditer(text), None]:
            words = split_words(text[end : place.start() if place else len(text)])
            written += words
            ids.append(self._numbers(words))
            if place:
                count = int(place[1] or 1)
                if len(written) + count > MAXIMUM_PLACES:
                    raise GenerationError(
                        f"asks for {count} words",
                        place=place[0],
                        expected=f"at most {MAXIMUM_PLACES:,} in all",
                    )
                written += [SPECIAL_TOKENS[MASK]] * count
                ids.append(np.full(count, MASK, dtype=np.uint16))
                end = place.end()
        return np.concatenate(ids), written

    def encode_prompt(self, text: str) -> Ids:
        """The ids of a prompt with ``[MASK]`` and ``[MASK:5]``; see :meth:`read_prompt`."""
        return self.read_prompt(text)[0]

    def decode(self, ids: Sequence[int] | npt.NDArray[np.integer]) -> str:
        """Readable text: punctuation re-attached, one line for each document.

        [PAD] and [BOS] are left out, [EOS] ends a line, [MASK] and [UNK] are shown. Encoding the
        text of ids without special tokens gives these ids.

        Raises
        ------
        ValueError
            If an id is not in the vocabulary.
        """
        numbers = np.asarray(ids, dtype=np.int64).ravel()
        if len(numbers) and not 0 <= numbers.min() <= numbers.max() < len(self.tokens):
            raise ValueError(
                f"ids reach from {numbers.min()} to {numbers.max()}, not in 0..{len(self) - 1}"
            )
        lines: list[list[str]] = [[]]
        for number in numbers.tolist():
            if number == EOS:
                lines.append([])
            elif number not in (PAD, BOS):
                lines[-1].append(self.tokens[number])
        return "\n".join(spacing.join_words(line) for line in lines).strip("\n")

    def attachments(self, words: Sequence[str]) -> list[bool]:
        """For every word, whether it is written without a space after the one before it."""
        return spacing.attachments(words)

    def prime(self, number: int) -> int:
        """The prime of an id: the (id + 1)-th.

        Raises
        ------
        ValueError
            If the id is not in the vocabulary.
        """
        if not 0 <= number < len(self.tokens):
            raise ValueError(f"id {number} is not in 0..{len(self) - 1}")
        return int(self._primes[number])

    def id_of_prime(self, prime: int) -> int:
        """The id whose prime this is.

        Raises
        ------
        ValueError
            If it is not a prime, or beyond that of the last word.
        """
        number = int(np.searchsorted(self._primes, prime))
        if number == len(self.tokens) or self._primes[number] != prime:
            raise ValueError(f"{prime} is not the prime of a word")
        return number

    def code(self, moduli: tuple[int, ...] = ()) -> ResidueCode:
        """The residue code of this vocabulary; without moduli, three that are chosen for it."""
        return ResidueCode(moduli or choose_moduli(len(self)), len(self))

    @cached_property
    def _primes(self) -> npt.NDArray[np.int64]:
        return first_primes(len(self.tokens))

    def _numbers(self, words: Iterable[str]) -> Ids:
        ids = self.ids
        return np.fromiter((ids.get(word, UNK) for word in words), dtype=np.uint16)


def first_primes(count: int) -> npt.NDArray[np.int64]:
    """The first ``count`` primes, by the sieve of Eratosthenes.

    The n-th prime is below n (ln n + ln ln n) for n >= 6 (Rosser 1941).
    """
    n = max(count, 6)
    limit = int(n * (np.log(n) + np.log(np.log(n)))) + 1
    is_prime = np.ones(limit + 1, dtype=np.bool_)
    is_prime[:2] = False
    for number in range(2, int(limit**0.5) + 1):
        if is_prime[number]:
            is_prime[number * number :: number] = False
    return np.flatnonzero(is_prime)[:count].astype(np.int64)
