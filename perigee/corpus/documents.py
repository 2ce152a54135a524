"""Documents, one a line, with an index and a manifest beside them: what every corpus is.

``x.train.raw`` holds one document a line (see :mod:`perigee.corpus.cleaning`);
``x.train.index.parquet`` says for every line where it comes from; ``x.train.manifest.json`` says
from which inputs, with which settings and with which losses both were made.
"""

from __future__ import annotations

import errno
import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from perigee.corpus.cleaning import clean
from perigee.corpus.duplicates import SeenTexts
from perigee.errors import ArtifactError
from perigee.files import atomic_file, exclusive_lock, remove_partials
from perigee.manifest import (
    Built,
    FileRecord,
    Input,
    Manifest,
    current_manifest,
    recipe,
    record_file,
    write_manifest,
)
from perigee.observer import Observer

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
_INDEX_ROWS = 4096
_FORBIDDEN = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST)
_WRITE_BYTES = 1 << 20
_WORDS = 6  # place of the words in a row of the index without its line


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

    line: bytes
    """UTF-8 without line ends."""
    words: int
    """Runs of anything but white space."""
    digest: bytes
    """SHA-256 of ``line``."""
    origin: Origin


def prepare(data: bytes, origin: Origin) -> Document | None:
    """The document in ``data`` (valid UTF-8), or ``None`` if nothing is left after cleaning."""
    line, words = clean(data)
    if not line:
        return None
    return Document(line, words, hashlib.sha256(line).digest(), origin)


class SplitWriter:
    """Writes documents and their index; made by :func:`open_split`.

    Hashing and writing are done in a thread of their own, a block behind: both leave the
    interpreter's lock, and take as long as cleaning.
    """

    def __init__(self, raw: Path, file: BinaryIO, index: pq.ParquetWriter, pool: Executor) -> None:
        self.raw = raw
        self.documents = 0
        self.words = 0
        self.size = 0
        self.dropped: Counter[str] = Counter()
        self._file = file
        self._index = index
        self._pool = pool
        self._hash = hashlib.sha256()
        self._lines: list[bytes] = []
        self._held = 0
        self._rows: list[tuple[Any, ...]] = []
        self._pending: Future[None] | None = None

    def add(self, document: Document) -> None:
        """Append ``document``.

        Raises
        ------
        ArtifactError
            If the disk is full.
        """
        line, words, digest, origin = document
        self.append(line, (*origin, words, len(line), digest.hex()))

    def append(self, line: bytes, row: tuple[Any, ...]) -> None:
        """Append a clean ``line`` whose index ``row`` is known (all columns but ``line``)."""
        self._lines.append(line)
        self._rows.append((self.documents, *row))
        self.documents += 1
        self.words += row[_WORDS]
        self.size += len(line) + 1
        self._held += len(line) + 1
        if self._held >= _WRITE_BYTES:
            self._flush_lines()
        if len(self._rows) >= _INDEX_ROWS:
            self._flush_index()

    def finish(self) -> None:
        """Write what is kept back."""
        self._flush_lines()
        self._wait()
        self._flush_index()

    def raw_record(self) -> FileRecord:
        """Name, size and hash of what was written to ``raw``."""
        return FileRecord(self.raw.name, self.size, self._hash.hexdigest())

    def _flush_lines(self) -> None:
        if not self._lines:
            return
        self._lines.append(b"")
        block = b"\n".join(self._lines)
        self._lines.clear()
        self._held = 0
        self._wait()
        self._pending = self._pool.submit(self._put, block)

    def _put(self, block: bytes) -> None:
        self._hash.update(block)
        self._file.write(block)

    def _wait(self) -> None:
        if self._pending is not None:
            self._pending.result()
            self._pending = None

    def _flush_index(self) -> None:
        if self._rows:
            columns = [list(column) for column in zip(*self._rows, strict=True)]
            self._index.write_table(pa.table(columns, schema=INDEX_SCHEMA))
            self._rows.clear()


@contextmanager
def open_split(raw: Path) -> Iterator[SplitWriter]:
    """A writer whose files take their places when the block ends well, and vanish otherwise.

    Raises
    ------
    ArtifactError
        If the disk is full or the directory cannot be written.
    """
    paths = raw_paths(raw)
    with (
        storage_errors(raw),
        atomic_file(paths.index) as index_aside,
        atomic_file(paths.raw) as raw_aside,
        raw_aside.open("wb") as file,
        pq.ParquetWriter(index_aside, INDEX_SCHEMA, compression="zstd") as index,
        ThreadPoolExecutor(1) as pool,
    ):
        writer = SplitWriter(raw, file, index, pool)
        yield writer
        writer.finish()


@contextmanager
def output_lock(path: Path, what: str) -> Iterator[None]:
    """Hold the lock ``path`` on an output, whose directory is made, and cleared of leftovers.

    Raises
    ------
    ArtifactError
        If the directory cannot be written.
    BusyError
        If another process holds the lock.
    """
    with storage_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    with exclusive_lock(path, what=what):
        remove_partials(path.parent)
        yield


@contextmanager
def storage_errors(place: Path) -> Iterator[None]:
    """Turn a full or forbidden disk into one line.

    Raises
    ------
    ArtifactError
        Naming ``place``.
    """
    try:
        yield
    except OSError as error:
        full = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        if error.errno not in (*full, *_FORBIDDEN):
            raise
        remedy = "free some space" if error.errno in full else "choose another directory"
        raise ArtifactError(
            f"cannot be written ({error.strerror})", place=place, remedy=remedy
        ) from None


@dataclass(frozen=True)
class Plan:
    """Everything that decides one split of a corpus, and where it goes."""

    raw: Path
    artifact: str
    stage: str
    code_version: str
    settings: Mapping[str, Any]
    inputs: Sequence[Input]

    def current(self) -> Built | None:
        """The artifact, if it stands there whole and was made just so."""
        path = raw_paths(self.raw).manifest
        wanted = recipe(self.stage, self.code_version, self.settings, self.inputs)
        manifest = current_manifest(path, wanted)
        if manifest is None:
            return None
        return Built(path, manifest, reused=True)

    def commit(self, writer: SplitWriter, counts: Mapping[str, Any]) -> Built:
        """Write the manifest of finished files: the last step, which makes them an artifact."""
        paths = raw_paths(self.raw)
        manifest = Manifest(
            artifact=self.artifact,
            stage=self.stage,
            code_version=self.code_version,
            settings=dict(self.settings),
            inputs=tuple(self.inputs),
            files=(writer.raw_record(), record_file(paths.index, paths.index.parent)),
            counts={
                "documents": writer.documents,
                "words": writer.words,
                "bytes": writer.size,
                **counts,
            },
            dropped=dict(sorted(writer.dropped.items())),
        )
        with storage_errors(paths.manifest):
            write_manifest(paths.manifest, manifest)
        return Built(paths.manifest, manifest, reused=False)


def reuse(plans: Mapping[str, Plan], observer: Observer) -> dict[str, Built]:
    """Those of ``plans`` that are there already; says so if it is all of them."""
    found = {split: built for split, plan in plans.items() if (built := plan.current())}
    if len(found) == len(plans):
        for plan in plans.values():
            observer.say(f"{plan.artifact}: reused, nothing that it is made from has changed")
    return found


def report_shortfall(
    observer: Observer, artifact: str, documents: int, requested: int, why: str
) -> bool:
    """Warn if fewer ``documents`` than ``requested`` (0: all) came out; return whether."""
    short = documents < requested
    if short:
        observer.say(
            f"{artifact}: {documents} documents of the {requested} asked for: {why}", "warning"
        )
    return short


def read_digests(index: Path, seen: SeenTexts) -> None:
    """Add the texts of an index to ``seen``."""
    with pq.ParquetFile(index) as file:
        for batch in file.iter_batches(columns=["sha256"]):
            for value in batch.column(0).to_pylist():
                digest = bytes.fromhex(value)
                if digest not in seen:
                    seen.add(digest)
