"""Fixtures that write sources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from corpus_sources import (
    PG19_SCHEMA,
    PREFIXES,
    MakeArchive,
    MakePg19,
    book_row,
    compress,
    json_lines,
    tar_bytes,
)


@pytest.fixture
def make_pg19(tmp_path: Path) -> MakePg19:
    """Write shards: texts by split, a list a shard."""

    def make(name: str = "pg19", **texts: Sequence[Sequence[str | None]]) -> Path:
        root = tmp_path / name
        root.mkdir()
        number = 0
        for split, files in texts.items():
            for shard, rows in enumerate(files):
                table = []
                for text in rows:
                    table.append(book_row(text, number))
                    number += 1
                path = root / f"{PREFIXES[split]}-{shard:05d}-of-{len(files):05d}.parquet"
                pq.write_table(
                    pa.Table.from_pylist(table, schema=PG19_SCHEMA), path, row_group_size=2
                )
        return root

    return make


@pytest.fixture
def make_archive(tmp_path: Path) -> MakeArchive:
    """Write an archive: members by name, each as texts (compressed here) or as raw bytes."""

    def make(members: Mapping[str, bytes | Sequence[Any]], name: str = "archive.tar") -> Path:
        whole = {
            member: content if isinstance(content, bytes) else compress(json_lines(content))
            for member, content in members.items()
        }
        path = tmp_path / name
        path.write_bytes(tar_bytes(whole))
        return path

    return make
