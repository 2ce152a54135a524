"""Books and web pages, document by document, to one corpus.

For each split a book, a page, a book, a page ... until one source has no more: half of the
*documents* from each. What the other source has left is the surplus, counted and not used.

This is where texts are compared across sources and splits. The splits are built in the order
test, valid, train, and a text that stands in an earlier one is left out of a later one, so no
text of valid or test is in train, whichever source brought it. Left out first, then alternated:
the halves stay equal. So is, if asked for, a text that is nearly the same as an earlier one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow.parquet as pq

from perigee.corpus.documents import (
    INDEX_SCHEMA,
    PRECEDENCE,
    SPLITS,
    RawPaths,
    raw_paths,
    read_digests,
)
from perigee.corpus.duplicates import SeenTexts
from perigee.corpus.near_duplicates import NearDuplicates
from perigee.corpus.plan import Plan, reuse
from perigee.corpus.writing import SplitWriter, open_split, output_lock
from perigee.errors import ArtifactError, Interrupted, SourceError
from perigee.manifest import Built, Input, Manifest, read_manifest, verify_files
from perigee.observer import SILENT, Observer

if TYPE_CHECKING:
    from rensa import RMinHash

STAGE = "corpus.unify"
CODE_VERSION = "1"
SOURCES = ("pg19", "openwebtext2")

_PROGRESS = 64


def build_unified(
    directory: Path,
    *,
    outputs: Mapping[str, Path] | None = None,
    near_duplicates: float = 0.0,
    seed: int = 0,
    fresh: bool = False,
    observer: Observer = SILENT,
) -> dict[str, Built]:
    """Write ``<directory>/unified.{train,valid,test}.raw`` from the two corpora there.

    Parameters
    ----------
    directory:
        Where ``pg19.*.raw`` and ``openwebtext2.*.raw`` are.
    outputs:
        Another file for some of the splits.
    near_duplicates:
        Share of their runs of five words (Jaccard's index, estimated by MinHash) from which on
        two texts are nearly the same, and the later one is left out; 0 for exact duplicates only.
    seed:
        Decides the hash functions of MinHash.
    fresh:
        Build even what is there already.

    Raises
    ------
    ArtifactError
        If a corpus is missing or does not hold what its manifest says.
    SourceError
        If a split would come out empty.
    BusyError
        If another process builds the same files.
    """
    directory = Path(directory)
    raws = {split: directory / f"unified.{split}.raw" for split in SPLITS}
    raws |= {split: Path(path) for split, path in (outputs or {}).items()}
    lock = raws["train"].parent / f".{raws['train'].name}.lock"
    with output_lock(lock, f"the unified corpus {raws['train']}"):
        seen = _Seen(
            SeenTexts(), NearDuplicates(near_duplicates, seed) if near_duplicates else None
        )
        built = {}
        for split in PRECEDENCE:
            plan = _plan(directory, split, raws[split], seen)
            built[split] = _build_split(directory, split, plan, seen, fresh, observer)
    return {split: built[split] for split in SPLITS}


@dataclass(frozen=True)
class _Seen:
    """The texts that are kept already."""

    exact: SeenTexts
    near: NearDuplicates | None

    def read(self, paths: RawPaths) -> None:
        """Add the texts of a split that is built."""
        read_digests(paths.index, self.exact)
        if self.near is not None:
            with paths.raw.open("rb") as raw:
                for line in raw:
                    self.near.add(self.near.sketch(line.removesuffix(b"\n")))


def _plan(directory: Path, split: str, raw: Path, seen: _Seen) -> Plan:
    """A split depends on its own sources and on the splits that take precedence over it."""
    before = PRECEDENCE[: PRECEDENCE.index(split) + 1]
    inputs = []
    for needed in reversed(before):
        for source in SOURCES:
            paths = raw_paths(directory / f"{source}.{needed}.raw")
            manifest = _manifest_of(paths, source)
            relative = os.path.relpath(paths.manifest, raw.parent)
            inputs.append(
                Input(
                    f"{source}.{needed}.raw",
                    manifest.version,
                    manifest=relative,
                    details={"documents": manifest.counts["documents"]},
                )
            )
    settings: dict[str, Any] = {
        "split": split,
        "sources": list(SOURCES),
        "mixture": "documents",
    }
    if seen.near is not None:
        settings["near_duplicates"] = seen.near.recipe()
    return Plan(
        raw=raw,
        artifact=f"unified.{split}.raw",
        stage=STAGE,
        code_version=CODE_VERSION,
        settings=settings,
        inputs=inputs,
    )


def _manifest_of(paths: RawPaths, source: str) -> Manifest:
    if not paths.manifest.exists():
        raise ArtifactError(
            "is not there, or not finished",
            place=paths.raw,
            remedy=f"build it first: perigee corpus {source}",
        )
    return read_manifest(paths.manifest)


def _build_split(
    directory: Path, split: str, plan: Plan, seen: _Seen, fresh: bool, observer: Observer
) -> Built:
    paths = raw_paths(plan.raw)
    if not fresh and (reused := reuse({split: plan}, observer)):
        seen.read(paths)
        return reused[split]
    sources = [_Source.open(directory, name, split) for name in SOURCES]
    with open_split(plan.raw) as writer:
        for documents in _alternate(sources, seen):
            if observer.should_stop():
                raise Interrupted("stopped as asked", place=plan.raw, remedy="run it again")
            for source, document in zip(sources, documents, strict=True):
                writer.append(document.line, document.row)
                source.count(document)
            if writer.documents % _PROGRESS == 0:
                observer.progress(plan.artifact, writer.documents, None, "documents")
        if not writer.documents:
            _refuse_empty(plan, sources)
        for source in sources:
            writer.dropped["duplicate"] += source.duplicates
            writer.dropped["surplus"] += source.surplus
            if seen.near is not None:
                writer.dropped["near_duplicate"] += source.near_duplicates
    observer.progress(plan.artifact, writer.documents, writer.documents, "documents")
    _report(plan, writer, sources, observer)
    counts = {"by_source": {source.name: source.counts(writer) for source in sources}}
    return plan.commit(writer, counts)


class _Line(NamedTuple):
    """A document of a source, with its row of the index."""

    line: bytes
    digest: bytes
    words: int
    row: tuple[Any, ...]
    """Its row of the index without the line."""
    sketch: RMinHash | None


@dataclass
class _Source:
    """One corpus' split, and what became of it."""

    name: str
    paths: RawPaths
    available: int
    documents: int = 0
    words: int = 0
    size: int = 0
    duplicates: int = 0
    near_duplicates: int = 0

    @classmethod
    def open(cls, directory: Path, name: str, split: str) -> _Source:
        """The source, checked against its manifest."""
        paths = raw_paths(directory / f"{name}.{split}.raw")
        manifest = _manifest_of(paths, name)
        verify_files(paths.manifest, manifest)
        return cls(name, paths, int(manifest.counts["documents"]))

    def lines(self) -> Iterator[_Line]:
        """Its documents in order."""
        with self.paths.raw.open("rb") as raw, pq.ParquetFile(self.paths.index) as index:
            for batch in index.iter_batches(batch_size=1024):
                columns = [batch.column(name).to_pylist() for name in INDEX_SCHEMA.names]
                for number, *row in zip(*columns, strict=True):
                    line = raw.readline().removesuffix(b"\n")
                    words, size, digest = row[-3:]
                    if len(line) != size:
                        raise ArtifactError(
                            f"line {number} is not what its index says", place=self.paths.raw
                        )
                    yield _Line(line, bytes.fromhex(digest), words, tuple(row), None)

    def count(self, document: _Line) -> None:
        """Note that ``document`` was used."""
        self.documents += 1
        self.words += document.words
        self.size += len(document.line) + 1

    @property
    def surplus(self) -> int:
        """Documents left over because the other source had no more."""
        return self.available - self.documents - self.duplicates - self.near_duplicates

    def counts(self, writer: SplitWriter) -> dict[str, Any]:
        """What came of it and its share of the words."""
        return {
            "available": self.available,
            "documents": self.documents,
            "words": self.words,
            "bytes": self.size,
            "duplicates": self.duplicates,
            **({"near_duplicates": self.near_duplicates} if self.near_duplicates else {}),
            "surplus": self.surplus,
            "share_of_words": round(self.words / writer.words, 6),
        }


def _alternate(sources: list[_Source], seen: _Seen) -> Iterator[tuple[_Line, ...]]:
    """One document of each source at a time, none of them seen before."""
    iterators = [source.lines() for source in sources]
    while True:
        turn: list[_Line] = []
        for source, lines in zip(sources, iterators, strict=True):
            document = _next_unseen(source, lines, seen, turn)
            if document is None:
                return
            turn.append(document)
        for document in turn:
            seen.exact.add(document.digest)
            if seen.near is not None and document.sketch is not None:
                seen.near.add(document.sketch)
        yield tuple(turn)


def _next_unseen(
    source: _Source, lines: Iterator[_Line], seen: _Seen, turn: list[_Line]
) -> _Line | None:
    for document in lines:
        if document.digest in seen.exact or any(document.digest == d.digest for d in turn):
            source.duplicates += 1
            continue
        if seen.near is None:
            return document
        sketch = seen.near.sketch(document.line)
        others = [d.sketch for d in turn if d.sketch is not None]
        if seen.near.holds(sketch) or any(seen.near.alike(sketch, other) for other in others):
            source.near_duplicates += 1
        else:
            return document._replace(sketch=sketch)
    return None


def _refuse_empty(plan: Plan, sources: list[_Source]) -> None:
    stock = ", ".join(f"{source.paths.raw.name}: {source.available}" for source in sources)
    raise SourceError(
        f"would hold no document ({stock})",
        place=plan.raw,
        expected="at least one document of each source that no other split holds",
        remedy="ask for fewer training documents, or take a larger source",
    )


def _report(plan: Plan, writer: SplitWriter, sources: list[_Source], observer: Observer) -> None:
    for source in sources:
        share = source.words / writer.words
        near = f", {source.near_duplicates} near duplicates" if source.near_duplicates else ""
        observer.say(
            f"{plan.artifact}: {source.documents} documents and {share:.1%} of the words from "
            f"{source.name}, {source.duplicates} duplicates{near} and {source.surplus} surplus "
            "left out"
        )
