"""Each promise of the corpora, kept once and broken once."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_corpora import write_corpora, write_corpus

from assets.corpus_checks import (
    balanced,
    counts_as_asked,
    no_split_leakage,
    one_document_a_line,
    source_checks,
    unified_checks,
)
from assets.settings_file import SettingsFile
from perigee.corpus.documents import raw_paths
from perigee.settings import Settings

BOOK, PAGE = ("pg19", "a book of words"), ("openwebtext2", "a page of words")


def test_as_many_documents_as_asked_for(tmp_path: Path) -> None:
    raw = tmp_path / "pg19.train.raw"
    for asked in (2, "all"):
        write_corpus(raw, [BOOK, ("pg19", "another")], asked)
        assert counts_as_asked(raw).problem == ""
    write_corpus(raw, [BOOK, ("pg19", "another")], 3)
    short = counts_as_asked(raw)
    assert short.problem == "2 documents of 3: the source holds no more"
    assert short.warn
    write_corpus(raw, [BOOK, ("pg19", "another")], 1)
    many = counts_as_asked(raw)
    assert many.problem == "2 documents, but 1 were asked for"
    assert not many.warn


def test_clean_lines_pass(tmp_path: Path) -> None:
    raw = tmp_path / "pg19.train.raw"
    write_corpus(raw, [BOOK, ("pg19", "línea más")])
    finding = one_document_a_line(raw)
    assert finding.problem == ""
    assert finding.metadata["lines"] == 2


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda data: data + b"one more\n", "3 lines, but 2 documents in the index"),
        (lambda data: data[:-1], "the last line has no end"),
        (lambda data: data.replace(b"a book", b"a  book"), "the lines are not as long as"),
        (lambda data: data.replace(b"a book", b"a\x00book"), "1 control characters"),
        (lambda data: data.replace(b"a book", b"a\rbook"), "1 control characters"),
    ],
)
def test_broken_lines_are_found(tmp_path: Path, change: object, problem: str) -> None:
    raw = tmp_path / "pg19.train.raw"
    write_corpus(raw, [BOOK, ("pg19", "another")])
    assert callable(change)
    raw.write_bytes(change(raw.read_bytes()))
    assert one_document_a_line(raw).problem.startswith(problem)


def test_an_empty_document_is_found(tmp_path: Path) -> None:
    raw = tmp_path / "pg19.train.raw"
    write_corpus(raw, [BOOK])
    index = raw_paths(raw).index
    row = pq.read_table(index).to_pylist()[0] | {"line": 1, "bytes": 0}
    pq.write_table(pa.concat_tables([pq.read_table(index), pa.Table.from_pylist([row])]), index)
    raw.write_bytes(raw.read_bytes() + b"\n")
    assert one_document_a_line(raw).problem == "the lines are not as long as the index says"


def test_balance(tmp_path: Path) -> None:
    raw = tmp_path / "unified.train.raw"
    write_corpus(raw, [BOOK, PAGE, BOOK])
    assert balanced(raw).problem == ""
    write_corpus(raw, [BOOK, PAGE, BOOK, BOOK])
    assert balanced(raw).problem == "3 books and 1 web pages"


def test_leakage(tmp_path: Path) -> None:
    train, valid = tmp_path / "unified.train.raw", tmp_path / "unified.valid.raw"
    write_corpus(train, [BOOK, PAGE])
    write_corpus(valid, [("pg19", "something else")])
    assert no_split_leakage(valid, [train]).problem == ""
    write_corpus(valid, [("pg19", "something else"), PAGE])
    assert no_split_leakage(valid, [train]).problem == "1 texts are in unified.train.raw too"


def test_all_of_them_in_the_graph(settings: Settings, instance: dg.DagsterInstance) -> None:
    write_corpora(settings)
    # the source of one split ended early, and test shares a text with valid
    write_corpus(settings.raw_path("pg19", "valid"), [("pg19", "valid book 0 of words")], 2)
    write_corpus(settings.raw_path("unified", "test"), [("pg19", "valid book 0 of words")])
    result = dg.materialize(
        [source_checks, unified_checks],
        selection=dg.AssetSelection.all_asset_checks(),
        instance=instance,
        resources={"settings_file": SettingsFile()},
        raise_on_error=False,
    )
    assert not result.success  # leakage stops what would be made from these documents
    checks = result.get_asset_check_evaluations()
    failed = {f"{c.asset_key.to_user_string()} {c.check_name}" for c in checks if not c.passed}
    assert len(checks) == 20
    assert failed == {
        "pg19.valid.raw counts_as_asked",
        "unified.valid.raw no_split_leakage",
        "unified.test.raw no_split_leakage",
    }
