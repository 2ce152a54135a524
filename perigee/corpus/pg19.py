"""PG-19: books in parquet shards, read by DuckDB, to one book a line.

The split of a book is its shard's: ``train-*``, ``validation-*``, ``test-*``. Splits are built in
the order test, valid, train, and a text that an earlier one holds is dropped from a later one.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from perigee.corpus.cleaning import clean_label
from perigee.corpus.documents import (
    PRECEDENCE,
    SPLITS,
    Document,
    Limits,
    Origin,
    Plan,
    SplitWriter,
    open_split,
    output_lock,
    prepare,
    raw_paths,
    read_digests,
    report_shortfall,
    reuse,
)
from perigee.corpus.duplicates import SeenTexts
from perigee.errors import Interrupted, SourceError
from perigee.files import sha256_file
from perigee.manifest import Built, Input
from perigee.observer import SILENT, Observer
from perigee.randomness import generator

SOURCE = "pg19"
STAGE = "corpus.pg19"
CODE_VERSION = "1"
Sampling = Literal["first", "random"]
Rows = npt.NDArray[np.int64]

SHARD_PREFIXES = {"train": "train", "valid": "validation", "test": "test"}
_LABELS = ("short_book_title", "url", "publication_date")
_QUERY = """
    SELECT file_row_number, text, short_book_title, url, publication_date
    FROM read_parquet($shard, file_row_number = true)
"""
# No WHERE: with one, DuckDB 2.0 on several threads gives the rows out of order in 3 runs of 4,
# though preserve_insertion_order is set. Without, it keeps their order; _books makes sure.
_BATCH_BOOKS = 16  # 6 MB of text
_LARGE_ROW_GROUP = 128 << 20
_OF = re.compile(r"-(\d+)-of-(\d+)")


def build_pg19(
    root: Path,
    directory: Path,
    limits: Limits,
    *,
    sampling: Sampling = "first",
    seed: int = 0,
    fresh: bool = False,
    observer: Observer = SILENT,
) -> dict[str, Built]:
    """Write ``<directory>/pg19.{train,valid,test}.raw`` with their indices and manifests.

    Parameters
    ----------
    root:
        Directory of the parquet shards.
    sampling:
        ``first``: the first books of a split, in the order of shards and rows; ``random``: a
        choice among all of its books, decided by ``seed``, in that same order.
    fresh:
        Build even what is there already.

    Raises
    ------
    SourceError
        If the root or a split's shards are missing, or a shard cannot be read. Files of an
        earlier build stay as they were.
    BusyError
        If another process builds the same files.
    """
    root, directory = Path(root), Path(directory)
    inputs = pg19_inputs(root)
    with output_lock(directory / ".pg19.lock", f"the PG-19 corpus in {directory}"):
        seen = SeenTexts()
        built = {}
        for split in PRECEDENCE:
            order = _Order(split, limits.of(split), sampling, seed)
            plan = _plan(directory, limits, order, inputs)
            built[split] = _build_split(root, plan, order, seen, fresh=fresh, observer=observer)
    return {split: built[split] for split in SPLITS}


@dataclass(frozen=True)
class _Order:
    """What is asked of one split."""

    split: str
    limit: int
    sampling: Sampling
    seed: int


def pg19_inputs(root: Path) -> tuple[Input, ...]:
    """Every shard under ``root`` with its SHA-256, bytes and rows.

    Raises
    ------
    SourceError
        If the root does not exist, a split has no shard, or a shard is not parquet.
    """
    return tuple(
        Input(shard.name, sha256_file(shard), details=_details(shard))
        for split in SPLITS
        for shard in shards(root, split)
    )


def shards(root: Path, split: str) -> list[Path]:
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


def _details(shard: Path) -> dict[str, int]:
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


def _plan(directory: Path, limits: Limits, order: _Order, inputs: Sequence[Input]) -> Plan:
    """A split depends on its own shards and on the splits that take precedence over it."""
    before = PRECEDENCE[: PRECEDENCE.index(order.split) + 1]
    prefixes = tuple(f"{SHARD_PREFIXES[split]}-" for split in before)
    settings: dict[str, Any] = {
        "split": order.split,
        "limits": {split: limits.of(split) for split in before},
        "sampling": order.sampling,
    }
    if order.sampling == "random":
        settings["seed"] = order.seed
    return Plan(
        raw=directory / f"pg19.{order.split}.raw",
        artifact=f"pg19.{order.split}.raw",
        stage=STAGE,
        code_version=CODE_VERSION,
        settings=settings,
        inputs=[item for item in inputs if item.name.startswith(prefixes)],
    )


def _build_split(
    root: Path, plan: Plan, order: _Order, seen: SeenTexts, *, fresh: bool, observer: Observer
) -> Built:
    paths = raw_paths(plan.raw)
    if not fresh and (reused := reuse({order.split: plan}, observer)):
        read_digests(paths.index, seen)
        return reused[order.split]
    files = shards(root, order.split)
    _warn_of_missing(files, observer)
    rows = _rows_of(files, plan.inputs)
    writer = _write_split(plan, files, rows, order, seen, observer)
    read_digests(paths.index, seen)
    short = report_shortfall(
        observer, plan.artifact, writer.documents, order.limit, "the shards hold no more"
    )
    counts = {"requested": order.limit or "all", "available": sum(rows), "complete": not short}
    return plan.commit(writer, counts)


class _TooFewError(Exception):
    """A random choice lost books to the rules while others were left to choose."""


def _write_split(
    plan: Plan,
    files: Sequence[Path],
    rows: Sequence[int],
    order: _Order,
    seen: SeenTexts,
    observer: Observer,
) -> SplitWriter:
    spare = 0
    while True:
        chosen = _choose(order, rows, spare)
        try:
            with open_split(plan.raw) as writer:
                _write(writer, files, chosen, order, seen, observer)
                lost = order.limit - writer.documents
                if order.sampling == "random" and lost > 0 and order.limit + spare < sum(rows):
                    raise _TooFewError
            return writer
        except _TooFewError:
            spare += lost


def _write(
    writer: SplitWriter,
    files: Sequence[Path],
    chosen: Sequence[Rows | None],
    order: _Order,
    seen: SeenTexts,
    observer: Observer,
) -> None:
    """Write the books of ``files`` that are not dropped, up to the limit."""
    here = SeenTexts()
    for shard, rows in zip(files, chosen, strict=True):
        for document in _books(shard, rows):
            if observer.should_stop():
                raise Interrupted("stopped as asked", place=writer.raw, remedy="run it again")
            if isinstance(document, str):
                writer.dropped[document] += 1
            elif document.digest in here or document.digest in seen:
                writer.dropped["duplicate"] += 1
            else:
                here.add(document.digest)
                writer.add(document)
                observer.progress(writer.raw.name, writer.documents, order.limit or None, "books")
            if writer.documents == order.limit > 0:
                return


def _choose(order: _Order, rows: Sequence[int], spare: int) -> list[Rows | None]:
    """Rows to read of each shard; ``None`` for all of them."""
    total = sum(rows)
    if order.sampling == "first" or not 0 < order.limit + spare < total:
        return [None] * len(rows)
    permutation = generator(order.seed, f"pg19.{order.split}").permutation(total)
    chosen = np.sort(permutation[: order.limit + spare])
    ends = np.cumsum(rows)
    return [
        chosen[(chosen >= end - count) & (chosen < end)] - (end - count)
        for end, count in zip(ends, rows, strict=True)
    ]


def _books(shard: Path, rows: Rows | None) -> Iterator[Document | str]:
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
        # Every thread holds a whole row group: 400 MB in PG-19's own shards.
        connection.execute("SET threads = 1")
    relation = connection.sql(_QUERY, params={"shard": _literal(shard)})
    yield from relation.to_arrow_reader(_BATCH_BOOKS)


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


def _rows_of(files: Sequence[Path], inputs: Sequence[Input]) -> list[int]:
    rows = {item.name: int(item.details["rows"]) for item in inputs}
    return [rows[file.name] for file in files]


def _warn_of_missing(files: Sequence[Path], observer: Observer) -> None:
    """Say so if the shards' own numbering tells that some are not here."""
    matches = [match for file in files if (match := _OF.search(file.name))]
    if len(matches) == len(files):
        total = int(matches[0][2])
        if len(files) < total:
            observer.say(
                f"{files[0].parent}: {len(files)} of the {total} shards like {files[0].name}",
                "warning",
            )
