from __future__ import annotations

from collections import Counter

from archive_mutations import TEXTS, mutate, outcome, whole_archive


def test_the_undamaged_archive_is_whole() -> None:
    kind, texts = outcome(whole_archive())
    assert kind == "whole"
    assert sorted(texts) == sorted(text.strip() for text in TEXTS)


def test_a_damaged_archive_never_passes_for_a_whole_one() -> None:
    """What reads as whole has every document; anything else is an error or said to be damaged.

    The one exception: a whole member was cut out, and nothing in the archive tells of it.
    """
    data, expected = whole_archive(), {text.strip() for text in TEXTS}
    kinds: Counter[str] = Counter()
    for seed in range(600):
        damaged = mutate(data, seed)
        kind, texts = outcome(damaged)
        kinds[kind] += 1
        if kind == "whole":
            lost = expected - set(texts)
            members = {text.split("member ")[1].split()[0] for text in lost}
            gone = {text for text in expected if text.split("member ")[1].split()[0] in members}
            assert set(texts) <= expected, seed
            assert lost == gone, seed
    assert kinds["error"] > 100
    assert kinds["damaged"] > 30
    assert kinds["whole"] > 5
