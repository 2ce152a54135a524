"""PG-19: books in parquet shards, read by DuckDB, to one book a line.

The split of a book is its shard's: ``train-*``, ``validation-*``, ``test-*``. Splits are built in
the order test, valid, train, and a text that an earlier one holds is dropped from a later one.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from perigee.corpus.ahead import worker_count
from perigee.corpus.documents import PRECEDENCE, SPLITS, Limits, raw_paths, read_digests
from perigee.corpus.duplicates import SeenTexts
from perigee.corpus.plan import Plan, report_shortfall, reuse
from perigee.corpus.shards import (
    SHARD_PREFIXES,
    Rows,
    describe,
    find_shards,
    read_books,
    rows_of,
    warn_of_missing,
)
from perigee.corpus.writing import SplitWriter, open_split, output_lock
from perigee.errors import Interrupted
from perigee.files import sha256_file
from perigee.manifest import Built, Input
from perigee.observer import SILENT, Observer
from perigee.randomness import generator

STAGE = "corpus.pg19"
CODE_VERSION = "1"
Sampling = Literal["first", "random"]


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
    shards = [shard for split in SPLITS for shard in find_shards(root, split)]
    details = [describe(shard) for shard in shards]
    with ThreadPoolExecutor(worker_count()) as pool:
        versions = list(pool.map(sha256_file, shards))
    return tuple(
        Input(shard.name, version, details=detail)
        for shard, version, detail in zip(shards, versions, details, strict=True)
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
    files = find_shards(root, order.split)
    warn_of_missing(files, observer)
    rows = rows_of(files, plan.inputs)
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
    for document in read_books(files, chosen):
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
