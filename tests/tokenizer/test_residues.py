"""The laws of the codes: one word, one code; all residues are the word; fewer leave a glimpse."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perigee.errors import SettingsError
from perigee.tokenizer.residues import HIDDEN, DigitCode, ResidueCode, WordCode, choose_moduli

CODES: list[WordCode] = [
    ResidueCode((29, 41, 43), 50_005),
    ResidueCode((7, 11, 13), 1_001),
    ResidueCode((4, 9, 25), 700),
    ResidueCode((101,), 101),
    DigitCode(37, 3, 50_005),
    DigitCode(2, 8, 200),
]


@pytest.mark.parametrize("code", CODES, ids=str)
def test_all_residues_are_the_word(code: WordCode):
    ids = np.arange(code.vocabulary_size)
    parts = code.residues(ids)
    assert parts.shape == (code.vocabulary_size, len(code.sizes))
    assert len(np.unique(parts, axis=0)) == code.vocabulary_size
    assert (parts >= 0).all()
    assert (parts < code.sizes).all()
    np.testing.assert_array_equal(code.identify(parts), ids)


@pytest.mark.parametrize("code", [ResidueCode((5, 7, 9), 200), DigitCode(6, 3, 200)], ids=str)
def test_every_combination_against_a_search(code: WordCode):
    table = {tuple(parts): i for i, parts in enumerate(code.residues(np.arange(200)).tolist())}
    for parts in itertools.product(*(range(-1, size + 1) for size in code.sizes)):
        assert code.identify(parts) == table.get(parts, HIDDEN)


@settings(deadline=None)
@given(st.sampled_from(CODES[1:4] + CODES[5:]), st.data())
def test_a_glimpse_is_the_set_of_words_that_agree(code: WordCode, data: st.DataObject):
    word = data.draw(st.integers(0, code.vocabulary_size - 1))
    parts = code.residues(word).tolist()
    shown = data.draw(st.lists(st.booleans(), min_size=len(parts), max_size=len(parts)))
    visible = [part if is_shown else HIDDEN for part, is_shown in zip(parts, shown, strict=True)]
    expected = [
        other
        for other in range(code.vocabulary_size)
        if all(v in (HIDDEN, r) for v, r in zip(visible, _slow_parts(code, other), strict=True))
    ]
    assert code.glimpse(visible).tolist() == expected
    assert word in expected


def _slow_parts(code: WordCode, word: int) -> list[int]:
    parts = []
    for size in code.sizes:
        parts.append(word % size)
        if isinstance(code, DigitCode):
            word //= size
    return parts


@pytest.mark.parametrize("seen", [0, 1, 2])
def test_one_residue_leaves_about_one_word_in_p(seen: int):
    code = ResidueCode((29, 41, 43), 50_005)
    for value in (0, code.moduli[seen] - 1):
        visible = [HIDDEN] * 3
        visible[seen] = value
        glimpse = code.glimpse(visible)
        assert abs(len(glimpse) - 50_005 / code.moduli[seen]) < 1
        np.testing.assert_array_equal(
            glimpse, np.arange(value, 50_005, code.moduli[seen], dtype=np.int64)
        )


def test_residues_keep_any_shape():
    code = ResidueCode((29, 41, 43), 50_005)
    ids = np.array([[5, 50_004, 0], [7, 1, 2]], dtype=np.uint16)
    assert code.residues(ids).shape == (2, 3, 3)
    np.testing.assert_array_equal(code.identify(code.residues(ids)), ids)


def test_the_moduli_chosen_for_the_design_vocabulary():
    assert choose_moduli(50_005) == (29, 41, 43)


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("size", [1, 2, 6, 30, 31, 105, 1_000, 8_005])
def test_moduli_against_a_search(size: int, count: int):
    primes = [n for n in range(2, 8_100) if all(n % d for d in range(2, math.isqrt(n) + 1))]
    if count > 1:
        primes = primes[:30]
    choices = (c for c in itertools.combinations(primes, count) if math.prod(c) >= size)
    best = min(choices, key=lambda c: (c[-1], math.prod(c)))
    assert choose_moduli(size, count) == best


@pytest.mark.parametrize(
    ("moduli", "message"),
    [
        ((6, 9), "common divisor"),
        ((3, 5), "tell 15 words apart"),
        ((), "at least 2"),
        ((1, 99), "at least 2"),
    ],
)
def test_moduli_that_are_no_code(moduli: tuple[int, ...], message: str):
    with pytest.raises(SettingsError, match=message):
        ResidueCode(moduli, 20)


def test_digits_that_are_too_few():
    with pytest.raises(SettingsError, match="2 digits in base 4"):
        DigitCode(4, 2, 17)
    assert DigitCode(4, 2, 16).identify([3, 3]) == 15


def test_a_glimpse_needs_every_place():
    with pytest.raises(ValueError, match="2 parts are given; the code has 3"):
        ResidueCode((3, 5, 7), 100).glimpse([1, 2])
