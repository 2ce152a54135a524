"""Documents packed end to end, ``[BOS] words [EOS]``, as one stream of ids on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from perigee.corpus.documents import raw_paths
from perigee.errors import ArtifactError
from perigee.observer import Observer
from perigee.tokenizer.blocks import RawReader
from perigee.tokenizer.pieces import PieceTable
from perigee.tokenizer.vocabulary_file import BOS, EOS, UNK

UNKNOWN_SOURCE = "unknown"


@dataclass(frozen=True)
class Stream:
    """Packed documents. The arrays are mapped from files of ``directory`` and live as long."""

    tokens: npt.NDArray[np.uint16]
    """(T,) ids."""
    starts: npt.NDArray[np.int64]
    """(N,) place of each document's [BOS]."""
    sources: tuple[str, ...]
    """Names of the sources."""
    source_of: npt.NDArray[np.uint8]
    """(N,) number of each document's source."""
    words: npt.NDArray[np.int64]
    """Words of each source."""
    unknown: npt.NDArray[np.int64]
    """[UNK] of each source."""


def pack(
    reader: RawReader, ids: dict[str, int], directory: Path, task: str, observer: Observer
) -> Stream:
    """Write the stream of all documents into ``directory`` in one pass over the text.

    Raises
    ------
    ArtifactError
        If the documents are not what their manifest says, or their index does not fit them.
    """
    table = PieceTable(_Known(ids), line_end=(EOS, BOS))
    sources, source_of = read_sources(reader.raw)
    words, unknown = np.zeros((2, len(sources)), dtype=np.int64)
    done = documents = 0
    with (directory / "tokens").open("wb") as tokens, (directory / "starts").open("wb") as starts:
        tokens.write(np.array([BOS], dtype=np.uint16).data)
        starts.write(np.array([0], dtype=np.int64).data)
        done = 1
        for pieces in reader.pieces(task, observer):
            block = table.rows(pieces.distinct).expand(pieces.indices).astype(np.uint16)
            begins = np.flatnonzero(block == BOS)
            tokens.write(block.data)
            starts.write((begins + done).data)
            # The document of each unknown word, and the words of each document in this block.
            place = documents + np.searchsorted(begins, np.flatnonzero(block == UNK))
            bounds = np.concatenate([[0], begins + 1, [len(block)]])
            lengths = np.diff(bounds)
            lengths[:-1] -= 2  # [EOS] and [BOS]
            if source_of is None:
                words += lengths.sum()
                unknown += len(place)
            else:
                part = documents + np.arange(len(lengths))
                part = np.minimum(part, len(source_of) - 1)  # what follows the last is empty
                words += np.bincount(source_of[part], lengths, len(sources)).astype(np.int64)
                unknown += np.bincount(
                    source_of[np.minimum(place, len(source_of) - 1)], minlength=len(sources)
                )
            done += len(block)
            documents += len(begins)
    if source_of is None:
        source_of = np.zeros(documents, dtype=np.uint8)
    elif len(source_of) != documents:
        raise ArtifactError(
            f"lists {len(source_of)} documents; {reader.raw.name} holds {documents}",
            place=raw_paths(reader.raw).index,
            remedy="build the corpus again",
        )
    # Every line end opened a document; the one behind the last is none.
    return Stream(
        tokens=np.memmap(directory / "tokens", np.uint16, "r", shape=(done - 1,)),
        starts=np.memmap(directory / "starts", np.int64, "r", shape=(documents,)),
        sources=sources,
        source_of=source_of,
        words=words,
        unknown=unknown,
    )


class _Known(dict[str, int]):
    """Words by their ids; every other word is [UNK]."""

    def __missing__(self, word: str) -> int:
        return UNK


def read_sources(raw: Path) -> tuple[tuple[str, ...], npt.NDArray[np.uint8] | None]:
    """Names of the sources and the number (N,) of each document's; ``None`` without an index.

    Raises
    ------
    ArtifactError
        If the index cannot be read.
    """
    path = raw_paths(raw).index
    if not path.is_file():
        return (UNKNOWN_SOURCE,), None
    names: dict[str, int] = {}
    parts = []
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(columns=["source"], batch_size=1 << 16):
                encoded = batch.column(0).dictionary_encode()
                numbers = [
                    names.setdefault(name, len(names)) for name in encoded.dictionary.to_pylist()
                ]
                parts.append(np.array(numbers, dtype=np.uint8)[encoded.indices.to_numpy()])
    except (pa.ArrowException, OSError, KeyError) as error:
        raise ArtifactError(
            f"cannot be read as a document index ({error})", place=path, remedy="build it again"
        ) from None
    if not parts:
        return (UNKNOWN_SOURCE,), None
    return tuple(names), np.concatenate(parts)
