"""From any text to one clean line: the only form in which documents are kept.

The rule, in the order in which it is applied:

1. lone surrogates are removed (they are not characters and have no UTF-8 form);
2. control characters (Unicode category Cc: NUL, escape, the C1 block ...) are removed, except
   those that :meth:`str.split` counts as white space;
3. every run of white space, in the sense of :meth:`str.split` (so CR, LF, U+0085, U+00A0, U+2028,
   U+3000 too), becomes one space; none is left at the ends.

It equals ``" ".join(removed(text).split())``. That makes a Python string of every word, 90 MB a
second; here some fifteen passes over the UTF-8 bytes of many texts at once do the same, each of
them vectorised in NumPy or Arrow and without the interpreter's lock: 1,000 to 1,300 MB a second
and core.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from perigee.corpus.scratch import Bytes, Flags, Places, flags, places_of, scratch

_SPACE = 0x20
_ASCII_SPACES = bytes([*range(0x09, 0x0E), *range(0x1C, 0x21)])
_ASCII_CONTROLS = bytes(c for c in [*range(0x20), 0x7F] if c not in _ASCII_SPACES)
_SPACES_BY_FREQUENCY = b"\n\r\t\f\v\x1c\x1d\x1e\x1f"
# Lead bytes never occur inside another character, so byte patterns are safe in valid UTF-8.
_C1_CONTROLS = re.compile(rb"\xc2[\x80-\x84\x86-\x9f]")
_REMOVED = re.compile("[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\ud800-\udfff]")
_AFTER_E2_80 = np.zeros(256, np.bool_)
_AFTER_E2_80[[*range(0x80, 0x8B), 0xA8, 0xA9, 0xAF]] = True
_PASS = 1 << 18
_GROUP_BYTES = 1 << 20
_SPARSE = 32


class Texts(NamedTuple):
    """Texts end to end, as Arrow holds a column of strings."""

    data: bytes
    """Valid UTF-8."""
    ends: Places
    """(N + 1,) where they begin, and where the last one ends: from 0 to ``len(data)``."""


class Lines(NamedTuple):
    """Clean lines, without their ends."""

    lines: list[memoryview]
    words: list[int]
    """Runs of anything but white space in each."""


def encode(text: str) -> bytes:
    """UTF-8 of ``text`` without its lone surrogates."""
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        # A surrogate is a code unit of UTF-16: "ignore" drops those and nothing else.
        return text.encode("utf-8", "ignore")


def join_texts(texts: list[bytes]) -> Texts:
    """Texts of their own, end to end."""
    ends = np.zeros(len(texts) + 1, np.int64)
    np.cumsum([len(text) for text in texts], out=ends[1:])
    return Texts(b"".join(texts), ends)


def groups_of(column: pa.Array) -> Iterator[tuple[int, Texts]]:
    """The strings of an Arrow column in groups of about a megabyte, and where each begins.

    A null counts as an empty text.
    """
    if not len(column):
        return
    _, places, values = column.buffers()
    width = np.int64 if pa.types.is_large_string(column.type) else np.int32
    begin, stop = column.offset, column.offset + len(column)
    ends = np.frombuffer(places, width)[begin : stop + 1].astype(np.int64)
    first = 0
    while first < len(column):
        last = int(np.searchsorted(ends, ends[first] + _GROUP_BYTES, "right")) - 1
        last = min(max(last, first + 1), len(column))
        data = b"" if values is None else values[int(ends[first]) : int(ends[last])].to_pybytes()
        yield first, Texts(data, ends[first : last + 1] - ends[first])
        first = last


def clean(data: bytes) -> tuple[bytes, int]:
    """One line without its end, and its number of words.

    Parameters
    ----------
    data:
        Valid UTF-8.
    """
    lines = clean_all(join_texts([data]))
    return bytes(lines.lines[0]), lines.words[0]


def clean_all(texts: Texts) -> Lines:
    """The line of every text."""
    characters = np.frombuffer(texts.data, np.uint8)
    wide = _wide_spaces(texts.data, characters)
    if wide is None or _holds_controls(texts.data, characters):
        texts = _without_controls(texts)
        characters = np.frombuffer(texts.data, np.uint8)
        wide = _wide_spaces(texts.data, characters) or []
    if not texts.data:
        return Lines([memoryview(b"")] * (len(texts.ends) - 1), [0] * (len(texts.ends) - 1))
    spaced = _above_controls(characters)
    for places, width in wide:
        for offset in range(width):
            spaced[places + offset] = _SPACE
    is_space = np.equal(spaced, _SPACE, out=flags(1, len(spaced)))
    is_dropped = _superfluous(is_space, texts.ends)
    return _lines(spaced, is_space, is_dropped, texts.ends.tolist())


def _holds_controls(data: bytes, characters: Bytes) -> bool:
    """Whether there is anything of ASCII to remove."""
    found = flags(0, len(data))
    others = np.count_nonzero(np.less(characters, _SPACE, out=found))
    for space in _SPACES_BY_FREQUENCY:
        if not others:
            break
        others -= np.count_nonzero(np.equal(characters, space, out=found))
    return bool(others > 0) or b"\x7f" in data


def _without_controls(texts: Texts) -> Texts:
    """Seldom needed, so not as fast as the rest."""
    ends = texts.ends.tolist()
    kept = []
    for begin, end in pairwise(ends):
        text = texts.data[begin:end].translate(None, _ASCII_CONTROLS)
        kept.append(_C1_CONTROLS.sub(b"", text) if b"\xc2" in text else text)
    return join_texts(kept)


@cache
def _spaces() -> Bytes:
    return np.full(_PASS, _SPACE, np.uint8)


def _above_controls(characters: Bytes) -> Bytes:
    """A copy with a space for every ASCII control character: all that are left are white space."""
    copied = scratch(0, len(characters))
    # The larger of two arrays is vectorised, that of an array and a number is not: five times.
    for begin in range(0, len(characters), _PASS):
        part = characters[begin : begin + _PASS]
        np.maximum(part, _spaces()[: len(part)], out=copied[begin : begin + _PASS])
    return copied


def _wide_spaces(data: bytes, characters: Bytes) -> list[tuple[Places, int]] | None:
    """Where the white space outside ASCII stands, and how many bytes it has.

    ``None`` if there are control characters outside ASCII.
    """
    found: list[tuple[Places, int]] = []
    if data.isascii():
        return found
    for lead, leads in _leads(data, characters):
        second = characters[leads + 1]
        if lead == 0xC2:
            is_space = (second == 0x85) | (second == 0xA0)
            if np.any((second < 0xA0) & ~is_space):
                return None
            found.append((leads[is_space], 2))
            continue
        third = characters[leads + 2]
        if lead == 0xE1:
            is_space = (second == 0x9A) & (third == 0x80)
        elif lead == 0xE2:
            is_space = (second == 0x80) & _AFTER_E2_80[third]
            is_space |= (second == 0x81) & (third == 0x9F)
        else:
            is_space = (second == 0x80) & (third == 0x80)
        found.append((leads[is_space], 3))
    return found


def _leads(data: bytes, characters: Bytes) -> Iterator[tuple[int, Places]]:
    """Where characters begin that may be white space or controls, by their first byte."""
    present = [lead for lead in (0xC2, 0xE1, 0xE2, 0xE3) if bytes([lead]) in data]
    is_any = np.greater_equal(characters, 0xC2, out=flags(0, len(data)))
    if len(present) > 1 and np.count_nonzero(is_any) < len(data) // _SPARSE:
        # One pass for all of them: pays where few characters are not ASCII.
        leads = np.flatnonzero(is_any)
        kinds = characters[leads]
        for lead in present:
            yield lead, leads[kinds == lead]
        return
    for lead in present:
        yield lead, places_of(characters, lead)


def _superfluous(is_space: Flags, ends: Places) -> Flags:
    """The white space before white space, and at both ends of every text."""
    is_dropped = flags(2, len(is_space))
    np.logical_and(is_space[:-1], is_space[1:], out=is_dropped[:-1])
    begins, lasts = ends[:-1], ends[1:] - 1
    is_text = begins <= lasts
    begins, lasts = begins[is_text], lasts[is_text]
    is_dropped[lasts] = is_space[lasts]
    blank = is_space[begins]
    for begin, last in zip(begins[blank].tolist(), lasts[blank].tolist(), strict=True):
        run = _run_of_spaces(is_space[begin : last + 1])
        is_dropped[begin + run - 1] = True
    return is_dropped


def _run_of_spaces(is_space: Flags) -> int:
    """How many there are at the beginning."""
    for size in (64, len(is_space)):
        run = int(is_space[:size].argmin())
        if not is_space[run]:
            return run
    return len(is_space)


def _lines(spaced: Bytes, is_space: Flags, is_dropped: Flags, ends: list[int]) -> Lines:
    kept = _select(spaced, is_dropped)
    lines, words, place = [], [], 0
    for begin, end in pairwise(ends):
        dropped = int(np.count_nonzero(is_dropped[begin:end]))
        size = end - begin - dropped
        lines.append(kept[place : place + size])
        words.append(int(np.count_nonzero(is_space[begin:end])) - dropped + 1 if size else 0)
        place += size
    return Lines(lines, words)


def _select(characters: Bytes, is_dropped: Flags) -> memoryview:
    """The characters that are not dropped. Arrow copies them run by run, five times as fast."""
    size = len(characters)
    is_left = np.logical_not(is_dropped, out=flags(3, size))
    bits = np.packbits(is_left, bitorder="little")
    is_kept = pa.Array.from_buffers(pa.bool_(), size, [None, pa.py_buffer(bits)])
    values = pa.Array.from_buffers(pa.uint8(), size, [None, pa.py_buffer(characters)])
    # Arrow's own pool keeps a heap for each thread, and 200 MiB more at the peak.
    kept = pc.filter(values, is_kept, memory_pool=pa.system_memory_pool())
    data = kept.buffers()[1]
    return memoryview(b"" if data is None else data)[: len(kept)]


def clean_label(value: object, longest: int = 1000) -> str:
    """A title, a URL or a name as one clean line of at most ``longest`` characters; "" for none."""
    if not isinstance(value, str):
        return ""
    if value.isascii() and value.isprintable():  # then its only white space is the space
        if " " not in value or ("  " not in value and value[0] != " " != value[-1]):
            return value[:longest]
    else:
        value = _REMOVED.sub("", value[: 4 * longest])
    return " ".join(value.split())[:longest]
