from __future__ import annotations

import pytest
from generation_toys import toy_tokenizer

from perigee.generation.prompt import read_prompt
from perigee.tokenizer.prime import MASK, UNK

TOKENIZER = toy_tokenizer("gallia", "don't", "café", "the", ",", ".")


def test_words_places_and_unknown_words() -> None:
    prompt = read_prompt("Gallia [MASK:2], Rhenus[MASK] the Rhenus", TOKENIZER)
    assert prompt.token_ids.tolist() == [5, MASK, MASK, 9, UNK, MASK, 8, UNK]
    assert prompt.spelling == {0: "Gallia", 3: ",", 4: "Rhenus", 6: "the", 7: "Rhenus"}
    assert prompt.warnings == ("not in the vocabulary, so the model sees [UNK]: 'Rhenus'",)
    assert (prompt.first_open, prompt.last_given, prompt.has_places) == (1, 7, True)


def test_many_unknown_words_are_named_in_part() -> None:
    (warning,) = read_prompt(" ".join(f"w{i}x" for i in range(20)), TOKENIZER).warnings
    assert warning.endswith("'w7x' ...")


def test_nothing_at_all() -> None:
    prompt = read_prompt("", TOKENIZER)
    assert len(prompt.token_ids) == 0
    assert (prompt.first_open, prompt.last_given, prompt.has_places) == (0, -1, False)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("DON\u2019T, Cafe\u0301.", ["DON\u2019T", ",", "Cafe\u0301", "."]),
        ("GALLIA\n\tthe", ["GALLIA", "the"]),
        ("İstanbul", ["İstanbul"]),
    ],
)
def test_the_users_own_letters_are_kept(text: str, written: list[str]) -> None:
    assert list(read_prompt(text, TOKENIZER).spelling.values()) == written
