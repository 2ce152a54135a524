"""Codes tell all words apart, and refuse moduli that could not."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from perigee.diffusion.code import PartCode, code_named, digit_code, residue_code
from perigee.errors import SettingsError
from perigee.tokenizer.residues import DigitCode, ResidueCode, choose_moduli

CODES = [
    residue_code((3, 4), 12),
    residue_code((7, 5), 31),
    residue_code((2, 3, 7), 41),
    residue_code((2, 3, 5, 7), 210),
    digit_code((6, 6), 31),
    digit_code((2, 5, 4), 37),
]


@pytest.mark.parametrize("code", CODES, ids=str)
def test_all_parts_together_tell_every_id_apart(code: PartCode) -> None:
    parts = code.parts(torch.arange(code.vocabulary_size))
    assert len({tuple(row) for row in parts.tolist()}) == code.vocabulary_size
    assert (parts >= 0).all()
    assert (parts < torch.tensor(code.moduli)).all()
    assert parts.shape == (code.vocabulary_size, len(code))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 50_004))
def test_residues_are_remainders_and_digits_are_digits(i: int) -> None:
    word = torch.tensor(i)
    residues = residue_code((29, 41, 43), 50_005).parts(word)
    assert residues.tolist() == [i % 29, i % 41, i % 43]
    digits = digit_code((37, 37, 37), 50_005).parts(word)
    assert digits.tolist() == [i % 37, i // 37 % 37, i // 37**2]


def test_ids_of_any_integer_type_have_parts() -> None:
    code = residue_code((7, 5), 31)
    ids = torch.arange(31)
    torch.testing.assert_close(code.parts(ids.to(torch.int32)), code.parts(ids))


@pytest.mark.parametrize(
    ("moduli", "problem"),
    [((29, 41), "50005"), ((6, 10, 1000), "share a factor"), ((50_021,), "two"), ((), "two")],
)
def test_moduli_that_cannot_code_the_vocabulary_are_refused(
    moduli: tuple[int, ...], problem: str
) -> None:
    with pytest.raises(SettingsError, match=problem) as caught:
        code_named("residues", moduli, 50_005)
    assert "moduli" in str(caught.value)


def test_digits_may_share_factors_and_residues_may_not() -> None:
    assert code_named("digits", (6, 6), 31).divisors == (1, 6)
    with pytest.raises(SettingsError):
        code_named("residues", (6, 6), 31)


@pytest.mark.parametrize("vocabulary_size", [105, 8_005, 50_005])
def test_the_parts_are_those_of_the_tokenizers_codes(vocabulary_size: int) -> None:
    ids = torch.arange(vocabulary_size)
    moduli = choose_moduli(vocabulary_size)
    residues = ResidueCode(moduli, vocabulary_size).residues(ids.numpy())
    assert torch.equal(residue_code(moduli, vocabulary_size).parts(ids), torch.tensor(residues))
    digits = DigitCode(37, 3, vocabulary_size).residues(ids.numpy())
    found = digit_code((37, 37, 37), vocabulary_size).parts(ids)
    assert torch.equal(found, torch.tensor(digits))
