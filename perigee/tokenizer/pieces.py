"""From bytes to word numbers at the speed of a hash table.

White space always separates words, so what stands between two spaces (a *piece*: ``Hello,`` is
one) is split the same wherever it stands. Arrow finds the distinct pieces of a block of text
without making a Python object of each; only pieces not met before are split; the rest is array
arithmetic. The numbers are those of :func:`perigee.tokenizer.words.split_words` by construction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from perigee.errors import ArtifactError
from perigee.tokenizer.words import split_lines

SPACE, LINE_END = 0x20, 0x0A
_LINE_END_PIECE = b"\n"
_KEPT = 1 << 20
"""Pieces remembered; those met later are split each time, so that memory stays flat."""
_LONGEST_KEPT = 64
"""Bytes of a piece that is remembered; longer ones (text without spaces) hardly come again."""

Numbers = npt.NDArray[np.int32]
Places = npt.NDArray[np.int64]


class Numbering(Protocol):
    """Gives every word a number of at least 0."""

    def __getitem__(self, word: str, /) -> int: ...


@dataclass(frozen=True)
class Pieces:
    """The pieces of one block of text."""

    distinct: list[bytes]
    """Every different piece once: a word with the space behind it, or a line end alone."""
    indices: npt.NDArray[np.int32]
    """For every piece of the block in order, its place in ``distinct``."""


@dataclass(frozen=True)
class Rows:
    """For each of some pieces, the numbers of its words."""

    flat: Numbers
    starts: Places
    lengths: Places

    def expand(self, indices: npt.NDArray[np.integer]) -> Numbers:
        """The numbers of the pieces ``indices[0]``, ``indices[1]`` ... one after the other."""
        repeated = self.lengths[indices]
        ends = np.cumsum(repeated)
        # Position k of the result lies in piece i and is its (k - ends[i] + repeated[i])-th number.
        shifts = np.repeat(self.starts[indices] - (ends - repeated), repeated)
        return self.flat[shifts + np.arange(len(shifts))]


def find_pieces(block: bytes) -> Pieces:
    """Cut ``block`` at its spaces and line ends. Mostly without the interpreter's lock."""
    data = np.frombuffer(block, dtype=np.uint8)
    is_line_end = data == LINE_END
    is_border = np.zeros(len(data) + 1, dtype=np.bool_)
    is_border[0] = is_border[-1] = True
    is_border[1:] |= data == SPACE
    is_border[1:] |= is_line_end
    is_border[:-1] |= is_line_end
    offsets = np.flatnonzero(is_border).astype(np.int32)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(block)]
    cut = pa.BinaryArray.from_buffers(pa.binary(), len(offsets) - 1, buffers).dictionary_encode()
    return Pieces(cut.dictionary.to_pylist(), cut.indices.to_numpy())


class PieceTable:
    """Remembers the numbers of the words of the pieces that it has met.

    Parameters
    ----------
    numbering:
        Numbers the words.
    line_end:
        Numbers that stand for a line end.
    """

    def __init__(self, numbering: Numbering, line_end: Sequence[int] = ()) -> None:
        self._numbering = numbering
        self._known = {_LINE_END_PIECE: 0}
        self._flat = np.array(line_end, dtype=np.int32)
        self._starts = np.zeros(1, dtype=np.int64)
        self._lengths = np.full(1, len(line_end), dtype=np.int64)
        self._rows = 1
        self._used = len(line_end)

    def rows(self, distinct: Sequence[bytes]) -> Rows:
        """The numbers of each piece; good until the next call.

        Raises
        ------
        ArtifactError
            If a piece is not UTF-8.
        """
        known = self._known
        places = np.fromiter(map(known.get, distinct, repeat(-1)), np.int64, len(distinct))
        missing = np.flatnonzero(places < 0)
        rows, used = self._rows, self._used
        if len(missing):
            fresh = [distinct[place] for place in missing.tolist()]
            places[missing] = np.arange(rows, rows + len(fresh))
            self._append(fresh)
            if len(known) + len(fresh) <= _KEPT and max(map(len, fresh)) <= _LONGEST_KEPT:
                known.update(zip(fresh, range(rows, rows + len(fresh)), strict=True))
            else:
                self._keep_some(fresh, rows, used)
        return Rows(self._flat, self._starts[places], self._lengths[places])

    def _keep_some(self, fresh: Sequence[bytes], rows: int, used: int) -> None:
        """Remember short pieces while there is room; forget the rest at the next call."""
        kept = 0
        for place, piece in enumerate(fresh):
            if len(self._known) < _KEPT and len(piece) <= _LONGEST_KEPT:
                self._known[piece] = rows + place
                kept = place + 1
        self._rows = rows + kept
        self._used = used + int(self._lengths[rows : self._rows].sum())

    def _append(self, pieces: Sequence[bytes]) -> None:
        """Add a row for each piece."""
        try:
            text = b"\n".join(pieces).decode("utf-8")
        except UnicodeDecodeError as error:
            raise ArtifactError(f"holds text that is not UTF-8 ({error.reason})") from None
        lines = split_lines(text.split("\n"))
        numbering = self._numbering
        numbers = [[numbering[word] for word in words] for words in lines]
        lengths = np.fromiter(map(len, numbers), np.int64, len(numbers))
        flat = np.fromiter((n for row in numbers for n in row), np.int32, int(lengths.sum()))
        rows, used = self._rows + len(lengths), self._used + len(flat)
        self._starts = _with_room(self._starts, rows)
        self._lengths = _with_room(self._lengths, rows)
        self._flat = _with_room(self._flat, used)
        self._lengths[self._rows : rows] = lengths
        self._starts[self._rows : rows] = self._used + np.cumsum(lengths) - lengths
        self._flat[self._used : used] = flat
        self._rows, self._used = rows, used


def _with_room(array: npt.NDArray[Any], size: int) -> npt.NDArray[Any]:
    """``array``, or if it is shorter than ``size`` a longer one that begins with it."""
    if len(array) >= size:
        return array
    longer = np.zeros(max(size, 2 * len(array)), dtype=array.dtype)
    longer[: len(array)] = array
    return longer
