"""What [UNK] stands for: words outside the vocabulary, in the training text and behind windows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from perigee.errors import ArtifactError
from perigee.observer import Observer
from perigee.tokenizer.blocks import RawReader
from perigee.tokenizer.pieces import PieceTable
from perigee.tokenizer.scratch import scratch_directory
from perigee.tokenizer.vocabulary import WordCounter
from perigee.tokenizer.vocabulary_file import BOS, EOS, PAD, UNK
from perigee.tokenizer.windows import Windows

_LINE_END_PIECE = b"\n"


@dataclass
class Behind:
    """What some ids of windows do not tell of their text."""

    unknown: Counter[str] = field(default_factory=Counter)
    """The words behind [UNK], normalised, with their occurrences."""
    whitespace_words: int = 0
    """Words between white space (``str.split``) that begin among these ids."""


def frequent_unknown(
    reader: RawReader, ids: Mapping[str, int], most: int, scratch: Path, observer: Observer
) -> dict[str, int]:
    """The ``most`` frequent words that are not among ``ids``, with their counts, in flat memory.

    ``scratch`` is a path beside which temporary files may lie.

    Raises
    ------
    ArtifactError
        If the documents are not what their manifest says.
    """
    with scratch_directory(scratch) as directory:
        counter = WordCounter(directory)
        for pieces in reader.pieces("unknown words", observer):
            frequencies = np.bincount(pieces.indices, minlength=len(pieces.distinct))
            counter.add(pieces.distinct, frequencies)
        found = counter.most_frequent(len(ids) + most)
    unknown = [(word, count) for word, count in found if word not in ids]
    return dict(unknown[:most])


class _Numbered(dict[str, int]):
    """Words by their ids; unknown ones get the numbers that follow."""

    def __missing__(self, word: str) -> int:
        number = self[word] = len(self)
        return number


def words_behind(
    reader: RawReader,
    windows: Windows,
    labels: npt.NDArray[np.integer],
    ids: Mapping[str, int],
    observer: Observer,
) -> dict[int, Behind]:
    """Read the text of ``windows`` again: what their ids leave out, by label.

    Parameters
    ----------
    reader:
        The documents that the windows were cut from.
    windows:
        Windows that do not overlap, in the order of the text.
    labels:
        (N, L), a label of 0 or more for every id.
    ids:
        The vocabulary's.

    Raises
    ------
    ArtifactError
        If the windows are not of these documents.
    """
    length = windows.sequence_length
    assert (np.diff(windows.first_word) >= length).all(), "windows overlap"
    numbering = _Numbered(ids)
    table = PieceTable(numbering, line_end=(EOS, BOS))
    marks = int(labels.max(initial=0)) + 1
    begun = np.zeros(marks, dtype=np.int64)
    occurrences: Counter[tuple[int, int]] = Counter()
    done = 1  # the first document's [BOS] follows no line end
    for pieces in reader.pieces("words behind [UNK]", observer):
        rows = table.rows(pieces.distinct)
        numbers = rows.expand(pieces.indices)
        lengths = rows.lengths[pieces.indices]
        is_first = np.zeros(len(numbers) + 1, dtype=np.bool_)
        is_text = np.array([piece != _LINE_END_PIECE for piece in pieces.distinct])
        is_first[(lengths.cumsum() - lengths)[is_text[pieces.indices] & (lengths > 0)]] = True
        places = np.arange(done, done + len(numbers))
        window = np.searchsorted(windows.first_word, places, side="right") - 1
        column = places - windows.first_word[window]
        inside = np.flatnonzero((window >= 0) & (column < length))
        window, column, numbers = window[inside], column[inside], numbers[inside]
        known, own = np.where(numbers < len(ids), numbers, UNK), windows.tokens[window, column]
        # Every line end is followed by a [BOS]; that behind the last document is in no window.
        if ((known != own) & ~((known == BOS) & (own == PAD))).any():
            raise ArtifactError(
                f"holds other words than {reader.raw.name}",
                place=windows.path,
                remedy="build the windows again",
            )
        label = labels[window, column].astype(np.int64)
        begun += np.bincount(label[is_first[inside]], minlength=marks)
        is_unknown = numbers >= len(ids)
        pairs = zip(label[is_unknown].tolist(), numbers[is_unknown].tolist(), strict=True)
        occurrences.update(pairs)
        done += len(is_first) - 1
    spelled = list(numbering)
    found = {mark: Behind(whitespace_words=int(begun[mark])) for mark in range(marks)}
    for (mark, number), count in occurrences.items():
        found[mark].unknown[spelled[number]] += count
    return found
