"""Spaces between words: readable, and never such that words run together."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from perigee.tokenizer.spacing import attachments, join_words
from perigee.tokenizer.words import split_words

READABLE = [
    'he said, "i can\'t go (today)." she wept.',
    "“no,” ‘go’ he; she: well-known, 50% of $5 [or 3.5].",
    "the dogs' tails; 'well,' she said.",
    "rock 'n' roll, the 'real' thing: goin' home.",
    "1,000 at 10:30 on 3.5; and/or, self-made. really?!",
    "he went--slowly--and _never_ came back...",
    '"really?" "yes." "no."',
    "¿qué? ¡no! «oui» 「はい」",
]


@pytest.mark.parametrize("text", READABLE)
def test_readable_text_comes_back_as_it_was(text: str):
    assert join_words(split_words(text)) == text


def test_attachments_take_any_label_for_a_word():
    assert attachments(["[???]", ",", "[???]", "[???]", "."]) == [False, True, False, False, True]
    assert attachments([]) == []
    assert attachments([","]) == [False]


PUNCTUATION = "'’‘“”\"_`*-–—/.,:;!?()[]{}$%#@…«»¿¡&=+~^|<>\\"
MARKS = "\u0301\u0308\u0338\u0327\u094d\u093e\u200d\ufe0f"
PIECES = st.one_of(
    st.sampled_from(
        ["a", "i", "s", "b2", "don't", "12", "000", "30", "ʼ", "ß", "हि", "가", "ᄀ", "½"]
    ),
    st.sampled_from(list(PUNCTUATION)),
    st.sampled_from(list(MARKS)),
    st.characters(exclude_categories=["Cs", "Zs", "Zl", "Zp", "Cc"]),
)


@settings(deadline=None)
@given(st.lists(PIECES, max_size=40).map(" ".join))
@example("a ’ s")
@example("( ' a ' b")
@example("= \u0338 a")
@example("\u0301 ’ a")
@example("a ' \u0301 ' b")
@example("ᄀ ᅡ")
def test_splitting_what_was_joined_gives_the_words(text: str):
    words = split_words(text)
    assert split_words(join_words(words)) == words
