from __future__ import annotations

from collections import Counter

import pytest
from archive_mutations import TEXTS, claims_too_much, mutate, outcome, whole_archive

from perigee.corpus import members


def test_the_undamaged_archive_is_whole() -> None:
    kind, texts = outcome(whole_archive())
    assert kind == "whole"
    assert sorted(texts) == sorted(text.strip() for text in TEXTS)


def test_a_damaged_archive_never_passes_for_a_whole_one() -> None:
    """What reads as whole has every document; anything else is an error or said to be damaged."""
    data = whole_archive()
    kinds: Counter[str] = Counter()
    for seed in range(600):
        kind, texts = outcome(mutate(data, seed))
        kinds[kind] += 1
        assert not claims_too_much(kind, texts), seed
    assert kinds["error"] > 100
    assert kinds["damaged"] > 30
    assert kinds["whole"] > 5


def test_a_result_that_passes_for_whole_is_told() -> None:
    texts = [text.strip() for text in TEXTS]
    assert not claims_too_much("whole", texts)
    assert not claims_too_much("whole", texts[1::3] + texts[2::3])
    assert claims_too_much("whole", texts[1:])
    assert claims_too_much("whole", [*texts, "invented"])
    assert not claims_too_much("damaged", texts[1:])


def test_threads_change_nothing_in_what_comes_of_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    data = whole_archive()
    damaged = [mutate(data, seed) for seed in range(600, 700)]
    found = []
    for share in (0.0, 10.0):
        monkeypatch.setattr(members, "_AHEAD", share)
        found.append([outcome(each) for each in damaged])
    assert found[0] == found[1]
