"""PG-19's parquet shards: which there are, and their books in order."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from perigee.corpus.cleaning import clean_label
from perigee.corpus.documents import Document, Origin, prepare
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


def read_books(shard: Path, rows: Rows | None) -> Iterator[Document | str]:
    """The books of a shard in order; for one that cannot be kept, the reason.

    Raises
    ------
    SourceError
        If the shard cannot be read to its end.
    """
    wanted = None if rows is None else set(rows.tolist())
    if wanted is not None and not wanted:
        return
    expected = 0
    with contextlib.closing(duckdb.connect()) as connection:
        try:
            for batch in _batches(connection, shard):
                texts = batch.column("text")
                is_large = pa.types.is_large_string(texts.type)
                texts = texts.view(pa.large_binary() if is_large else pa.binary())
                labels = batch.drop_columns(["text"]).to_pylist()
                for text, label in zip(texts, labels, strict=True):
                    assert label["file_row_number"] == expected, "DuckDB gave rows out of order"
                    if wanted is None or expected in wanted:
                        yield _book(shard, text.as_py(), label)
                    expected += 1
        except (duckdb.Error, pa.ArrowException, OSError) as error:
            raise _unreadable(shard, error) from None


def _book(shard: Path, text: bytes | None, label: dict[str, Any]) -> Document | str:
    if text is None:
        return "no_text"
    year = label["publication_date"]
    origin = Origin(
        SOURCE,
        shard.name,
        label["file_row_number"],
        clean_label(label["short_book_title"]),
        clean_label(label["url"]),
        "" if year is None else clean_label(str(year)),
    )
    return prepare(text, origin) or "empty"


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
        for batch in file.iter_batches(_BATCH_BOOKS, columns=columns, use_threads=False):
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
