"""The embedded sample: books and pages from prose that every installation already has.

Without PG-19 or OpenWebText2 at hand, the documentation strings of Python and of the pinned
packages are English enough to learn from. They are written as real parquet shards and a real tar
of ``jsonl.zst`` members, so that the readers of the real data sets read them too.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import platform
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from perigee.corpus.documents import Limits
from perigee.corpus.installed_prose import (
    CODE_VERSION as PROSE_VERSION,
)
from perigee.corpus.installed_prose import (
    Module,
    installed_modules,
    installed_versions,
)
from perigee.corpus.writing import storage_errors
from perigee.errors import SettingsError
from perigee.files import atomic_directory, atomic_file, exclusive_lock
from perigee.manifest import (
    Built,
    Input,
    Manifest,
    current_manifest,
    recipe,
    record_file,
    write_manifest,
)
from perigee.observer import SILENT, Observer

STAGE = "corpus.embedded"
CODE_VERSION = f"1+{PROSE_VERSION}"
MINIMUM_WORDS = 10_000
_SHARD_SPLITS = ("train", "validation", "test")
_TRAIN_SHARDS = 2
_ROW_GROUP = 32
_PAGES_IN_MEMBER = 64
_PAIR_WORDS = 3_600
"""Words of a book and a page together, in a sample of the usual size."""
_BOOK_SHARE = 2 / 3
_SCHEMA = pa.schema(
    [
        ("short_book_title", pa.string()),
        ("publication_date", pa.int32()),
        ("url", pa.string()),
        ("text", pa.string()),
    ]
)

Kind = Literal["book", "page"]


@dataclass(frozen=True)
class EmbeddedSources:
    """Where the embedded sample stands."""

    pg19_root: Path
    """Directory of the parquet shards."""
    archive: Path
    """The tar; its pages stand in the order train, valid, test."""
    limits: Limits
    """Books and pages of each split: as many of the one as of the other."""
    built: Built
    """Its manifest, and whether it stood there already."""


@dataclass(frozen=True)
class Document:
    """Neighbouring modules of one package, as one text."""

    kind: Kind
    title: str
    url: str
    text: str
    words: int


def build_embedded(
    directory: Path,
    limits: Limits,
    *,
    words: int,
    observer: Observer = SILENT,
    fresh: bool = False,
) -> EmbeddedSources:
    """Write ``<directory>/pg19/*.parquet`` and ``<directory>/openwebtext2.jsonl.zst.tar``.

    Parameters
    ----------
    directory:
        Where they go, with ``embedded.manifest.json``.
    limits:
        Largest numbers of documents of each kind in each split; 0 means all.
    words:
        Whitespace-separated words to collect, at the most.
    fresh:
        Write them again even if the same recipe made what stands there.

    Raises
    ------
    SettingsError
        If ``words`` is too small to fill the splits.
    BusyError
        If another process is writing the same sample.
    """
    if words < MINIMUM_WORDS:
        raise SettingsError(
            f"is {words}", place="[data] embedded_words", expected=f"at least {MINIMUM_WORDS}"
        )
    settings = {"words": words, "limits": [limits.train, limits.valid, limits.test]}
    inputs = tuple(Input(name, version) for name, version in installed_versions().items())
    manifest_path = directory / "embedded.manifest.json"
    lock = directory / ".embedded.lock"
    with (
        storage_errors(directory),
        exclusive_lock(lock, what="the embedded sample", wait_seconds=300),
    ):
        expected = recipe(STAGE, CODE_VERSION, settings, inputs)
        manifest = None if fresh else current_manifest(manifest_path, expected)
        reused = manifest is not None
        if manifest is None:
            splits, dropped = _divide(installed_modules(words, observer), words, limits)
            files = [*_write_books(directory / "pg19", splits), _write_pages(directory, splits)]
            manifest = Manifest(
                artifact="embedded",
                stage=STAGE,
                code_version=CODE_VERSION,
                settings=settings,
                inputs=inputs,
                files=tuple(record_file(file, directory) for file in files),
                counts=_counts(splits),
                dropped=dropped,
            )
            write_manifest(manifest_path, manifest)
        else:
            observer.say("embedded sample: reused, the same packages made it")
    counts = manifest.counts["documents"]
    return EmbeddedSources(
        pg19_root=directory / "pg19",
        archive=directory / "openwebtext2.jsonl.zst.tar",
        limits=Limits(*(counts[split] for split in ("train", "valid", "test"))),
        built=Built(manifest_path, manifest, reused),
    )


Splits = dict[str, dict[Kind, list[Document]]]


def _divide(modules: Iterator[Module], words: int, limits: Limits) -> tuple[Splits, dict[str, int]]:
    """Books and pages in turn, so that there are equally many; one pair in twenty is kept aside."""
    pairs = max(12, words // _PAIR_WORDS)
    sizes: Iterator[tuple[Kind, float]] = itertools.cycle(
        (("book", _BOOK_SHARE), ("page", 1 - _BOOK_SHARE))
    )
    documents = list(_documents(modules, words / pairs, sizes))
    books = [d for d in documents if d.kind == "book"]
    pages = [d for d in documents if d.kind == "page"]
    count = min(len(books), len(pages))
    period = 20 if count >= 40 else 6
    splits: Splits = {name: {"book": [], "page": []} for name in ("train", "valid", "test")}
    wanted = {"train": limits.train, "valid": limits.valid, "test": limits.test}
    dropped = {"without a counterpart": len(books) + len(pages) - 2 * count, "over the limit": 0}
    for index, pair in enumerate(zip(books, pages, strict=False)):
        place = index % period
        name = "valid" if place == period // 2 else "test" if place == period - 1 else "train"
        if wanted[name] and len(splits[name]["book"]) >= wanted[name]:
            dropped["over the limit"] += 2
            continue
        for document in pair:
            splits[name][document.kind].append(document)
    return splits, {reason: number for reason, number in dropped.items() if number}


def _documents(
    modules: Iterator[Module], pair_words: float, sizes: Iterator[tuple[Kind, float]]
) -> Iterator[Document]:
    """Join neighbouring modules until each document has its size; none spans two packages."""
    kind, share = next(sizes)
    for _, package in itertools.groupby(modules, key=lambda module: module.package):
        gathered: list[Module] = []
        for module in package:
            for part in _parts(module, int(pair_words * share)):
                gathered.append(part)
                if sum(m.words for m in gathered) >= pair_words * share:
                    yield _document(kind, gathered)
                    gathered = []
                    kind, share = next(sizes)
        # What a package leaves over is short of its size, but it is prose all the same.
        if sum(m.words for m in gathered) >= pair_words * share / 3:
            yield _document(kind, gathered)
            kind, share = next(sizes)


def _parts(module: Module, words: int) -> Iterator[Module]:
    """Cut a module (the topics of pydoc are one) that alone would fill several documents."""
    start = count = 0
    for end, paragraph in enumerate(module.paragraphs, start=1):
        count += len(paragraph.split())
        if count >= words or end == len(module.paragraphs):
            yield Module(module.package, module.name, module.url, module.paragraphs[start:end])
            start, count = end, 0


def _document(kind: Kind, modules: Sequence[Module]) -> Document:
    first, last = modules[0], modules[-1]
    span = first.name if first.name == last.name else f"{first.name} to {last.name}"
    texts = ["\n\n".join(module.paragraphs) for module in modules]
    return Document(
        kind=kind,
        title=f"The documentation of {span}",
        url=f"{first.url}#{first.name}",
        text="\n\n\n".join(texts) + "\n",
        words=sum(module.words for module in modules),
    )


def _counts(splits: Splits) -> dict[str, dict[str, int]]:
    return {
        "documents": {name: len(kinds["book"]) for name, kinds in splits.items()},
        "book_words": {name: sum(d.words for d in k["book"]) for name, k in splits.items()},
        "page_words": {name: sum(d.words for d in k["page"]) for name, k in splits.items()},
    }


def _write_books(directory: Path, splits: Splits) -> list[Path]:
    # PG-19 has a year for every book; these have that of the interpreter they came with.
    year = int(platform.python_build()[1].split()[2])
    names = []
    with atomic_directory(directory) as aside:
        for split, books in zip(_SHARD_SPLITS, (s["book"] for s in splits.values()), strict=True):
            shards = _TRAIN_SHARDS if split == "train" else 1
            size = -(-len(books) // shards)
            for number in range(shards):
                rows = books[number * size : (number + 1) * size]
                table = pa.table(
                    {
                        "short_book_title": [book.title for book in rows],
                        "publication_date": [year] * len(rows),
                        "url": [book.url for book in rows],
                        "text": [book.text for book in rows],
                    },
                    schema=_SCHEMA,
                )
                digest = hashlib.sha256("\0".join(book.text for book in rows).encode())
                name = f"{split}-{number:05d}-of-{shards:05d}-{digest.hexdigest()[:16]}.parquet"
                pq.write_table(table, aside / name, compression="zstd", row_group_size=_ROW_GROUP)
                names.append(name)
    return [directory / name for name in names]


def _write_pages(directory: Path, splits: Splits) -> Path:
    path = directory / "openwebtext2.jsonl.zst.tar"
    pages = [page for kinds in splits.values() for page in kinds["page"]]
    compressor = zstandard.ZstdCompressor(level=9)
    with atomic_file(path) as aside, tarfile.open(aside, "w", format=tarfile.GNU_FORMAT) as tar:
        for month, start in enumerate(range(0, len(pages), _PAGES_IN_MEMBER)):
            lines = [
                json.dumps(
                    {
                        "text": page.text,
                        "meta": {"title": page.title, "lang": "en", "url": page.url},
                    }
                )
                for page in pages[start : start + _PAGES_IN_MEMBER]
            ]
            frame = compressor.compress(("\n".join(lines) + "\n").encode())
            member = tarfile.TarInfo(f"{2019 + month // 12}-{month % 12 + 1:02d}.jsonl.zst")
            member.size = len(frame)
            tar.addfile(member, io.BytesIO(frame))
    return path
