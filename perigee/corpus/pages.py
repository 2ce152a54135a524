"""JSON lines to documents: many at once where they hold nothing unusual, else one by one.

Arrow's JSON reader takes a block of lines apart without the interpreter's lock, so that blocks are
read on all cores; ``orjson``, twice as fast alone, holds it. What Arrow reads otherwise than the
rule says (it takes NaN for a number, any depth, several values in a line, bytes that are no UTF-8)
is looked for first, and such a block is read line by line; so is one that Arrow refuses, be it
that a line is broken or that a field is not of the usual type. Both ways give the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, NoReturn

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from perigee.corpus.cleaning import clean_label, encode, groups_of, join_texts
from perigee.corpus.documents import Document, Origin, prepare_all
from perigee.corpus.scratch import Places, places_of, scratch

SOURCE = "openwebtext2"
MEMBER_SUFFIX = ".jsonl.zst"

_FIELDS = pa.schema(
    [
        ("text", pa.string()),
        (
            "meta",
            pa.struct(
                [
                    ("title", pa.string()),
                    ("url", pa.string()),
                    ("reddit_created_utc", pa.list_(pa.string())),
                ]
            ),
        ),
    ]
)
_PARSING = pj.ParseOptions(explicit_schema=_FIELDS, unexpected_field_behavior="ignore")
_DEEP = 1000
_CONSTANTS = (b"NaN", b"Inf")
_BEHIND_CONSTANT = np.zeros(256, np.bool_)
_BEHIND_CONSTANT[list(b",]} \t\r\ni")] = True


class Page(NamedTuple):
    """What a line says of itself."""

    title: Any
    url: Any
    created: Any


def read_pages(data: bytes, member: str, row: int, longest: int) -> list[Document | str]:
    """The document of every line in ``data``; for one that cannot be kept, the reason.

    Parameters
    ----------
    data:
        Whole lines of ``member``; the last one may lack its end.
    row:
        Number of the first line in the member, from 0.
    longest:
        Bytes of a line at the most.
    """
    table = _read_at_once(data, longest)
    if table is None:
        return _read_one_by_one(data, member, row, longest)
    text = table.column("text").combine_chunks()
    origins = [_origin(page, member, row + place) for place, page in enumerate(_pages(table))]
    documents: list[Document | str] = []
    for first, texts in groups_of(text):
        documents += prepare_all(texts, origins[first : first + len(texts.ends) - 1])
    for place in np.flatnonzero(text.is_null().to_numpy(zero_copy_only=False)).tolist():
        documents[place] = "no_text"
    return documents


def _pages(table: pa.Table) -> Iterator[Page]:
    meta = table.column("meta").combine_chunks()
    columns = [pc.struct_field(meta, [number]).to_pylist() for number in range(3)]
    return map(Page, *columns)


def _read_at_once(data: bytes, longest: int) -> pa.Table | None:
    """The fields of all lines; ``None`` if there may be anything unusual in them."""
    ends = _line_ends(data, longest)
    if ends is None or not _is_plain(data, ends):
        return None
    whole = pj.ReadOptions(use_threads=False, block_size=len(data) + 1)
    try:
        table = pj.read_json(pa.BufferReader(data), read_options=whole, parse_options=_PARSING)
    except pa.ArrowInvalid:
        return None
    return table if table.num_rows == len(ends) else None


def _line_ends(data: bytes, longest: int) -> Places | None:
    """Where the lines end, if every one looks like an object and none is too long.

    Nothing but a comma may follow an object inside another value, so no value spans lines that
    end with ``}`` and begin with ``{``; as many values as lines are then one in each.
    """
    if not (data.startswith(b"{") and data.endswith(b"}\n")):
        return None
    characters = np.frombuffer(data, np.uint8)
    ends = places_of(characters, ord("\n"))
    are_objects = np.all(characters[ends - 1] == ord("}")) and np.all(
        characters[ends[:-1] + 1] == ord("{")
    )
    if not are_objects or np.diff(ends, prepend=-1).max() - 1 > longest:
        return None
    return ends


def _is_plain(data: bytes, ends: Places) -> bool:
    """Whether Arrow, if it reads these lines at all, reads in them what ``orjson`` does."""
    if b"\0" in data or not _is_utf8(data):
        return False
    begins = np.concatenate([[0], ends[:-1] + 1])
    return all(
        _value(data[begins[line] : ends[line]]) is not None for line in _doubtful(data, ends)
    )


def _is_utf8(data: bytes) -> bool:
    if data.isascii():
        return True
    places = np.array([0, len(data)], np.int64)
    buffers = [None, pa.py_buffer(places), pa.py_buffer(data)]
    try:
        pa.Array.from_buffers(pa.large_string(), 1, buffers).validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _doubtful(data: bytes, ends: Places) -> set[int]:
    """Numbers of the lines in which there may be a constant that is not JSON, or great depth."""
    characters = np.frombuffer(data, np.uint8)
    lines: set[int] = set()
    for constant in _CONSTANTS:
        places = places_of(characters[:-3], constant[0])
        for offset in (1, 2):
            places = places[characters[places + offset] == constant[offset]]
        places = places[_BEHIND_CONSTANT[characters[places + 3]]]
        lines.update(np.searchsorted(ends, places).tolist())
    lowered = np.bitwise_or(characters, 0x20, out=scratch(1, len(data)))  # makes { of [
    places = places_of(lowered, ord("{"))
    if len(places) > _DEEP:
        counts = np.diff(np.searchsorted(places, ends), prepend=0)
        lines.update(np.flatnonzero(counts > _DEEP).tolist())
    return lines


def _read_one_by_one(data: bytes, member: str, row: int, longest: int) -> list[Document | str]:
    results: list[Document | str] = []
    texts, origins, places = list[bytes](), list[Origin](), list[int]()
    for place, line in enumerate(data.removesuffix(b"\n").split(b"\n")):
        found = "line_too_long" if len(line) > longest else _page(line)
        if isinstance(found, str):
            results.append(found)
            continue
        text, page = found
        results.append("")
        places.append(place)
        texts.append(text)
        origins.append(_origin(page, member, row + place))
    for place, document in zip(places, _prepare(texts, origins), strict=True):
        results[place] = document
    return results


def _prepare(texts: list[bytes], origins: Sequence[Origin]) -> list[Document | str]:
    return prepare_all(join_texts(texts), origins) if texts else []


def _page(line: bytes) -> tuple[bytes, Page] | str:
    """Text and description in a JSON line, or the reason why there are none."""
    if not line or line.isspace():
        return "blank_line"
    value = _value(line)
    if value is None:
        return "bad_json"
    if not isinstance(value[0], dict):
        return "not_an_object"
    text, meta = value[0].get("text"), value[0].get("meta")
    if not isinstance(text, str):
        return "no_text"
    meta = meta if isinstance(meta, dict) else {}
    page = Page(meta.get("title"), meta.get("url"), meta.get("reddit_created_utc"))
    return encode(text), page


def _origin(page: Page, member: str, row: int) -> Origin:
    created = page.created
    date = created[0] if isinstance(created, list) and created else created
    if not isinstance(date, str):
        date = member.rpartition("/")[2].removesuffix(MEMBER_SUFFIX)
    title, url = clean_label(page.title), clean_label(page.url)
    return Origin(SOURCE, member, row, title, url, clean_label(date))


def _value(line: bytes) -> tuple[Any] | None:
    """The value of a JSON line; ``None`` if it is not JSON.

    ``orjson`` refuses two things that JSON allows, and that some programs write: surrogates
    without their partners, and numbers beyond the range of a double.
    """
    try:
        return (orjson.loads(line),)
    except orjson.JSONDecodeError:
        pass
    try:
        return (json.loads(line.decode("utf-8"), parse_constant=_refuse, parse_int=float),)
    except (ValueError, RecursionError):
        return None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)
