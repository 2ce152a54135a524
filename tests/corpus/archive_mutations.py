"""Archives damaged at random, each a function of its seed, and what reading them must give."""

from __future__ import annotations

import io
import random
from pathlib import Path

import zstandard
from corpus_sources import json_lines, tar_bytes

from perigee.corpus.bytestream import FileStream
from perigee.corpus.frames import ContentLimits
from perigee.corpus.members import Lost, read_documents
from perigee.errors import SourceError
from perigee.observer import SILENT

TEXTS = [f"document {n} of member {n % 3} " + "word " * (n % 17) for n in range(60)]
LIMITS = ContentLimits(line_bytes=100_000, free_bytes=1 << 20)


def whole_archive() -> bytes:
    """Three members whose frames hold checksums; the second has two frames."""
    compressor = zstandard.ZstdCompressor(write_checksum=True)
    members = {}
    for number in range(3):
        lines = json_lines(TEXTS[number::3])
        cut = len(lines) // 2 if number == 1 else len(lines)
        members[f"2005-{number + 1:02d}.jsonl.zst"] = b"".join(
            compressor.compress(part) for part in (lines[:cut], lines[cut:]) if part
        )
    return tar_bytes(members)


def mutate(data: bytes, seed: int) -> bytes:
    """One to four of: bytes flipped, a piece cut out, repeated, zeroed, or the end cut off."""
    numbers = random.Random(seed)
    damaged = bytearray(data)
    for _ in range(numbers.randint(1, 4)):
        start = numbers.randrange(len(damaged))
        # Whole tar blocks now and then: they leave a valid archive of other members.
        size = numbers.choice([1, numbers.randint(1, 64), 512, 512 * numbers.randint(1, 4)])
        if size % 512 == 0 and numbers.random() < 0.5:
            start -= start % 512
        end = min(start + size, len(damaged))
        match numbers.randrange(5):
            case 0:
                for place in range(start, end):
                    damaged[place] ^= numbers.randrange(1, 256)
            case 1:
                del damaged[start:end]
            case 2:
                damaged[start:start] = damaged[start:end] * numbers.randint(1, 3)
            case 3:
                damaged[start:end] = bytes(end - start)
            case _:
                del damaged[max(start, 1) :]
        if not damaged:
            return b""
    return bytes(damaged)


def outcome(data: bytes, tmp_name: str = "archive") -> tuple[str, list[str]]:
    """``error``, ``damaged`` (said to be incomplete) or ``whole``; and the documents."""
    lost = Lost()
    stream = FileStream(Path(tmp_name), io.BytesIO(data))
    try:
        documents = list(read_documents(stream, tmp_name, lost, LIMITS, SILENT))
    except SourceError:
        return "error", []
    texts = [bytes(document.line).decode() for document in documents]
    return ("damaged" if lost.members else "whole"), texts


def claims_too_much(kind: str, texts: list[str]) -> bool:
    """Whether a result passes for whole and is not.

    The one exception: whole members that were cut out, of which nothing in the archive tells.
    """
    if kind != "whole":
        return False
    expected = {text.strip() for text in TEXTS}
    lost = expected - set(texts)
    members = {_member_of(text) for text in lost}
    gone = {text for text in expected if _member_of(text) in members}
    return not set(texts) <= expected or lost != gone


def _member_of(text: str) -> str:
    return text.split("member ")[1].split()[0]
