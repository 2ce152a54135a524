from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from perigee.training.provenance import documents_of

WINDOWS = SimpleNamespace(first_document=np.array([0, 2, 5]), last_document=np.array([1, 2, 7]))


def test_documents_are_named_by_their_index(tmp_path: Path) -> None:
    lines = list(range(9))
    columns = {
        "line": lines,
        "source": ["pg19", "openwebtext2"] * 4 + ["pg19"],
        "title": ["Emma" if n == 2 else "" for n in lines],
        "url": ["http://x/5" if n == 5 else "" for n in lines],
    }
    pq.write_table(pa.table(columns), tmp_path / "unified.train.index.parquet")
    found = documents_of(WINDOWS, [1, 2], tmp_path / "unified.train.raw")
    assert found == [
        "pg19 line 2: Emma",
        "openwebtext2 line 5: http://x/5",
        "pg19 line 6: no title",
        "openwebtext2 line 7: no title",
    ]


def test_without_an_index_lines_are_named(tmp_path: Path) -> None:
    found = documents_of(WINDOWS, [0], tmp_path / "unified.train.raw")
    assert found == ["unified.train.raw line 0", "unified.train.raw line 1"]
