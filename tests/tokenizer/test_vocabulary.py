"""The vocabulary stage against plain counting."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizer_corpora import DOCUMENTS, write_raw

from perigee.errors import ArtifactError, SettingsError
from perigee.manifest import read_manifest, verify_files
from perigee.observer import ListObserver
from perigee.tokenizer import blocks
from perigee.tokenizer.pieces import find_pieces
from perigee.tokenizer.vocabulary import WordCounter, build_vocabulary
from perigee.tokenizer.vocabulary_file import SPECIAL_TOKENS, tokenizer_path
from perigee.tokenizer.words import split_words


def slow_vocabulary(documents: list[str], size: int) -> list[str]:
    counts = Counter(word for document in documents for word in split_words(document))
    ordered = sorted(counts, key=lambda word: (-counts[word], word))
    return [*SPECIAL_TOKENS, *ordered[:size]]


@pytest.mark.parametrize("size", [1, 7, 1_000])
def test_most_frequent_words_ties_by_code_point(size: int, tmp_path: Path):
    raw = write_raw(tmp_path / "x.train.raw", DOCUMENTS)
    observer = ListObserver()
    built = build_vocabulary(raw, tmp_path / "v/perigee_vocab.json", size, observer=observer)
    words = json.loads((tmp_path / "v/perigee_vocab.json").read_text("utf-8"))
    assert words == slow_vocabulary(DOCUMENTS, size)
    assert not built.reused
    assert built.path == tmp_path / "v/perigee_vocab.manifest.json"
    verify_files(built.path, read_manifest(built.path))
    counts = built.manifest.counts
    everything = [word for document in DOCUMENTS for word in split_words(document)]
    assert counts["corpus_words"] == len(everything)
    assert counts["different_words"] == len(set(everything))
    assert counts["covered_words"] == sum(word in words for word in everything)
    is_short = any("there are no more" in message for _, message in observer.messages)
    assert is_short == (size == 1_000)
    assert sorted(p.name for p in (tmp_path / "v").iterdir() if not p.name.startswith(".")) == [
        "perigee_vocab.json",
        "perigee_vocab.manifest.json",
        "tokenizer.json",
    ]


def test_blocks_of_any_size_count_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    raw = write_raw(tmp_path / "x.train.raw", DOCUMENTS * 3)
    versions = set()
    for size in (1, 17, 1 << 20):
        monkeypatch.setattr(blocks, "BLOCK_BYTES", size)
        built = build_vocabulary(raw, tmp_path / "perigee_vocab.json", 50, fresh=True)
        versions.add((built.manifest.version, built.manifest.counts["corpus_words"]))
    assert len(versions) == 1


@settings(deadline=None, max_examples=10)
@given(st.lists(st.text("abc déẞ漢'’.\u0301", min_size=1, max_size=12), min_size=1, max_size=20))
def test_counting_with_and_without_spilling(
    tmp_path_factory: pytest.TempPathFactory, documents: list[str]
):
    expected = Counter(word for document in documents for word in split_words(document))
    ordered = sorted(expected.items(), key=lambda item: (-item[1], item[0]))
    for capacity in (3, 1_000):
        counter = WordCounter(tmp_path_factory.mktemp("spill"), capacity)
        for document in documents:
            pieces = find_pieces(f"{document}\n".encode())
            counter.add(pieces.distinct, np.bincount(pieces.indices))
        assert counter.most_frequent(10_000) == ordered
        assert counter.total == expected.total()
        assert counter.different == len(expected)


def test_reused_until_something_changes(tmp_path: Path):
    raw = write_raw(tmp_path / "x.train.raw", DOCUMENTS)
    path = tmp_path / "perigee_vocab.json"
    first = build_vocabulary(raw, path, 10)
    again = build_vocabulary(raw, path, 10)
    assert (first.reused, again.reused) == (False, True)
    assert again.manifest == first.manifest
    assert not build_vocabulary(raw, path, 11).reused
    write_raw(raw, [*DOCUMENTS, "more"])
    assert not build_vocabulary(raw, path, 11).reused
    path.write_text("[]")
    assert not build_vocabulary(raw, path, 11).reused
    assert build_vocabulary(raw, path, 11).reused


def test_what_a_manifest_says_of_the_documents_is_checked(tmp_path: Path):
    raw = write_raw(tmp_path / "x.train.raw", DOCUMENTS, ["pg19"] * len(DOCUMENTS))
    path = tmp_path / "perigee_vocab.json"
    built = build_vocabulary(raw, path, 10)
    assert built.manifest.inputs[0].name == "unified.train.raw"
    assert (tmp_path / str(built.manifest.inputs[0].manifest)).is_file()
    before = path.read_bytes()
    raw.write_bytes(raw.read_bytes() + b"an edited end\n")
    with pytest.raises(ArtifactError, match="does not hold what its manifest says"):
        build_vocabulary(raw, path, 11)
    assert path.read_bytes() == before
    assert not list(tmp_path.glob(".*.part"))


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no such file of documents"), (b"", "holds no documents"), (b"a \xff b\n", "UTF-8")],
)
def test_documents_that_cannot_be_counted(content: bytes | None, message: str, tmp_path: Path):
    raw = tmp_path / "x.train.raw"
    if content is not None:
        raw.write_bytes(content)
    with pytest.raises(ArtifactError, match=message):
        build_vocabulary(raw, tmp_path / "v/perigee_vocab.json", 10)
    assert not [p for p in (tmp_path / "v").glob("*") if not p.name.endswith(".lock")]


@pytest.mark.parametrize("size", [0, 65_532])
def test_sizes_that_do_not_fit(size: int, tmp_path: Path):
    with pytest.raises(SettingsError, match="vocab_size: is"):
        build_vocabulary(tmp_path / "x.raw", tmp_path / "perigee_vocab.json", size)


def test_the_name_of_the_exported_file():
    assert tokenizer_path(Path("a/perigee_vocab.json")) == Path("a/tokenizer.json")
    assert tokenizer_path(Path("a/smoke_vocab.json")) == Path("a/smoke_tokenizer.json")
    assert tokenizer_path(Path("a/words.json")) == Path("a/words_tokenizer.json")
