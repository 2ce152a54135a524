"""Writing a split of a corpus: both files or neither, and one process at a time."""

from __future__ import annotations

import errno
import hashlib
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from perigee.corpus.documents import INDEX_SCHEMA, Document, raw_paths
from perigee.errors import ArtifactError
from perigee.files import atomic_file, exclusive_lock, remove_partials
from perigee.manifest import FileRecord

_INDEX_ROWS = 4096
_WRITE_BYTES = 1 << 20
_MOST_PENDING = 8  # blocks: as many as one batch of books fills
_WORDS = 6  # place of the words in a row of the index without its line
_FORBIDDEN = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST)


class SplitWriter:
    """Writes documents and their index; made by :func:`open_split`.

    Hashing and writing are done in a thread of their own, a few blocks behind: both leave the
    interpreter's lock, and take half as long as cleaning.
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
        self._lines: list[bytes | memoryview] = []
        self._held = 0
        self._rows: list[tuple[Any, ...]] = []
        self._pending: deque[Future[None]] = deque()

    def add(self, document: Document) -> None:
        """Append ``document``.

        Raises
        ------
        ArtifactError
            If the disk is full.
        """
        line, words, digest, origin = document
        self.append(line, (*origin, words, len(line), digest.hex()))

    def append(self, line: bytes | memoryview, row: tuple[Any, ...]) -> None:
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
        self._wait(0)
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
        self._wait(_MOST_PENDING - 1)
        self._pending.append(self._pool.submit(self._put, block))

    def _put(self, block: bytes) -> None:
        self._hash.update(block)
        self._file.write(block)

    def _wait(self, most: int) -> None:
        """Until no more than ``most`` blocks are to be written."""
        while len(self._pending) > most:
            self._pending.popleft().result()

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
