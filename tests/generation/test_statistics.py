"""Statistics of texts, against definitions read off one by one."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perigee.generation.statistics import REACH, distinct_share, text_statistics

TEXTS = st.lists(st.lists(st.integers(2, 9), max_size=25), min_size=1, max_size=6)


def _pasts(text: list[int]) -> list[list[int]]:
    return [[text[j] for j in range(i) if i - j <= REACH] for i in range(len(text))]


@given(TEXTS)
def test_every_figure_is_its_definition(texts: list[list[int]]) -> None:
    found = text_statistics([np.array(text, dtype=np.int64) for text in texts])
    words = [word for text in texts for word in text]
    assert (found.texts, found.words) == (len(texts), len(words))
    for n in (1, 2, 3):
        runs = []
        for text in texts:
            for start in range(len(text)):
                run = text[start : start + n]
                if len(run) == n:
                    runs.append(str(run))
        expected = len(set(runs)) / len(runs) if runs else math.nan
        assert getattr(found, f"distinct_{n}") == pytest.approx(expected, nan_ok=True)
    if not words:
        assert math.isnan(found.entropy)
        return
    again = [w for text in texts for w, past in zip(text, _pasts(text), strict=True) if w in past]
    assert found.repetition == pytest.approx(len(again) / len(words))
    assert found.special_share == pytest.approx(len([w for w in words if w <= 4]) / len(words))
    entropies = [
        sum(text.count(w) / len(text) * math.log(len(text) / text.count(w)) for w in set(text))
        for text in texts
        if text
    ]
    assert found.entropy == pytest.approx(sum(entropies) / len(entropies))


def test_a_repetition_is_one_within_reach() -> None:
    def repetition(gap: int) -> float:
        text = np.arange(100, 100 + gap + 1)
        text[-1] = text[0]
        return text_statistics([text]).repetition

    assert repetition(REACH) == pytest.approx(1 / (REACH + 1))
    assert repetition(REACH + 1) == 0.0


def test_no_run_reaches_from_text_to_text() -> None:
    assert distinct_share([[5, 6], [5, 6]], 2) == 0.5
    assert distinct_share([[5, 6], [7, 8]], 3) != distinct_share([[5, 6, 7, 8]], 3)
