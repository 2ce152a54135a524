"""Spelling costs: a distribution over all words, worth its counts, and charged once each."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perigee.diffusion.bound import BoundReport
from perigee.diffusion.spelling import (
    BEGIN,
    END,
    SYMBOLS,
    SpellingModel,
    fit_spelling,
    open_vocabulary,
)

WORDS = ["banana", "bandana", "cabana", "cab", "nab", "abba", "banana"]


def _slow(words: list[str], order: int, context: str, character: str) -> float:
    """Witten-Bell by its recursion, counting from the words each time."""
    shorter = 1.0 / SYMBOLS if context == "" else _slow(words, order, context[1:], character)
    seen: Counter[str] = Counter()
    for word in words:
        text = BEGIN * (order - 1) + word + END
        for place in range(order - 1, len(text)):
            if text[:place].endswith(context):
                seen[text[place]] += 1
    if not seen:
        return shorter
    return (seen[character] + len(seen) * shorter) / (seen.total() + len(seen))


@pytest.mark.parametrize("order", [1, 2, 4])
def test_a_words_cost_is_that_of_the_slow_recursion(order: int) -> None:
    model = fit_spelling(WORDS, order)
    for word in ("banana", "bab", "zebra", "\N{GREEK SMALL LETTER PI}"):
        text = BEGIN * (order - 1) + word + END
        expected = -sum(
            math.log(_slow(WORDS, order, text[place - order + 1 : place], text[place]))
            for place in range(order - 1, len(text))
        )
        assert model.nats(word) == pytest.approx(expected, rel=1e-12)


@settings(max_examples=30, deadline=None)
@given(context=st.text(alphabet="abnz" + BEGIN, max_size=5), order=st.integers(1, 5))
def test_the_characters_after_every_context_have_probability_one(context: str, order: int) -> None:
    model = fit_spelling(WORDS, order)
    known = set("".join(WORDS)) | {END}
    total = sum(model.probability(context[-(order - 1) :] if order > 1 else "", c) for c in known)
    unseen = model.probability(context[-(order - 1) :] if order > 1 else "", "\u4e00")
    assert total + unseen * (SYMBOLS - len(known)) == pytest.approx(1.0, rel=1e-9)
    assert unseen > 0


def test_a_mapping_gives_the_number_of_occurrences() -> None:
    assert fit_spelling(Counter(WORDS)) == fit_spelling(WORDS)


def test_words_like_those_seen_are_cheaper_and_none_is_impossible() -> None:
    model = fit_spelling(WORDS)
    costs = [model.nats(word) for word in ("banana", "banbana", "xyzzyx", "\U0001f600" * 6)]
    assert costs == sorted(costs)
    assert math.isfinite(costs[-1])
    nothing = fit_spelling([])
    assert nothing.nats("ab") == pytest.approx(3 * math.log(SYMBOLS))


def test_every_unknown_word_is_charged_once_per_occurrence() -> None:
    bound = BoundReport(3.0, 0.1, 100, 4, 8, 0, 0.0)
    model: SpellingModel = fit_spelling(WORDS)
    report = open_vocabulary(bound, ["cabana", "cabana", "xyz"], model, 80)
    spelled = 2 * model.nats("cabana") + model.nats("xyz")
    assert report.spelling_nats == pytest.approx(spelled)
    assert report.nats_per_word == pytest.approx((300.0 + spelled) / 80)
    assert report.standard_error == pytest.approx(0.1 * 100 / 80)
    assert report.perplexity == pytest.approx(math.exp(report.nats_per_word))
    assert (report.whitespace_words, report.unknown_words) == (80, 3)
    without = open_vocabulary(bound, [], model, 100)
    assert without.nats_per_word == pytest.approx(bound.nats_per_word)
