"""What a word is."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perigee.tokenizer.words import normalise, split_lines, split_words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Hello, World!", ["hello", ",", "world", "!"]),
        ("don't DON’T", ["don't", "don't"]),
        ("the dogs' tails", ["the", "dogs", "'", "tails"]),
        ("’tis rock 'n' roll", ["’", "tis", "rock", "'", "n", "'", "roll"]),
        ("_italic_ snake_case", ["_", "italic", "_", "snake", "_", "case"]),
        ("1,000.5 3rd B2B", ["1", ",", "000", ".", "5", "3rd", "b2b"]),
        ("a--b — c", ["a", "-", "-", "b", "—", "c"]),
        ("NAÏVE nai\u0308ve", ["naïve", "naïve"]),
        ("ΣΑΣ İ", ["σασ", "i̇"]),
        ("हिन्दी русский 漢字", ["हिन्दी", "русский", "漢字"]),
        ("J\u030c", ["ǰ"]),
        ("[MASK][EOS]", ["[", "mask", "]", "[", "eos", "]"]),
        ("a\u00a0b\u2028c\td", ["a", "b", "c", "d"]),
        ("👍🏽", ["👍", "🏽"]),
        ("d'Artagnan's", ["d'artagnan's"]),
        ("o''clock", ["o", "'", "'", "clock"]),
        ("", []),
        ("lone\ud800surrogate", ["lonesurrogate"]),
    ],
)
def test_examples(text: str, words: list[str]):
    assert split_words(text) == words


@settings(deadline=None)
@given(st.text())
def test_normal_form_is_final(text: str):
    once = normalise(text)
    assert normalise(once) == once
    assert unicodedata.normalize("NFC", once) == once


@settings(deadline=None)
@given(st.text(st.characters(max_codepoint=0x24F, exclude_characters="\u0130")))
def test_against_the_plain_expression(text: str):
    """Below U+0250 nothing depends on the Unicode version: Python's own engine is the oracle.

    U+0130 is left out: its lower case holds a combining mark, which belongs to the word, but which
    Python's ``\\w`` does not know. The next test holds it.
    """
    lowered = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).lower())
    lowered = re.sub(r"(?<=[^\W_])’(?=[^\W_])", "'", lowered)
    spaces = r"[ \t-\r\x85\xa0]"
    words = re.findall(rf"[^\W_]+(?:'[^\W_]+)*|(?!{spaces})[\s\S]", lowered)
    assert split_words(text) == words


@settings(deadline=None)
@given(st.text(), st.text())
def test_white_space_separates(one: str, other: str):
    for space in (" ", "\n"):
        assert split_words(one + space + other) == split_words(one) + split_words(other)


LINES = st.lists(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n")), max_size=9
)
LATIN = st.lists(st.text("aB1'’_ .é\xa0\x85\x1c\tİſ—“\u2009\u0301½ª", max_size=9), max_size=9)


@settings(deadline=None)
@given(LINES | LATIN)
def test_many_lines_split_as_one(lines: list[str]):
    assert split_lines(lines) == [split_words(line) for line in lines]


def test_every_plain_character_splits_as_the_library_does():
    characters = [chr(c) for c in range(0x2060) if chr(c) != "\n"]
    lines = [form for c in characters for form in (c, f"a{c}B", f"a'{c}’d {c}{c}")]
    assert split_lines(lines) == [split_words(line) for line in lines]


def test_a_combining_mark_belongs_to_its_word() -> None:
    assert split_words("\u0130stanbul") == ["i\u0307stanbul"]
