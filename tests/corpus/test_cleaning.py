from __future__ import annotations

import sys
import unicodedata

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perigee.corpus import cleaning
from perigee.corpus.cleaning import clean, clean_label, encode

CHARACTERS = st.one_of(
    st.characters(),
    st.sampled_from(
        " \t\n\r\x0b\x0c\x1c\x1f\x85\xa0\u1680\u2000\u200a\u2028\u2029\u202f\u205f\u3000"
    ),
    st.sampled_from("\x00\x1b\x7f\x80\x9f\ud800\udfff\u200b\ufeff\u2019éé日本"),
)


def oracle(text: str) -> str:
    """The rule as its docstring states it, character by character."""
    kept = [
        c
        for c in text
        if unicodedata.category(c) != "Cs" and (unicodedata.category(c) != "Cc" or c.isspace())
    ]
    return " ".join("".join(kept).split())


@given(st.text(CHARACTERS))
def test_cleaning_equals_the_rule_character_by_character(text: str) -> None:
    line, words = clean(encode(text))
    assert line.decode() == oracle(text)
    assert words == len(oracle(text).split())


def test_every_character_there_is() -> None:
    text = "".join(f"a{chr(c)}b {chr(c)}{chr(c)} " for c in range(sys.maxunicode + 1))
    assert clean(encode(text))[0].decode() == oracle(text)


@given(st.text(CHARACTERS))
def test_a_clean_line_is_one_line_and_stays_as_it_is(text: str) -> None:
    line, words = clean(encode(text))
    assert clean(line) == (line, words)
    assert len(line.decode().splitlines()) <= 1


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", b""),
        (" \n\t\u3000", b""),
        ("a\x00b", b"ab"),
        ("a \x00 b", b"a b"),
        ("\ud800", b""),
        ("one\r\ntwo\u2028three\u0085four", b"one two three four"),
    ],
)
def test_examples(text: str, line: bytes) -> None:
    assert clean(encode(text))[0] == line


def test_labels_are_short_clean_lines_and_other_types_are_none() -> None:
    assert clean_label("a\nb\ud800") == "a b"
    assert len(clean_label("x" * 10_000)) == 1000
    assert clean_label(["a"]) == clean_label(None) == clean_label(7) == ""


@given(st.lists(st.one_of(st.none(), st.text(CHARACTERS, max_size=30)), max_size=12))
def test_a_column_is_cleaned_group_by_group(texts: list[str | None]) -> None:
    valid = [None if text is None else encode(text).decode() for text in texts]
    column = pa.array(["before", *valid], pa.string()).slice(1)
    for kind in (pa.string(), pa.large_string()):
        found: list[str] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(cleaning, "_GROUP_BYTES", 40)
            for first, group in cleaning.groups_of(column.cast(kind)):
                assert first == len(found)
                found += [bytes(line).decode() for line in cleaning.clean_all(group).lines]
        assert found == [oracle(text or "") for text in valid]


def test_passes_are_the_same_beyond_the_size_of_one() -> None:
    """Longer than every array that is used again, dense and sparse outside ASCII."""
    for piece in ("a\n\n b\u00a0\u2003c é ", "日本\u3000語 \u200a", "plain  text\t"):
        text = piece * (9_000_000 // len(piece.encode()))
        line, words = clean(encode(text))
        assert line.decode() == " ".join(text.split())
        assert words == len(text.split())
