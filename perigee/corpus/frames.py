"""Lines out of zstd frames that nobody vouches for, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import zstandard

_COMPRESSED = 1 << 11  # 2 KiB cannot become more than 64 MiB: a zstd block of 4 bytes is 128 KiB
_BLOCK = 1 << 18


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


def read_lines(file: BinaryIO, limits: ContentLimits) -> Iterator[tuple[int, bytes | None]]:
    """Lines of a member with their numbers from 0; ``None`` for one that is too long.

    A last line without an end counts, unless the member breaks off there.

    Raises
    ------
    MemberError
        After the last line that could be read, if the member is damaged or expands without end.
    """
    return _lines(_blocks(file, limits), limits.line_bytes)


def _blocks(file: BinaryIO, limits: ContentLimits) -> Iterator[bytes]:
    """Decompressed bytes of a member's frames, in pieces of about 256 KiB."""
    decompressor = zstandard.ZstdDecompressor()
    frame, consumed, produced = None, 0, 0
    pieces: list[bytes] = []
    held = 0
    damaged = ""
    while not damaged and (data := file.read(_COMPRESSED)):
        consumed += len(data)
        while data:
            frame = frame or decompressor.decompressobj()
            try:
                piece = frame.decompress(data)
            except zstandard.ZstdError:
                damaged = "corrupt_frame"
                break
            produced += len(piece)
            pieces.append(piece)
            held += len(piece)
            data = frame.unused_data if frame.eof else b""
            frame = None if frame.eof else frame
        if produced > limits.free_bytes + limits.expansion * consumed:
            damaged = "expands_without_end"
        elif held >= _BLOCK:
            yield from _cut(b"".join(pieces))
            pieces, held = [], 0
    if damaged != "expands_without_end":
        yield from _cut(b"".join(pieces))
    if damaged or frame is not None:
        raise MemberError(damaged or "corrupt_frame")


def _cut(data: bytes) -> Iterator[bytes]:
    for start in range(0, len(data), 4 * _BLOCK):
        yield data[start : start + 4 * _BLOCK]


def _lines(blocks: Iterator[bytes], longest: int) -> Iterator[tuple[int, bytes | None]]:
    row, held, size = 0, list[bytes](), 0
    for block in blocks:
        first, *rest = block.split(b"\n")
        size += len(first)
        if size <= longest:
            held.append(first)
        else:
            held.clear()
        if not rest:
            continue
        yield row, b"".join(held) if size <= longest else None
        for line in rest[:-1]:
            row += 1
            yield row, line if len(line) <= longest else None
        row += 1
        held, size = [rest[-1]], len(rest[-1])
    if size:
        yield row, b"".join(held) if size <= longest else None
