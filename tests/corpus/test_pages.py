from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perigee.corpus import pages
from perigee.corpus.documents import Document

LONGEST = 1 << 20


def read(data: bytes, longest: int = LONGEST) -> list[Any]:
    return comparable(pages.read_pages(data, "m/2005-12.jsonl.zst", 7, longest))


def read_one_by_one(data: bytes, longest: int = LONGEST) -> list[Any]:
    return comparable(pages._read_one_by_one(data, "m/2005-12.jsonl.zst", 7, longest))


def comparable(results: list[Document | str]) -> list[Any]:
    return [r if isinstance(r, str) else (bytes(r.line), *r[1:]) for r in results]


def is_read_at_once(data: bytes) -> bool:
    return pages._read_at_once(data, LONGEST) is not None


def lines(*values: Any) -> bytes:
    return b"".join(json.dumps(value).encode() + b"\n" for value in values)


TEXTS = st.one_of(st.text(), st.text(st.sampled_from(' \n\t\u3000\u00a0\x00{}[]",NaInf1e9')))
META = st.fixed_dictionaries(
    {},
    optional={
        "title": TEXTS,
        "url": TEXTS,
        "reddit_created_utc": st.lists(TEXTS, max_size=2),
        "lang": st.one_of(st.none(), TEXTS, st.integers(), st.floats(), st.lists(TEXTS)),
    },
)
OBJECTS = st.fixed_dictionaries({"text": TEXTS}, optional={"meta": st.one_of(st.none(), META)})


@given(st.lists(OBJECTS, min_size=1, max_size=6))
def test_both_ways_give_the_same(values: list[Any]) -> None:
    data = lines(*values)
    assert read(data) == read_one_by_one(data)


@given(st.lists(OBJECTS, min_size=1, max_size=4), st.integers(0, 2**32), st.integers(1, 6))
def test_both_ways_give_the_same_of_damaged_lines(
    values: list[Any], seed: int, changes: int
) -> None:
    data, numbers = bytearray(lines(*values)), random.Random(seed)
    for _ in range(changes):
        place = numbers.randrange(len(data))
        piece = numbers.choice([b"", b"}", b"{", b"\n", b'"', b",", b"NaN", b"1e999", b"\\ud800"])
        data[place : place + numbers.randint(0, 3)] = piece or bytes([numbers.randrange(256)])
    whole = bytes(data).rstrip(b"\n") + b"\n"
    assert read(whole) == read_one_by_one(whole)


def test_usual_lines_are_read_at_once() -> None:
    meta = {"title": "A  title", "url": "http://x", "reddit_created_utc": ["2011-07-19"], "n": [1]}
    data = lines({"text": "a [[[ text about NaN, Infinity and Info", "meta": meta}, {"text": "b"})
    assert is_read_at_once(data)
    first, second = read(data)
    assert first[3][1:] == ("m/2005-12.jsonl.zst", 7, "A title", "http://x", "2011-07-19")
    assert second[3][2:] == (8, "", "", "2005-12")


ODD = {
    b'{"text": "a", "n": NaN}': "bad_json",
    b'{"text": "a", "n": [Infinity]}': "bad_json",
    b'{"text": "a", "n": -Inf}': "bad_json",
    b'{"text": "a"} {"text": "b"}': "bad_json",
    b'{"text": "a", "n": ' + b"[" * 1010 + b"]" * 1010 + b"}": "a",
    b'{"text": "a", "n": ' + b"[" * 1100 + b"]" * 1100 + b"}": "bad_json",
    b'{"text": "a", "n": ' + b"[" * 200_000 + b"]" * 200_000 + b"}": "bad_json",
    b'{"text": "a"}\0}': "bad_json",
    b'{"text": "a", "n": "\xff"}': "bad_json",
    b'{"text": "\xed\xa0\x80"}': "bad_json",
    b'{"text": "a\x01"}': "bad_json",
    b'{"text": "a", "text": "b"}': "b",
    b'{"te\\u0078t": "a"}': "a",
    b'{"text": "a", "n": 1e999}': "a",
    b'{"text": "a", "n": ' + b"9" * 5000 + b"}": "a",
    b'{"text": "a", "n": "\\ud800"}': "a",
    b'{"text": "a\\udc00b"}': "ab",
    b'{"text": "a\\u0000b"}': "ab",
    b'{"text": "a", "meta": []}': "a",
    b'{"text": "a", "meta": {"title": 7, "reddit_created_utc": "2011"}}': "a",
    b'{"text": null}': "no_text",
    b'{"text": 7}': "no_text",
    b"{}": "no_text",
    b'{"text": "\\u2028"}': "empty",
    b"": "blank_line",
}


@pytest.mark.parametrize("line", ODD)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_an_odd_line_is_what_it_is_wherever_it_stands(line: bytes, place: int) -> None:
    around = [b'{"text": "before"}', b'{"text": "after"}']
    around.insert(place, line)
    results = read(b"".join(each + b"\n" for each in around))
    found = results.pop(place)
    assert (found if isinstance(found, str) else found[0].decode()) == ODD[line]
    assert [result[0] for result in results] == [b"before", b"after"]


def test_values_across_lines_are_not_put_together() -> None:
    data = b'{"text":\n"a"} {"text":"b"}\n'
    assert read(data) == ["bad_json", "bad_json"]


@pytest.mark.parametrize("longest", [14, 15])
def test_the_longest_line_is_the_same_for_both_ways(longest: int) -> None:
    data = b'{"text": "abc"}\n{"text": "d"}\n'
    assert read(data, longest) == read_one_by_one(data, longest)
    assert (read(data, longest)[0] == "line_too_long") == (longest == 14)


def test_a_last_line_without_an_end() -> None:
    assert [result[0] for result in read(b'{"text": "a"}\n{"text": "b"}')] == [b"a", b"b"]
