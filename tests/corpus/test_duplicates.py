from __future__ import annotations

import hashlib

import pytest

from perigee.corpus import duplicates
from perigee.corpus.duplicates import SeenTexts


def digest(number: int) -> bytes:
    return hashlib.sha256(str(number).encode()).digest()


def test_it_knows_what_was_added_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "_FRESH", 16)
    seen = SeenTexts()
    for number in range(1000):
        assert digest(number) not in seen
        seen.add(digest(number))
    assert len(seen) == 1000
    assert all(digest(number) in seen for number in range(1000))
    assert not any(digest(number) in seen for number in range(1000, 3000))


def test_equal_first_halves_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "_FRESH", 4)
    seen = SeenTexts()
    halves = [b"\0" * 8, b"\xff" * 8, bytes(range(8))]
    added = [first + second for first in halves for second in halves[:2]]
    for key in added:
        seen.add(key + b"rest of the hash")
    for first in halves:
        for second in halves:
            assert (first + second + b"anything") in seen or second == halves[2]
            assert ((first + second) in seen) == (first + second in added)
