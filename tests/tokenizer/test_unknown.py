"""What [UNK] stands for, against the text read slowly, word by word."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizer_corpora import DOCUMENTS, write_raw

from perigee.errors import ArtifactError
from perigee.observer import SILENT
from perigee.tokenizer import blocks
from perigee.tokenizer.blocks import RawReader
from perigee.tokenizer.prime import BOS, EOS, PAD, PrimeTokenizer
from perigee.tokenizer.unknown import Behind, frequent_unknown, words_behind
from perigee.tokenizer.vocabulary import build_vocabulary
from perigee.tokenizer.windows import Windows, build_windows
from perigee.tokenizer.words import split_words


class Spoken(NamedTuple):
    """A word of the packed stream."""

    word: str
    document: int
    begins: bool
    """Whether a word between white space begins with it."""


def slow_stream(documents: list[str]) -> list[Spoken]:
    stream = []
    for number, document in enumerate(documents):
        stream.append(Spoken("[BOS]", number, False))
        for between in document.split():
            words = split_words(between)
            stream += [Spoken(word, number, place == 0) for place, word in enumerate(words)]
        stream.append(Spoken("[EOS]", number, False))
    return stream


def prepare(
    directory: Path, documents: list[str], size: int, length: int, most: int = 0
) -> tuple[RawReader, Windows, PrimeTokenizer]:
    raw = write_raw(directory / "x.test.raw", documents)
    vocabulary, output = directory / "perigee_vocab.json", directory / "w" / "x.test.arrow"
    build_vocabulary(raw, vocabulary, size)
    build_windows(
        raw, vocabulary, output, sequence_length=length, stride=length, max_sequences=most, seed=3
    )
    return RawReader(raw), Windows.open(output), PrimeTokenizer.load(vocabulary)


TEXTS = st.text("ab é漢'.,", min_size=1, max_size=15).map(lambda t: " ".join(t.split()) or "a")


@settings(deadline=None, max_examples=15)
@given(st.lists(TEXTS, min_size=1, max_size=12), st.integers(1, 12), st.integers(1, 4))
def test_every_words_document_and_what_is_behind_it(
    tmp_path_factory: pytest.TempPathFactory, documents: list[str], length: int, size: int
) -> None:
    reader, windows, tokenizer = prepare(
        tmp_path_factory.mktemp("unknown"), documents, size, length
    )
    stream = slow_stream(documents)
    known = set(tokenizer.tokens)
    owner = windows.documents()
    for position, spoken in enumerate(stream):
        row, column = divmod(position, length)
        assert owner[row, column] == spoken.document
    assert owner[windows.tokens != PAD].tolist() == [spoken.document for spoken in stream]

    found = words_behind(reader, windows, owner % 2, tokenizer.ids, SILENT)
    for label in {spoken.document % 2 for spoken in stream}:
        own = [spoken for spoken in stream if spoken.document % 2 == label]
        unknown = Counter(s.word for s in own if s.word not in known)
        assert found[label] == Behind(unknown, sum(s.begins for s in own))
    whole = " ".join(documents)
    assert sum(part.whitespace_words for part in found.values()) == len(whole.split())


def test_only_what_is_in_a_chosen_window_counts_and_blocks_may_end_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = [f"{document} nr{i}" for i, document in enumerate(DOCUMENTS * 5)]
    reader, windows, tokenizer = prepare(tmp_path, documents, 6, 7, most=11)
    assert len(windows) == 11
    inside = [place for start in windows.first_word for place in range(start, start + 7)]
    spoken = [slow_stream(documents)[place] for place in inside if place < windows.tokens.size * 9]
    unknown = Counter(s.word for s in spoken if s.word not in tokenizer.ids)
    labels = np.zeros(windows.tokens.shape, dtype=np.int64)
    for size in (1, 20, 1 << 20):
        monkeypatch.setattr(blocks, "BLOCK_BYTES", size)
        found = words_behind(reader, windows, labels, tokenizer.ids, SILENT)
        assert found == {0: Behind(unknown, sum(s.begins for s in spoken))}


def test_windows_of_other_documents_are_refused(tmp_path: Path) -> None:
    reader, windows, tokenizer = prepare(tmp_path, DOCUMENTS, 6, 7)
    write_raw(tmp_path / "x.test.raw", [DOCUMENTS[1], DOCUMENTS[0], *DOCUMENTS[2:]])
    labels = np.zeros(windows.tokens.shape, dtype=np.int64)
    with pytest.raises(ArtifactError, match=r"holds other words than x\.test\.raw"):
        words_behind(reader, windows, labels, tokenizer.ids, SILENT)


def test_the_most_frequent_unknown_words_with_their_counts(tmp_path: Path) -> None:
    raw = write_raw(tmp_path / "x.train.raw", ["c a a b b b", "d c a, d C d e"])
    ids = {"b": 5, ",": 6}
    reader = RawReader(raw)
    every = {"a": 3, "c": 3, "d": 3, "e": 1}
    assert frequent_unknown(reader, ids, 10, tmp_path / "s", SILENT) == every
    assert frequent_unknown(reader, ids, 2, tmp_path / "s", SILENT) == {"a": 3, "c": 3}
    assert [path.name for path in tmp_path.iterdir()] == ["x.train.raw"]


def test_special_tokens_begin_no_word(tmp_path: Path) -> None:
    reader, windows, tokenizer = prepare(tmp_path, ["a", "b b"], 2, 4)
    labels = np.isin(windows.tokens, (BOS, EOS)).astype(np.int64)
    found = words_behind(reader, windows, labels, tokenizer.ids, SILENT)
    assert (found[0].whitespace_words, found[1].whitespace_words) == (3, 0)
