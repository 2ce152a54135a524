"""Documents, one a line, with an index and a manifest beside them: what every corpus is.

``x.train.raw`` holds one document a line (see :mod:`perigee.corpus.cleaning`);
``x.train.index.parquet`` says for every line where it comes from; ``x.train.manifest.json`` says
from which inputs, with which settings and with which losses both were made.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from perigee.corpus.cleaning import Texts, clean_all, join_texts
from perigee.corpus.duplicates import SeenTexts

SPLITS = ("train", "valid", "test")

PRECEDENCE = ("test", "valid", "train")
"""A text that several splits hold stays in the first of these, and is dropped from the others."""

INDEX_SCHEMA = pa.schema(
    [
        ("line", pa.int64()),
        ("source", pa.string()),
        ("shard", pa.string()),
        ("row", pa.int64()),
        ("title", pa.string()),
        ("url", pa.string()),
        ("date", pa.string()),
        ("words", pa.int64()),
        ("bytes", pa.int64()),
        ("sha256", pa.string()),
    ]
)


@dataclass(frozen=True)
class Limits:
    """Documents asked for, by split; 0 means all there are."""

    train: int
    valid: int
    test: int

    def of(self, split: str) -> int:
        """The limit of ``split``."""
        return {"train": self.train, "valid": self.valid, "test": self.test}[split]


@dataclass(frozen=True)
class RawPaths:
    """The three files of one split of a corpus."""

    raw: Path
    index: Path
    manifest: Path


def raw_paths(raw: Path) -> RawPaths:
    """The index and the manifest that belong to ``raw``."""
    stem = raw.name.removesuffix(".raw")
    return RawPaths(
        raw, raw.with_name(f"{stem}.index.parquet"), raw.with_name(f"{stem}.manifest.json")
    )


class Origin(NamedTuple):
    """Where a document stands in its source; a tuple, because millions are made."""

    source: str
    """pg19 or openwebtext2."""
    shard: str
    """File name of the parquet shard, or name of the archive's member."""
    row: int
    """Row in the shard, or line in the member, from 0."""
    title: str = ""
    url: str = ""
    date: str = ""


class Document(NamedTuple):
    """A clean document."""

    line: bytes | memoryview
    """UTF-8 without line ends; mostly a view of its block, copied only to be written."""
    words: int
    """Runs of anything but white space."""
    digest: bytes
    """SHA-256 of ``line``."""
    origin: Origin


def prepare_all(texts: Texts, origins: Sequence[Origin]) -> list[Document | str]:
    """The document in every text, or ``empty`` if nothing is left after cleaning."""
    lines, words = clean_all(texts)
    return [
        Document(line, count, hashlib.sha256(line).digest(), origin) if count else "empty"
        for line, count, origin in zip(lines, words, origins, strict=True)
    ]


def prepare(data: bytes, origin: Origin) -> Document | None:
    """The document in ``data`` (valid UTF-8), or ``None`` if nothing is left after cleaning."""
    document = prepare_all(join_texts([data]), [origin])[0]
    return None if isinstance(document, str) else document


def read_digests(index: Path, seen: SeenTexts) -> None:
    """Add the texts of an index to ``seen``."""
    with pq.ParquetFile(index) as file:
        for batch in file.iter_batches(columns=["sha256"]):
            for value in batch.column(0).to_pylist():
                digest = bytes.fromhex(value)
                if digest not in seen:
                    seen.add(digest)
