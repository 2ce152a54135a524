"""Small sources of the real formats: parquet shards, and a tar of zstd-compressed JSON lines."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import zstandard

PG19_SCHEMA = pa.schema(
    [
        ("short_book_title", pa.string()),
        ("publication_date", pa.int32()),
        ("url", pa.string()),
        ("text", pa.string()),
    ]
)
PREFIXES = {"train": "train", "valid": "validation", "test": "test"}

MakePg19 = Callable[..., Path]
MakeArchive = Callable[..., Path]


def book_row(text: str | None, number: int = 0) -> dict[str, Any]:
    return {
        "short_book_title": f"Book {number}",
        "publication_date": 1800 + number,
        "url": f"http://books.example/{number}",
        "text": text,
    }


def compress(data: bytes) -> bytes:
    """A frame without content size, as the real archive's."""
    compressor = zstandard.ZstdCompressor(write_content_size=False).compressobj()
    return compressor.compress(data) + compressor.flush()


def json_lines(texts: Sequence[Any]) -> bytes:
    """One object a line; what is not a string is written as it is."""
    lines = []
    for number, text in enumerate(texts):
        if isinstance(text, bytes):
            lines.append(text)
            continue
        meta = {"title": f"Page {number}", "url": f"http://pages.example/{number}"}
        lines.append(json.dumps({"text": text, "meta": meta}).encode())
    return b"".join(line + b"\n" for line in lines)


def tar_bytes(members: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, data in members.items():
            header = tarfile.TarInfo(name)
            header.size = len(data)
            tar.addfile(header, io.BytesIO(data))
    return buffer.getvalue()


def documents_of(raw: Path) -> list[str]:
    """The documents of a .raw file."""
    data = raw.read_bytes().decode("utf-8")
    assert data == "" or data.endswith("\n")
    return data.split("\n")[:-1]


def assert_nothing_partial(directory: Path) -> None:
    """No file but finished ones, and the locks."""
    left = [p.name for p in directory.glob(".*") if not p.name.endswith(".lock")]
    assert left == []
