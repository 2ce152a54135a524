"""From a window back to the documents that its words came from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from perigee.corpus.documents import raw_paths
from perigee.tokenizer.windows import Windows


def documents_of(windows: Windows, rows: Sequence[int], raw: Path) -> list[str]:
    """The documents of some windows, each as ``source line: title``; without index, lines only.

    Parameters
    ----------
    windows:
        Windows made from ``raw``.
    rows:
        Numbers of windows.
    raw:
        The documents; their index stands beside them.
    """
    lines: set[int] = set()
    for row in rows:
        first, last = int(windows.first_document[row]), int(windows.last_document[row])
        lines.update(range(first, last + 1))
    wanted = sorted(lines)
    try:
        index = pq.read_table(
            raw_paths(raw).index, columns=["line", "source", "title", "url"], memory_map=True
        )
    except (OSError, pa.ArrowException):
        return [f"{raw.name} line {line}" for line in wanted]
    keep = np.isin(index["line"].to_numpy(), np.array(wanted))
    return [
        f"{entry['source']} line {entry['line']}: {entry['title'] or entry['url'] or 'no title'}"
        for entry in index.filter(pa.array(keep)).to_pylist()
    ]
