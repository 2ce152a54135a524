"""From any text to one clean line: the only form in which documents are kept.

The rule, in the order in which it is applied:

1. lone surrogates are removed (they are not characters and have no UTF-8 form);
2. control characters (Unicode category Cc: NUL, escape, the C1 block ...) are removed, except
   those that :meth:`str.split` counts as white space;
3. every run of white space, in the sense of :meth:`str.split` (so CR, LF, U+0085, U+00A0, U+2028,
   U+3000 too), becomes one space; none is left at the ends.

It equals ``" ".join(removed(text).split())`` and is done on the UTF-8 bytes, with NumPy, because
that is some ten times faster than a Python string for every word.
"""

from __future__ import annotations

import re

import numpy as np

_ASCII_SPACES = bytes([*range(0x09, 0x0E), *range(0x1C, 0x21)])
_ASCII_CONTROLS = bytes(c for c in [*range(0x20), 0x7F] if c not in _ASCII_SPACES)
_TO_SPACE = bytes(0x20 if c in _ASCII_SPACES else c for c in range(256))
# Lead bytes never occur inside another character, so byte patterns are safe in valid UTF-8.
_C1_CONTROLS = re.compile(rb"\xc2[\x80-\x84\x86-\x9f]")
_WIDE_SPACES = re.compile(
    rb"\xc2[\x85\xa0]|\xe1\x9a\x80|\xe2\x80[\x80-\x8a\xa8\xa9\xaf]|\xe2\x81\x9f|\xe3\x80\x80"
)
_NO_BREAK_SPACE = b"\xc2\xa0"
_AFTER_C2 = re.compile(rb"\xc2[\x80-\xa0]")
_AFTER_E2_80 = re.compile(rb"\xe2\x80[\x80-\x8a\xa8\xa9\xaf]")
_AFTER_E2_81 = re.compile(rb"\xe2\x81\x9f")
_SPACE = 0x20


def encode(text: str) -> bytes:
    """UTF-8 of ``text`` without its lone surrogates."""
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        # A surrogate is a code unit of UTF-16: "ignore" drops those and nothing else.
        return text.encode("utf-8", "ignore")


def clean(data: bytes) -> tuple[bytes, int]:
    """One line without its end, and its number of words (runs of anything but white space).

    Parameters
    ----------
    data:
        Valid UTF-8.
    """
    data = data.translate(_TO_SPACE, _ASCII_CONTROLS)
    if not data.isascii():
        data = _clean_wide(data)
    return _collapse(data.strip(b" "))


def _clean_wide(data: bytes) -> bytes:
    if b"\xc2" in data and _NO_BREAK_SPACE in data:
        data = data.replace(_NO_BREAK_SPACE, b" ")
    if _may_be_wide(data):
        data = _WIDE_SPACES.sub(b" ", _C1_CONTROLS.sub(b"", data))
    return data


def _may_be_wide(data: bytes) -> bool:
    """Whether the patterns would find anything: far faster than to let them look.

    A pattern of its own for each lead byte begins with fixed bytes, which ``re`` looks for first.
    """
    return (
        (b"\xc2" in data and _AFTER_C2.search(data) is not None)
        or (
            b"\xe2" in data and (_AFTER_E2_80.search(data) or _AFTER_E2_81.search(data)) is not None
        )
        or (b"\xe1" in data and b"\xe1\x9a\x80" in data)
        or (b"\xe3" in data and b"\xe3\x80\x80" in data)
    )


def _collapse(data: bytes) -> tuple[bytes, int]:
    """Runs of spaces to one; ``data`` neither begins nor ends with one."""
    if not data:
        return b"", 0
    characters = np.frombuffer(data, np.uint8)
    is_space = characters == _SPACE
    spaces = int(np.count_nonzero(is_space))
    is_kept = np.empty(len(data), np.bool_)
    is_kept[-1] = True
    np.logical_and(is_space[:-1], is_space[1:], out=is_kept[:-1])
    doubles = int(np.count_nonzero(is_kept)) - 1
    if doubles == 0:
        return data, spaces + 1
    np.logical_not(is_kept[:-1], out=is_kept[:-1])
    return characters[is_kept].tobytes(), spaces - doubles + 1


def clean_label(value: object, longest: int = 1000) -> str:
    """A title, a URL or a name as one clean line of at most ``longest`` characters; "" for none."""
    if not isinstance(value, str):
        return ""
    if value.isascii() and value.isprintable() and len(value) <= longest:
        return " ".join(value.split())
    return clean(encode(value[: 4 * longest]))[0].decode("utf-8")[:longest]
