"""The vocabulary stage: the most frequent words of the training documents."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from perigee.corpus.writing import storage_errors
from perigee.errors import SettingsError
from perigee.files import exclusive_lock, remove_partials
from perigee.manifest import Built, Manifest, current_manifest, recipe, record_file, write_manifest
from perigee.observer import SILENT, Observer
from perigee.tokenizer.blocks import RawReader
from perigee.tokenizer.pieces import PieceTable
from perigee.tokenizer.scratch import scratch_directory
from perigee.tokenizer.vocabulary_file import MAXIMUM_SIZE, SPECIAL_TOKENS, write_vocabulary
from perigee.tokenizer.words import CODE_VERSION as WORDS_VERSION

STAGE = "vocabulary"
CODE_VERSION = f"1+{WORDS_VERSION}"
_WORDS_IN_MEMORY = 1_000_000
"""Different words counted in memory before their counts go to disk."""
_DATABASE_MEMORY = "256MB"


def manifest_path(vocab_path: Path) -> Path:
    """Where the manifest of a vocabulary stands."""
    return vocab_path.with_name(f"{vocab_path.stem}.manifest.json")


def build_vocabulary(
    raw: Path,
    vocab_path: Path,
    size: int,
    *,
    observer: Observer = SILENT,
    fresh: bool = False,
) -> Built:
    """Count the words of ``raw`` and write the ``size`` most frequent ones.

    Equally frequent words stand in the order of their code points. A corpus with fewer different
    words gives a smaller vocabulary; the manifest and the observer say so.

    Parameters
    ----------
    raw:
        Training documents, one a line. No other split may be counted.
    vocab_path:
        Where the JSON array goes; ``tokenizer.json`` and the manifest go beside it.
    size:
        Words to keep; the five special tokens come on top.
    fresh:
        Build it even if the same recipe made what stands there.

    Raises
    ------
    SettingsError
        If ``size`` does not fit 16-bit ids.
    ArtifactError
        If ``raw`` is missing, empty, not UTF-8, or not what its manifest says, or the disk is full.
    Interrupted
        If the observer asks for a stop; nothing of it is left.
    BusyError
        If another process is building the same vocabulary.
    """
    if not 1 <= size <= MAXIMUM_SIZE - len(SPECIAL_TOKENS):
        raise SettingsError(
            f"is {size}",
            place="[training] vocab_size",
            expected=f"1 to {MAXIMUM_SIZE - len(SPECIAL_TOKENS)}",
        )
    directory = vocab_path.parent
    lock = directory / f".{vocab_path.name}.lock"
    with (
        storage_errors(vocab_path),
        exclusive_lock(lock, what="the vocabulary", wait_seconds=60),
    ):
        return _build(RawReader(raw), vocab_path, size, observer, fresh)


def _build(
    reader: RawReader, vocab_path: Path, size: int, observer: Observer, fresh: bool
) -> Built:
    directory, path = vocab_path.parent, manifest_path(vocab_path)
    settings = {"size": size}
    inputs = (reader.as_input(directory),)
    expected = recipe(STAGE, CODE_VERSION, settings, inputs)
    if not fresh and (manifest := current_manifest(path, expected)):
        observer.say("vocabulary: reused, its documents have not changed")
        return Built(path, manifest, reused=True)
    remove_partials(directory)
    words, counts = _count(reader, size, directory, observer)
    if len(words) < size:
        observer.say(
            f"vocabulary: {len(words)} words; {size} were asked for, and there are no more"
        )
    files = write_vocabulary(vocab_path, (*SPECIAL_TOKENS, *words))
    manifest = Manifest(
        artifact="vocabulary",
        stage=STAGE,
        code_version=CODE_VERSION,
        settings=settings,
        inputs=inputs,
        files=tuple(record_file(file, directory) for file in files),
        counts=counts,
    )
    write_manifest(path, manifest)
    return Built(path, manifest, reused=False)


def _count(
    reader: RawReader, size: int, directory: Path, observer: Observer
) -> tuple[list[str], dict[str, Any]]:
    with scratch_directory(directory / "vocabulary") as scratch:
        counter = WordCounter(scratch)
        for pieces in reader.pieces("vocabulary", observer):
            counter.add(
                pieces.distinct, np.bincount(pieces.indices, minlength=len(pieces.distinct))
            )
        top = counter.most_frequent(size)
        covered = sum(count for _, count in top)
        counts = {
            "words": len(top),
            "asked_for": size,
            "different_words": counter.different,
            "corpus_words": counter.total,
            "covered_words": covered,
            "unknown_share": 1.0 - covered / max(counter.total, 1),
            "least_count": top[-1][1] if top else 0,
        }
    return [word for word, _ in top], counts


class _Appearing(dict[str, int]):
    """Numbers words in the order in which they first appear."""

    def __missing__(self, word: str) -> int:
        number = self[word] = len(self)
        return number


@dataclass
class WordCounter:
    """Counts words exactly in bounded memory: what does not fit goes to parquet files."""

    scratch: Path
    capacity: int = _WORDS_IN_MEMORY
    total: int = 0
    different: int = 0
    """Different words, known after :meth:`most_frequent`."""
    _numbers: _Appearing = field(default_factory=_Appearing)
    _counts: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    _files: int = 0

    def __post_init__(self) -> None:
        self._table = PieceTable(self._numbers)

    def add(self, distinct: list[bytes], frequencies: npt.NDArray[np.int64]) -> None:
        """Count the words of pieces that occur ``frequencies`` times each."""
        rows = self._table.rows(distinct)
        numbers = rows.expand(np.arange(len(distinct)))
        weights = np.repeat(frequencies, rows.lengths)
        if len(self._counts) < len(self._numbers):
            grown = np.zeros(2 * len(self._numbers), dtype=np.int64)
            grown[: len(self._counts)] = self._counts
            self._counts = grown
        np.add.at(self._counts, numbers, weights)
        self.total += int(weights.sum())
        if len(self._numbers) >= self.capacity:
            self._spill()

    def most_frequent(self, size: int) -> list[tuple[str, int]]:
        """The ``size`` most frequent words with their counts, ties by code point."""
        if not self._files:
            self.different = len(self._numbers)
            pairs = zip(self._numbers, self._counts.tolist(), strict=False)
            return heapq.nsmallest(size, pairs, key=lambda pair: (-pair[1], pair[0]))
        self._spill()
        return self._most_frequent_on_disk(size)

    def _most_frequent_on_disk(self, size: int) -> list[tuple[str, int]]:
        with duckdb.connect() as database:
            database.execute(f"SET memory_limit = '{_DATABASE_MEMORY}'")
            database.execute("SET temp_directory = $path", {"path": str(self.scratch / "spilled")})
            database.execute(
                "CREATE TABLE counts AS SELECT word, CAST(sum(count) AS BIGINT) AS n"
                " FROM read_parquet($files) GROUP BY word",
                {"files": str(self.scratch / "*.parquet")},
            )
            self.different = database.execute("SELECT count(*) FROM counts").fetchall()[0][0]
            # The order of UTF-8 bytes is that of the code points.
            rows = database.execute(
                "SELECT word, n FROM counts ORDER BY n DESC, encode(word) LIMIT $size",
                {"size": size},
            ).fetchall()
        return [(str(word), int(count)) for word, count in rows]

    def _spill(self) -> None:
        counts = self._counts[: len(self._numbers)]
        table = pa.table(
            {"word": pa.array(list(self._numbers), pa.large_string()), "count": pa.array(counts)}
        )
        pq.write_table(table, self.scratch / f"{self._files:05d}.parquet")
        self._files += 1
        self._numbers = _Appearing()
        self._counts = np.zeros(0, dtype=np.int64)
        self._table = PieceTable(self._numbers)
