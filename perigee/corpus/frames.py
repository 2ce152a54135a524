"""Lines out of zstd frames that nobody vouches for, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

import numpy as np
import zstandard

from perigee.corpus.scratch import places_of

_COMPRESSED = 1 << 12  # 4 KiB cannot become more than 128 MiB: a zstd block of 4 bytes is 128 KiB
_READ = 1 << 16
_BLOCK = 1 << 18
_LARGEST_BLOCK = 1 << 20
_GROWTH = 8
_LINE_END = 0x0A


@dataclass(frozen=True)
class ContentLimits:
    """What a member may ask of this machine."""

    line_bytes: int = 1 << 25
    """Longest JSON line; longer ones are dropped (``line_too_long``) without being held."""
    expansion: int = 200
    """Largest ratio of decompressed to compressed bytes of a member, beyond ``free_bytes``."""
    free_bytes: int = 1 << 24
    """Decompressed bytes for which the ratio is not looked at."""


class MemberError(Exception):
    """The rest of a member is lost; its argument is the reason."""


class LineBlock(NamedTuple):
    """Whole lines of a member, or one that is too long."""

    row: int
    """Number of the first of them, from 0."""
    data: bytes | None
    """Each with its end, but perhaps the member's last; ``None`` for one that is too long."""


def read_blocks(file: BinaryIO, limits: ContentLimits) -> Iterator[LineBlock]:
    """The lines of a member in order, in blocks of 256 KiB at first, of 1 MiB later.

    A line that is longer than allowed stands alone, or, if a block holds the whole of it, may
    stand among the others. A last line without an end counts, unless the member breaks off there.

    Raises
    ------
    MemberError
        After the last line that could be read, if the member is damaged or expands without end.
    """
    return _whole_lines(_blocks(file, limits), limits.line_bytes)


def _blocks(file: BinaryIO, limits: ContentLimits) -> Iterator[bytes]:
    """Decompressed bytes of a member's frames, in pieces that grow with what was read."""
    decompressor = zstandard.ZstdDecompressor()
    frame, consumed, produced = None, 0, 0
    pieces: list[bytes] = []
    held, wanted = 0, _BLOCK
    damaged = ""
    for data in _small(file):
        consumed += len(data)
        while len(data):
            frame = frame or decompressor.decompressobj()
            try:
                piece = frame.decompress(data)
            except zstandard.ZstdError:
                damaged = "corrupt_frame"
                break
            pieces.append(piece)
            held += len(piece)
            if not frame.eof:
                break
            data, frame = memoryview(frame.unused_data), None
        if damaged:
            break
        if produced + held > limits.free_bytes + limits.expansion * consumed:
            damaged = "expands_without_end"
            break
        if held >= wanted:
            produced += held
            wanted = min(max(produced // _GROWTH, _BLOCK), _LARGEST_BLOCK)
            yield from _cut(b"".join(pieces))
            pieces, held = [], 0
    if damaged != "expands_without_end":
        yield from _cut(b"".join(pieces))
    if damaged or frame is not None:
        raise MemberError(damaged or "corrupt_frame")


def _small(file: BinaryIO) -> Iterator[memoryview]:
    while data := file.read(_READ):
        view = memoryview(data)
        for start in range(0, len(data), _COMPRESSED):
            yield view[start : start + _COMPRESSED]


def _cut(data: bytes) -> Iterator[bytes]:
    for start in range(0, len(data), 2 * _LARGEST_BLOCK):
        yield data[start : start + 2 * _LARGEST_BLOCK]


def _whole_lines(blocks: Iterator[bytes], longest: int) -> Iterator[LineBlock]:
    row, held, size = 0, list[bytes](), 0
    for block in blocks:
        begin, end = 0, block.rfind(b"\n") + 1
        if end and size:
            # The line that earlier blocks began ends here.
            begin = block.index(b"\n") + 1
            size += begin - 1
            if size <= longest:
                begin = 0
            else:
                yield LineBlock(row, None)
                row += 1
        if end:
            data = b"".join([*held, block[:end]]) if begin == 0 else block[begin:end]
            if data:
                yield LineBlock(row, data)
                row += len(places_of(np.frombuffer(data, np.uint8), _LINE_END))
            held, size = [], 0
        rest = block[end:]
        size += len(rest)
        if size <= longest:
            held.append(rest)
        else:
            held.clear()
    if size:
        yield LineBlock(row, b"".join(held) if size <= longest else None)
