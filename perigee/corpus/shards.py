"""PG-19's parquet shards: which there are, and their books in order."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from perigee.corpus.ahead import in_order
from perigee.corpus.cleaning import clean_label, groups_of
from perigee.corpus.documents import Document, Origin, prepare_all
from perigee.errors import SourceError
from perigee.manifest import Input
from perigee.observer import Observer

_QUERY = """
    SELECT file_row_number, text, short_book_title, url, publication_date
    FROM read_parquet($shard, file_row_number = true)
"""
# No WHERE: with one, DuckDB 2.0 on several threads gives the rows out of order in 3 runs of 4,
# though preserve_insertion_order is set. Without, it keeps their order; read_books makes sure.
_LABELS = ("short_book_title", "url", "publication_date")
_BATCH_BOOKS = 16  # 6 MB of text
_BATCH_OF_PAGE = 4
_AHEAD = 1.0
_LARGE_ROW_GROUP = 128 << 20
_READ_BUFFER = 1 << 20
_OF = re.compile(r"-(\d+)-of-(\d+)")
SHARD_PREFIXES = {"train": "train", "valid": "validation", "test": "test"}
Rows = npt.NDArray[np.int64]
SOURCE = "pg19"


def find_shards(root: Path, split: str) -> list[Path]:
    """The shards of ``split`` under ``root``, in the order of their names.

    Raises
    ------
    SourceError
        If there is none.
    """
    if not root.is_dir():
        raise SourceError(
            "no such directory",
            place=root,
            expected="the directory of the PG-19 parquet shards",
            remedy="set [data] pg19_root, --root or PERIGEE_PG19_ROOT",
        )
    pattern = f"{SHARD_PREFIXES[split]}-*.parquet"
    found = sorted(path for path in root.glob(pattern) if path.is_file())
    if not found:
        raise SourceError(
            f"holds no {pattern}", place=root, expected="the directory of the PG-19 parquet shards"
        )
    return found


def describe(shard: Path) -> dict[str, int]:
    """Its bytes and rows.

    Raises
    ------
    SourceError
        If it is not parquet.
    """
    try:
        rows = pq.read_metadata(shard).num_rows
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(shard, error) from None
    return {"bytes": shard.stat().st_size, "rows": rows}


def _unreadable(shard: Path, error: Exception) -> SourceError:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return SourceError(
        f"cannot be read as parquet ({reason})",
        place=shard,
        remedy="the file is cut short or damaged: fetch it again",
    )


class _Job(NamedTuple):
    """Consecutive rows of a shard."""

    shard: str
    batch: pa.RecordBatch
    first: int
    """Row of the first of them."""
    wanted: Rows | None
    """Which of them, from 0; ``None`` for all."""


def read_books(shards: Sequence[Path], wanted: Sequence[Rows | None]) -> Iterator[Document | str]:
    """The books of the shards in order; for one that cannot be kept, the reason.

    Parameters
    ----------
    wanted:
        Rows of each shard, ascending; ``None`` for all of them.

    Raises
    ------
    SourceError
        If a shard cannot be read to its end.
    """
    with contextlib.closing(duckdb.connect()) as connection:
        for books in in_order(_books, _jobs(connection, shards, wanted), _AHEAD):
            yield from books


def _jobs(
    connection: duckdb.DuckDBPyConnection, shards: Sequence[Path], wanted: Sequence[Rows | None]
) -> Iterator[_Job]:
    for shard, rows in zip(shards, wanted, strict=True):
        if rows is not None and not len(rows):
            continue
        first = 0
        try:
            for batch in _batches(connection, shard):
                if rows is None:
                    yield _Job(shard.name, batch, first, None)
                else:
                    begin, end = np.searchsorted(rows, [first, first + len(batch)])
                    yield _Job(shard.name, batch, first, rows[begin:end] - first)
                first += len(batch)
        except (duckdb.Error, pa.ArrowException, OSError) as error:
            raise _unreadable(shard, error) from None


def _books(job: _Job) -> list[Document | str]:
    """The books of a job, or why they cannot be kept."""
    numbers = job.batch.column("file_row_number").to_numpy()
    expected = np.arange(job.first, job.first + len(numbers))
    assert np.array_equal(numbers, expected), "DuckDB gave rows out of order"
    batch = job.batch if job.wanted is None else job.batch.take(pa.array(job.wanted))
    text = batch.column("text")
    origins = [_origin(job.shard, label) for label in batch.drop_columns(["text"]).to_pylist()]
    books: list[Document | str] = []
    for first, texts in groups_of(text):
        books += prepare_all(texts, origins[first : first + len(texts.ends) - 1])
    for place in np.flatnonzero(text.is_null().to_numpy(zero_copy_only=False)).tolist():
        books[place] = "no_text"
    return books


def _origin(shard: str, label: dict[str, Any]) -> Origin:
    year = label["publication_date"]
    return Origin(
        SOURCE,
        shard,
        label["file_row_number"],
        clean_label(label["short_book_title"]),
        clean_label(label["url"]),
        "" if year is None else clean_label(str(year)),
    )


def _batches(connection: duckdb.DuckDBPyConnection, shard: Path) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(shard) as file:
        schema, groups = file.schema_arrow, file.metadata
        largest = _largest_text_group(groups)
    for name in ("text", *_LABELS):
        if name not in schema.names:
            raise SourceError(f"has no column {name!r}", place=shard, expected="PG-19's columns")
    if not _is_text(schema.field("text").type):
        raise SourceError(
            f"column 'text' is {schema.field('text').type}", place=shard, expected="strings"
        )
    if largest > _LARGE_ROW_GROUP:
        yield from _batches_by_page(shard)
        return
    relation = connection.sql(_QUERY, params={"shard": _literal(shard)})
    yield from relation.to_arrow_reader(_BATCH_BOOKS)


def _batches_by_page(shard: Path) -> Iterator[pa.RecordBatch]:
    """What DuckDB would give, for shards like PG-19's own: a page of 400 MB a row group.

    DuckDB holds a page decompressed and once more as strings: 1,420 MiB at the peak on such a
    shard of 930 MB, on one thread. Arrow's reader decodes a few rows of it at a time.
    """
    first = 0
    with pq.ParquetFile(shard, buffer_size=_READ_BUFFER, pre_buffer=False) as file:
        columns = ["text", *_LABELS]
        for batch in file.iter_batches(_BATCH_OF_PAGE, columns=columns, use_threads=False):
            # DuckDB refuses what is not UTF-8; Arrow has to be asked to.
            batch.column("text").validate(full=True)
            rows = pa.array(range(first, first + batch.num_rows), pa.int64())
            yield batch.append_column("file_row_number", rows)
            first += batch.num_rows


def _literal(path: Path) -> str:
    """A path that DuckDB takes as it is, though it holds characters of a pattern."""
    return re.sub(r"([*?\[])", r"[\1]", str(path))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _largest_text_group(metadata: pq.FileMetaData) -> int:
    """Uncompressed bytes of the text column in the largest row group."""
    sizes = [0]
    for group in range(metadata.num_row_groups):
        columns = metadata.row_group(group)
        for number in range(columns.num_columns):
            column = columns.column(number)
            if column.path_in_schema == "text":
                sizes.append(column.total_uncompressed_size)
    return max(sizes)


def rows_of(files: Sequence[Path], inputs: Sequence[Input]) -> list[int]:
    """Rows of each file, as its input's details say."""
    rows = {item.name: int(item.details["rows"]) for item in inputs}
    return [rows[file.name] for file in files]


def warn_of_missing(files: Sequence[Path], observer: Observer) -> None:
    """Say so if the shards' own numbering tells that some are not here."""
    matches = [match for file in files if (match := _OF.search(file.name))]
    if len(matches) == len(files):
        total = int(matches[0][2])
        if len(files) < total:
            observer.say(
                f"{files[0].parent}: {len(files)} of the {total} shards like {files[0].name}",
                "warning",
            )
