"""Windows against packing and cutting done slowly."""

from __future__ import annotations

import resource
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizer_corpora import DOCUMENTS, write_raw
from tokenizers import Tokenizer

from perigee import stages
from perigee.config import parse_settings
from perigee.errors import ArtifactError, BusyError, Interrupted, SettingsError
from perigee.files import exclusive_lock
from perigee.manifest import Built, read_manifest, verify_files
from perigee.observer import ListObserver
from perigee.tokenizer import blocks, pieces
from perigee.tokenizer.prime import BOS, EOS, PAD, UNK, PrimeTokenizer
from perigee.tokenizer.vocabulary import build_vocabulary
from perigee.tokenizer.windows import Windows, build_windows

MANY = [f"{' '.join(f'word{(i * j) % 23}' for j in range(i % 13 + 1))}." for i in range(200)]


def build(directory: Path, documents: list[str], size: int = 1_000, **settings: object) -> Built:
    raw = write_raw(directory / "x.train.raw", documents)
    build_vocabulary(raw, directory / "perigee_vocab.json", size)
    return windows_of(raw, **settings)


def windows_of(raw: Path, **settings: object) -> Built:
    chosen = {"sequence_length": 8, "stride": 8, "max_sequences": 0, "seed": 7} | settings
    directory = raw.parent
    vocabulary, output = directory / "perigee_vocab.json", directory / "w" / "x.train.arrow"
    return build_windows(raw, vocabulary, output, **chosen)


def opened(built: Built) -> Windows:
    return Windows.open(built.path.with_name("x.train.arrow"))


def slow_stream(directory: Path, documents: list[str]) -> tuple[list[int], list[int]]:
    """Ids of the packed documents and the document of each."""
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    ids: list[int] = []
    owner: list[int] = []
    for number, document in enumerate(documents):
        words = [BOS, *tokenizer.encode(document).ids, EOS]
        ids += words
        owner += [number] * len(words)
    return ids, owner


@settings(deadline=None, max_examples=15)
@given(
    st.lists(st.text("ab é漢'.,\u0301", min_size=1, max_size=15), min_size=1, max_size=12),
    st.integers(1, 12),
    st.integers(1, 15),
    st.integers(1, 4),
)
def test_every_window_is_a_piece_of_the_stream(
    tmp_path_factory: pytest.TempPathFactory,
    documents: list[str],
    length: int,
    stride: int,
    size: int,
):
    directory = tmp_path_factory.mktemp("windows")
    built = build(directory, ["a", *documents], size, sequence_length=length, stride=stride)
    windows = opened(built)
    ids, owner = slow_stream(directory, ["a", *documents])
    starts = [0]
    while starts[-1] + length < len(ids) and starts[-1] + stride < len(ids):
        starts.append(starts[-1] + stride)
    assert windows.first_word.tolist() == starts
    for row, start in enumerate(starts):
        part = ids[start : start + length]
        assert windows.tokens[row].tolist() == part + [PAD] * (length - len(part))
        assert windows.first_document[row] == owner[start]
        assert windows.last_document[row] == owner[start + len(part) - 1]
    counts = built.manifest.counts
    assert counts["documents"] == len(documents) + 1
    assert counts["stream_words"] == sum(i not in (BOS, EOS) for i in ids)
    assert counts["stream_unknown_words"] == ids.count(UNK)
    flat = windows.tokens.ravel().tolist()
    assert counts["unknown_words"] == flat.count(UNK)
    assert counts["padding"] == flat.count(PAD)
    assert counts["words"] == sum(i not in (BOS, EOS, PAD) for i in flat)


def test_blocks_and_memory_of_any_size_give_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    expected = build(tmp_path, DOCUMENTS * 5).manifest.version
    for block, kept in ((1, 1), (33, 3)):
        monkeypatch.setattr(blocks, "BLOCK_BYTES", block)
        monkeypatch.setattr(pieces, "_KEPT", kept)
        built = windows_of(tmp_path / "x.train.raw", fresh=True)
        assert built.manifest.version == expected


def test_a_file_without_a_last_line_end(tmp_path: Path):
    expected = build(tmp_path, DOCUMENTS).manifest
    raw = tmp_path / "x.train.raw"
    raw.write_bytes(raw.read_bytes().rstrip(b"\n"))
    built = windows_of(raw)
    assert not built.reused
    assert built.manifest.version == expected.version
    assert built.manifest.counts == expected.counts


def test_a_text_cannot_spell_a_special_token(tmp_path: Path):
    windows = opened(build(tmp_path, ["a [EOS] b [PAD] [BOS] [UNK]", "c"]))
    flat = windows.tokens.ravel()
    assert (flat == BOS).sum() == (flat == EOS).sum() == 2
    assert UNK not in flat


def test_chosen_windows_keep_their_order(tmp_path: Path):
    every = opened(build(tmp_path, MANY))
    chosen = opened(windows_of(tmp_path / "x.train.raw", max_sequences=40))
    assert len(chosen) == 40
    assert (np.diff(chosen.first_word) > 0).all()
    rows = np.searchsorted(every.first_word, chosen.first_word)
    np.testing.assert_array_equal(every.tokens[rows], chosen.tokens)
    assert rows.max() > len(every) * 0.8, "not the first ones"
    other = opened(windows_of(tmp_path / "x.train.raw", max_sequences=40, seed=8))
    assert other.first_word.tolist() != chosen.first_word.tolist()
    same = opened(windows_of(tmp_path / "x.train.raw", max_sequences=40, fresh=True))
    assert same.first_word.tolist() == chosen.first_word.tolist()


@pytest.mark.parametrize("limit", [0, 10])
def test_windows_drawn_evenly_from_both_sources(limit: int, tmp_path: Path):
    books, pages = ["book " * 400] * 3, ["page of a few words"] * 60
    documents = [text.strip() for text in [*books, *pages]]
    sources = ["pg19"] * len(books) + ["openwebtext2"] * len(pages)
    raw = write_raw(tmp_path / "x.train.raw", documents, sources)
    build_vocabulary(raw, tmp_path / "perigee_vocab.json", 10)
    by_documents = windows_of(raw, max_sequences=limit).manifest.counts["sources"]
    assert by_documents["pg19"]["word_share"] == pytest.approx(1200 / 1500)
    assert by_documents["openwebtext2"]["words"] == 300
    assert by_documents["pg19"]["documents"] == 3
    if not limit:
        assert by_documents["pg19"]["window_share"] > 0.7
    evenly = windows_of(raw, max_sequences=limit, mixture="windows").manifest.counts["sources"]
    assert evenly["pg19"]["windows"] == evenly["openwebtext2"]["windows"] > 0
    assert evenly["pg19"]["windows"] == (limit // 2 or evenly["openwebtext2"]["windows_in_all"])


def test_unknown_words_by_source(tmp_path: Path):
    raw = write_raw(tmp_path / "x.train.raw", ["a a a", "b c", "a b"], ["x", "y", "x"])
    build_vocabulary(raw, tmp_path / "perigee_vocab.json", 1)
    counts = windows_of(raw).manifest.counts
    assert counts["unknown_share"] == pytest.approx(3 / 7)
    assert counts["sources"]["x"]["unknown_share"] == pytest.approx(1 / 5)
    assert counts["sources"]["y"]["unknown_share"] == 1.0


def test_the_file_is_mapped(tmp_path: Path):
    built = build(tmp_path, MANY)
    verify_files(built.path, read_manifest(built.path))
    before = pa.total_allocated_bytes()
    windows = opened(built)
    assert pa.total_allocated_bytes() - before < windows.tokens.nbytes
    assert windows.tokens.dtype == np.uint16
    assert not windows.tokens.flags.owndata
    assert not windows.tokens.flags.writeable
    assert windows.sequence_length == 8
    assert windows.manifest == built.manifest
    assert not list((tmp_path / "w").glob(".*.part"))


def test_the_index_must_fit_the_documents(tmp_path: Path):
    raw = write_raw(tmp_path / "x.train.raw", ["a b", "c d"], ["x"])
    build_vocabulary(raw, tmp_path / "perigee_vocab.json", 5)
    with pytest.raises(ArtifactError, match=r"lists 1 documents; x\.train\.raw holds 2"):
        windows_of(raw)
    assert not list((tmp_path / "w").glob("*.arrow"))
    assert not list((tmp_path / "w").glob(".*.part"))


def test_reused_until_something_changes(tmp_path: Path):
    first = build(tmp_path, DOCUMENTS)
    raw = tmp_path / "x.train.raw"
    assert windows_of(raw).reused
    assert not windows_of(raw, stride=4).reused
    assert not windows_of(raw, stride=8).reused
    build_vocabulary(raw, tmp_path / "perigee_vocab.json", 3)
    changed = windows_of(raw)
    assert not changed.reused
    assert changed.manifest.version != first.manifest.version


def test_the_vocabulary_is_named_by_its_contents(tmp_path: Path):
    built = build(tmp_path, DOCUMENTS)
    tokenizer = PrimeTokenizer.load(tmp_path / "perigee_vocab.json")
    assert [i.name for i in built.manifest.inputs] == ["x.train.raw", "vocabulary"]
    assert built.manifest.inputs[1].version == tokenizer.fingerprint


def test_a_full_disk_leaves_the_old_file(tmp_path: Path):
    built = build(tmp_path, MANY)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, hard))
    try:
        with pytest.raises(ArtifactError, match="cannot be written") as caught:
            windows_of(tmp_path / "x.train.raw", stride=4)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "free some space" in str(caught.value)
    assert windows_of(tmp_path / "x.train.raw").reused
    assert opened(built).manifest == built.manifest
    assert not list((tmp_path / "w").glob(".*.part"))


def test_a_stop_leaves_nothing_behind(tmp_path: Path):
    with pytest.raises(Interrupted, match="stopped as asked"):
        build(tmp_path, DOCUMENTS, observer=ListObserver(stop=True))
    assert not list((tmp_path / "w").glob("*.arrow"))
    assert not list((tmp_path / "w").glob(".*.part"))


def test_a_second_process_is_told_to_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    raw = write_raw(tmp_path / "x.train.raw", DOCUMENTS)
    build_vocabulary(raw, tmp_path / "perigee_vocab.json", 5)
    monkeypatch.setattr("perigee.tokenizer.windows._PATIENCE", 0.0)
    lock = tmp_path / "w" / ".x.train.arrow.lock"
    with (
        exclusive_lock(lock, what="a test"),
        pytest.raises(BusyError, match="this file of windows is in use by"),
    ):
        windows_of(raw)


def test_settings_choose_the_mixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    table = {
        "training": {"sequence_length": 8, "stride": 8, "max_sequences": 0},
        "data": {"mixture": "windows"},
    }
    settings = parse_settings(table, "a test", {})
    documents = ["one two three " * 20] * 3 + ["a few words of a page"] * 6
    sources = ["pg19"] * 3 + ["openwebtext2"] * 6
    for split in ("train", "valid"):
        write_raw(settings.raw_path("unified", split), documents, sources)
    stages.build_vocabulary(settings)
    train, valid = (stages.build_windows(settings, split).manifest for split in ("train", "valid"))
    assert {s["window_share"] for s in train.counts["sources"].values()} == {0.5}
    assert valid.counts["sources"]["pg19"]["window_share"] > 0.7


@pytest.mark.parametrize("wrong", [{"sequence_length": 0}, {"stride": 0}, {"max_sequences": -1}])
def test_lengths_that_cannot_be(wrong: dict[str, int], tmp_path: Path):
    with pytest.raises(SettingsError, match="at least 1"):
        windows_of(tmp_path / "x.raw", **wrong)


def test_files_that_are_no_windows(tmp_path: Path):
    path = tmp_path / "x.arrow"
    with pytest.raises(ArtifactError, match="no such file of windows"):
        Windows.open(path)
    path.write_bytes(b"ARROW1 no")
    with pytest.raises(ArtifactError, match="cannot be read as Arrow"):
        Windows.open(path)
    table = pa.table({"tokens": [1, 2]})
    with pa.ipc.new_file(str(path), table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(ArtifactError, match="does not hold windows"):
        Windows.open(path)


def test_what_a_killed_process_left_is_swept(tmp_path: Path):
    leftover = tmp_path / "w" / ".x.train.arrow.scratch.4194399.part"
    leftover.mkdir(parents=True)
    (leftover / "tokens").write_bytes(b"half")
    build(tmp_path, DOCUMENTS)
    assert not leftover.exists()
