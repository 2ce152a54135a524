"""The text behind the test windows: which source a word is of, and what [UNK] stands for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from perigee.corpus.documents import raw_paths
from perigee.diffusion.bound import BoundReport
from perigee.diffusion.spelling import (
    OpenVocabularyReport,
    SpellingModel,
    fit_spelling,
    open_vocabulary,
)
from perigee.errors import ArtifactError
from perigee.observer import Observer
from perigee.settings import Settings
from perigee.tokenizer.blocks import RawReader
from perigee.tokenizer.packing import read_sources
from perigee.tokenizer.prime import PrimeTokenizer
from perigee.tokenizer.unknown import Behind, frequent_unknown, words_behind
from perigee.tokenizer.windows import Windows

SPELLED_WORDS = 100_000
"""Most frequent unknown words of the training split that the spelling model is fitted on."""


@dataclass(frozen=True)
class Origins:
    """The source of every word of some windows."""

    names: tuple[str, ...]
    """Sources; empty where no document index says which they are."""
    labels: NDArray[np.int64]
    """(N, L), places in ``names``; all 0 without names."""


@dataclass(frozen=True)
class Text:
    """What the ids of some windows leave out, by source, and what spelling it costs."""

    behind: Mapping[int, Behind]
    spelling: SpellingModel

    def charged(self, bound: BoundReport, label: int | None = None) -> OpenVocabularyReport | None:
        """The open-vocabulary figure of a bound: of one source's words, or of all."""
        parts = [part for mark, part in self.behind.items() if label in (None, mark)]
        unknown = sum((part.unknown for part in parts), Counter[str]())
        begun = sum(part.whitespace_words for part in parts)
        if not begun:
            return None
        return open_vocabulary(bound, unknown.elements(), self.spelling, begun)


def find_origins(raw: Path, windows: Windows) -> Origins:
    """Ask the document index of ``raw`` for the source of every word, by the word's document.

    Raises
    ------
    ArtifactError
        If the index is damaged or is not that of the windows' documents.
    """
    documents = windows.documents()
    names, source_of = read_sources(raw)
    if source_of is None:
        return Origins((), np.zeros(documents.shape, dtype=np.int64))
    if documents.max(initial=-1) >= len(source_of):
        raise ArtifactError(
            f"lists {len(source_of)} documents; {windows.path.name} holds words of line "
            f"{documents.max()}",
            place=raw_paths(raw).index,
            remedy="build corpus and windows again",
        )
    return Origins(names, source_of[documents].astype(np.int64))


def read_text(
    settings: Settings,
    windows: Windows,
    origins: Origins,
    tokenizer: PrimeTokenizer,
    observer: Observer,
) -> Text | None:
    """Read the test documents again, and the training documents' unknown words.

    ``None``, and a warning that says so, where the documents are no longer there.

    Raises
    ------
    ArtifactError
        If they are not those that the windows were cut from.
    """
    train, test = (settings.raw_path("unified", split) for split in ("train", "test"))
    if missing := [str(path) for path in (train, test) if not path.is_file()]:
        observer.say(
            f"no {' and no '.join(missing)}: the open-vocabulary figure is left out", "warning"
        )
        return None
    scratch = settings.evaluation_path().with_name("unknown")
    counts = frequent_unknown(RawReader(train), tokenizer.ids, SPELLED_WORDS, scratch, observer)
    behind = words_behind(RawReader(test), windows, origins.labels, tokenizer.ids, observer)
    return Text(behind, fit_spelling(counts))
