"""Small corpora for the tests of the tokenizer."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from perigee.corpus.documents import raw_paths
from perigee.manifest import FileRecord, Manifest, write_manifest

DOCUMENTS = [
    'The cat said: "I don’t know." The cat slept.',
    "A dog, a cat, a _dog_!",
    "Καλημέρα κόσμε — हिन्दी 漢字 don't",
    "the the the the",
    "1,000 cats & 3.5 dogs; the end.",
]


def write_raw(raw: Path, documents: list[str], sources: list[str] | None = None) -> Path:
    """A file of documents; with ``sources``, an index and a manifest too."""
    data = "".join(f"{document}\n" for document in documents).encode()
    raw.parent.mkdir(parents=True, exist_ok=True)
    raw.write_bytes(data)
    if sources is not None:
        paths = raw_paths(raw)
        pq.write_table(
            pa.table({"line": range(len(sources)), "source": pa.array(sources, pa.string())}),
            paths.index,
        )
        record = FileRecord(raw.name, len(data), hashlib.sha256(data).hexdigest())
        manifest = Manifest("unified.train.raw", "test", "1", {}, (), (record,), {})
        write_manifest(paths.manifest, manifest)
    return raw
