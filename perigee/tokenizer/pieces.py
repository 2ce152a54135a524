"""From bytes to word numbers at the speed of a hash table.

White space always separates words, so what stands between two spaces (a *piece*: ``Hello,`` is
one) is split the same wherever it stands. Arrow finds the distinct pieces of a block of text
without making a Python object of each; only pieces not met before go through the ``tokenizers``
library; the rest is array arithmetic. The numbers are the library's own by construction.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from perigee.errors import ArtifactError
from perigee.tokenizer.words import normalise, splitter

SPACE, LINE_END = 0x20, 0x0A
_LONGEST_KEPT = 64
"""Bytes of a piece that is remembered; longer ones (text without spaces) hardly come again."""
_KEPT = 1 << 20
"""Pieces remembered before all are forgotten, so that memory stays flat."""
_BATCH_CHARACTERS = 1 << 18

Numbers = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Pieces:
    """The pieces of one block of text."""

    distinct: list[bytes]
    """Every different piece once, with the space or the line end behind it."""
    indices: Numbers
    """For every piece of the block in order, its place in ``distinct``."""


def find_pieces(block: bytes) -> Pieces:
    """Cut ``block``, which ends with a space or a line end. Releases the interpreter's lock."""
    data = np.frombuffer(block, dtype=np.uint8)
    ends = np.flatnonzero((data == SPACE) | (data == LINE_END))
    offsets = np.zeros(len(ends) + 1, dtype=np.int32)
    np.add(ends, 1, out=offsets[1:], casting="unsafe")
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(block)]
    encoded = pa.BinaryArray.from_buffers(pa.binary(), len(ends), buffers).dictionary_encode()
    return Pieces(encoded.dictionary.to_pylist(), encoded.indices.to_numpy())


@dataclass
class PieceTable:
    """Remembers which numbers the words of a piece have."""

    number: Callable[[str], int]
    """Gives a word's number."""
    line_end: Sequence[int] = ()
    """Numbers that stand for a line end."""
    _rows: dict[bytes, tuple[int, ...]] = field(default_factory=dict)

    def rows(self, distinct: Sequence[bytes]) -> list[tuple[int, ...]]:
        """The numbers of each piece.

        Raises
        ------
        ArtifactError
            If a piece is not UTF-8.
        """
        known = self._rows
        rows = [known.get(piece) for piece in distinct]
        missing = [place for place, row in enumerate(rows) if row is None]
        if len(known) + len(missing) > _KEPT:
            known.clear()
        fresh = self._split([distinct[place] for place in missing])
        for place, row in zip(missing, fresh, strict=True):
            rows[place] = row
            if len(distinct[place]) <= _LONGEST_KEPT:
                known[distinct[place]] = row
        return [row for row in rows if row is not None]

    def _split(self, pieces: Sequence[bytes]) -> list[tuple[int, ...]]:
        rows: list[tuple[int, ...]] = []
        start = size = 0
        for end, piece in enumerate(pieces, start=1):
            size += len(piece)
            if size >= _BATCH_CHARACTERS or end == len(pieces):
                rows += self._split_batch(pieces[start:end])
                start, size = end, 0
        return rows

    def _split_batch(self, pieces: Sequence[bytes]) -> list[tuple[int, ...]]:
        """Split many pieces in one call: a line end between them keeps them apart."""
        try:
            text = b"\n".join(piece[:-1] for piece in pieces).decode("utf-8")
        except UnicodeDecodeError as error:
            raise ArtifactError(f"holds text that is not UTF-8 ({error.reason})") from None
        text = normalise(text)
        breaks = np.flatnonzero(np.array([c == "\n" for c in text], dtype=np.bool_))
        words = splitter().pre_tokenize_str(text)
        starts = np.fromiter((span[0] for _, span in words), dtype=np.int64, count=len(words))
        counts = np.bincount(np.searchsorted(breaks, starts), minlength=len(pieces))
        numbers = [self.number(word) for word, _ in words]
        rows = []
        place = 0
        for piece, count in zip(pieces, counts.tolist(), strict=True):
            row = numbers[place : place + count]
            place += count
            rows.append((*row, *self.line_end) if piece[-1] == LINE_END else tuple(row))
        return rows


def expand(rows: Sequence[tuple[int, ...]], indices: Numbers) -> Numbers:
    """The numbers of all pieces in order: ``rows[indices[0]]``, ``rows[indices[1]]`` ... joined."""
    lengths = np.fromiter(map(len, rows), dtype=np.int32, count=len(rows))
    flat = np.fromiter((n for row in rows for n in row), dtype=np.int32, count=int(lengths.sum()))
    starts = np.cumsum(lengths) - lengths
    repeated = lengths[indices]
    ends = np.cumsum(repeated)
    # Position k of the output lies in piece i and is its (k - ends[i] + repeated[i])-th number.
    shifts = np.repeat(starts[indices] - (ends - repeated), repeated)
    return flat[shifts + np.arange(len(shifts))]
