"""Corpora of a few lines, in the form of real ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from perigee.corpus.documents import SPLITS, Origin, prepare
from perigee.corpus.plan import Plan
from perigee.corpus.writing import open_split
from perigee.manifest import Built
from perigee.settings import Settings


def write_corpus(
    raw: Path, documents: Sequence[tuple[str, str]], requested: int | str = "all"
) -> Built:
    """Write (source, text) pairs as documents with index and manifest."""
    with open_split(raw) as writer:
        for row, (source, text) in enumerate(documents):
            document = prepare(text.encode(), Origin(source, "shard", row))
            assert document is not None
            writer.add(document)
    return Plan(raw, raw.name, "test", "1", {}, ()).commit(writer, {"requested": requested})


def write_corpora(settings: Settings, documents: int = 2) -> dict[str, dict[str, Built]]:
    """Write both corpora and the unified one, ``documents`` of each source in each split."""
    built: dict[str, dict[str, Built]] = {"pg19": {}, "openwebtext2": {}, "unified": {}}
    for split in SPLITS:
        books = [("pg19", f"{split} book {i} of words") for i in range(documents)]
        pages = [("openwebtext2", f"{split} page {i} of words") for i in range(documents)]
        both = [document for pair in zip(books, pages, strict=True) for document in pair]
        for corpus, texts in (("pg19", books), ("openwebtext2", pages), ("unified", both)):
            raw = settings.raw_path(corpus, split)
            built[corpus][split] = write_corpus(raw, texts, len(texts))
    return built
