"""Codes that divide a word's id into parts, so that a part of a word can be masked.

The residue code keeps ``id mod p`` for a few pairwise coprime p whose product covers the
vocabulary: by the Chinese remainder theorem all residues together are the id, and some of them
leave a *glimpse*, the words that agree with them. The digit code keeps the digits of the id.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from perigee.errors import SettingsError

Ids = npt.NDArray[np.int64]
HIDDEN = -1
"""Stands for a residue that is not known, and for the id of no word."""


class WordCode(Protocol):
    """Divides ids into R parts; part j is one of ``sizes[j]`` numbers."""

    @property
    def sizes(self) -> tuple[int, ...]: ...

    @property
    def vocabulary_size(self) -> int: ...

    def residues(self, ids: npt.ArrayLike) -> Ids: ...

    def identify(self, residues: npt.ArrayLike) -> Ids: ...

    def glimpse(self, visible: Sequence[int]) -> Ids: ...


@dataclass(frozen=True)
class ResidueCode:
    """Residues of ids by pairwise coprime moduli.

    Raises
    ------
    SettingsError
        If the moduli are not pairwise coprime or their product does not cover the vocabulary.
    """

    moduli: tuple[int, ...]
    vocabulary_size: int

    def __post_init__(self) -> None:
        if not self.moduli or min(self.moduli) < 2:
            raise SettingsError(f"moduli are {list(self.moduli)}", expected="each at least 2")
        for one, other in itertools.combinations(self.moduli, 2):
            if math.gcd(one, other) > 1:
                raise SettingsError(
                    f"moduli {one} and {other} have a common divisor", expected="coprime moduli"
                )
        if math.prod(self.moduli) < self.vocabulary_size:
            raise SettingsError(
                f"moduli {list(self.moduli)} tell {math.prod(self.moduli)} words apart",
                expected=f"at least the {self.vocabulary_size} of the vocabulary",
                remedy=f"for example {list(choose_moduli(self.vocabulary_size))}",
            )

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of values of each residue: the moduli."""
        return self.moduli

    def residues(self, ids: npt.ArrayLike) -> Ids:
        """(...,) ids to (..., R) residues."""
        numbers: Ids = np.asarray(ids, dtype=np.int64)[..., None] % np.asarray(self.moduli)
        return numbers

    def identify(self, residues: npt.ArrayLike) -> Ids:
        """(..., R) residues to (...,) ids; -1 where no word of the vocabulary has them.

        The sum over j of r_j M_j (M_j^-1 mod p_j) mod M, with M_j = M / p_j: the Chinese remainder
        theorem in its constructive form.
        """
        parts = np.asarray(residues, dtype=np.int64)
        product = math.prod(self.moduli)
        ids = np.zeros(parts.shape[:-1], dtype=np.int64)
        for j, modulus in enumerate(self.moduli):
            others = product // modulus
            weight = others * pow(others, -1, modulus) % product
            ids = (ids + parts[..., j] % modulus * weight) % product
        is_word = (ids < self.vocabulary_size) & _in_range(parts, self.moduli)
        return np.where(is_word, ids, HIDDEN)

    def glimpse(self, visible: Sequence[int]) -> Ids:
        """The ids, in order, of the words that agree with R residues, of which some are -1."""
        return _agreeing(self, visible)


@dataclass(frozen=True)
class DigitCode:
    """Digits of ids in one base, the lowest first.

    Raises
    ------
    SettingsError
        If the digits are too few for the vocabulary.
    """

    base: int
    digits: int
    vocabulary_size: int

    def __post_init__(self) -> None:
        if self.base < 2 or self.digits < 1 or self.base**self.digits < self.vocabulary_size:
            raise SettingsError(
                f"{self.digits} digits in base {self.base} do not tell all words apart",
                expected=f"room for {self.vocabulary_size}",
            )

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of values of each digit."""
        return (self.base,) * self.digits

    def residues(self, ids: npt.ArrayLike) -> Ids:
        """(...,) ids to (..., R) digits."""
        powers = self.base ** np.arange(self.digits, dtype=np.int64)
        numbers: Ids = np.asarray(ids, dtype=np.int64)[..., None] // powers % self.base
        return numbers

    def identify(self, residues: npt.ArrayLike) -> Ids:
        """(..., R) digits to (...,) ids; -1 where no word of the vocabulary has them."""
        parts = np.asarray(residues, dtype=np.int64)
        ids = np.asarray((parts * self.base ** np.arange(self.digits, dtype=np.int64)).sum(axis=-1))
        is_word = (ids < self.vocabulary_size) & _in_range(parts, self.sizes)
        return np.where(is_word, ids, HIDDEN)

    def glimpse(self, visible: Sequence[int]) -> Ids:
        """The ids, in order, of the words that agree with R digits, of which some are -1."""
        return _agreeing(self, visible)


def _in_range(parts: Ids, sizes: Sequence[int]) -> npt.NDArray[np.bool_]:
    return np.asarray(((parts >= 0) & (parts < np.asarray(sizes))).all(axis=-1))


def _agreeing(code: WordCode, visible: Sequence[int]) -> Ids:
    if len(visible) != len(code.sizes):
        raise ValueError(f"{len(visible)} parts are given; the code has {len(code.sizes)}")
    ids = np.arange(code.vocabulary_size, dtype=np.int64)
    wanted = np.asarray(visible, dtype=np.int64)
    agrees = (wanted == HIDDEN) | (code.residues(ids) == wanted)
    agreeing: Ids = ids[agrees.all(axis=-1)]
    return agreeing


def choose_moduli(vocabulary_size: int, count: int = 3) -> tuple[int, ...]:
    """The ``count`` primes that cover the vocabulary with the smallest greatest one.

    Among equals the smallest product is taken: 29, 41, 43 for 50,005 words. Small moduli of like
    size make every residue tell about as much.
    """
    if count < 1 or vocabulary_size < 1:
        raise ValueError(f"{count} moduli for {vocabulary_size} words: both must be at least 1")
    candidates: list[int] = []
    number = 1
    while True:
        number += 1
        if any(number % prime == 0 for prime in candidates):
            continue
        choices = itertools.combinations(candidates, count - 1)
        covering = [c for c in choices if math.prod(c) * number >= vocabulary_size]
        if covering:
            return (*min(covering, key=math.prod), number)
        candidates.append(number)
