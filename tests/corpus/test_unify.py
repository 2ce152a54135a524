from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest
from corpus_sources import MakeArchive, MakePg19, assert_nothing_partial, documents_of

from perigee.corpus.documents import SPLITS, Limits
from perigee.corpus.openwebtext2 import build_openwebtext2
from perigee.corpus.pg19 import build_pg19
from perigee.corpus.unify import build_unified
from perigee.errors import ArtifactError, SourceError
from perigee.observer import ListObserver


@pytest.fixture
def corpora(make_pg19: MakePg19, make_archive: MakeArchive, tmp_path: Path) -> Path:
    """Books and pages that share texts within and across their splits."""
    out = tmp_path / "out"
    root = make_pg19(
        train=[["b0", "shared vt", "b1", "page 6", "b2 of  the train"]],
        valid=[["vb", "shared both", "vb2"]],
        test=[["tb0", "tb1"]],
    )
    pages = [f"page {n}" for n in range(4)] + ["b1"]
    pages += ["shared vt", "vp1", "shared both", "tp0", "page 6", "tb0", "tp2"]
    build_pg19(root, out, Limits(0, 0, 0))
    build_openwebtext2(str(make_archive({"m.jsonl.zst": pages})), out, Limits(5, 3, 4))
    return out


def test_documents_alternate_and_no_text_stands_twice(corpora: Path) -> None:
    built = build_unified(corpora)
    found = {split: documents_of(corpora / f"unified.{split}.raw") for split in SPLITS}
    assert found == {
        "test": ["tb0", "tp0", "tb1", "page 6"],
        "valid": ["vb", "shared vt", "shared both", "vp1"],
        "train": ["b0", "page 0", "b1", "page 1", "b2 of the train", "page 2"],
    }
    counts = built["train"].manifest.counts["by_source"]
    assert counts["pg19"] == {
        "available": 5,
        "documents": 3,
        "words": 6,
        "bytes": 22,
        "duplicates": 2,
        "surplus": 0,
        "share_of_words": 0.5,
    }
    assert counts["openwebtext2"]["surplus"] == 2
    assert built["train"].manifest.dropped == {"duplicate": 2, "surplus": 2}


def test_a_query_finds_no_held_out_text_in_train(corpora: Path) -> None:
    build_unified(corpora)
    query = f"""
        SELECT count(*) FROM '{corpora}/unified.train.index.parquet' AS train
        JOIN (FROM '{corpora}/unified.valid.index.parquet' UNION ALL
              FROM '{corpora}/unified.test.index.parquet') AS held USING (sha256)
    """
    assert duckdb.sql(query).fetchall() == [(0,)]


def test_the_index_keeps_the_origin(corpora: Path) -> None:
    build_unified(corpora)
    rows = pq.read_table(corpora / "unified.train.index.parquet").to_pylist()
    assert [row["line"] for row in rows] == list(range(6))
    assert [row["source"] for row in rows] == ["pg19", "openwebtext2"] * 3
    assert [row["row"] for row in rows] == [0, 0, 2, 1, 4, 2]
    assert rows[1]["url"] == "http://pages.example/0"


def test_reuse_and_what_it_knows(corpora: Path, make_pg19: MakePg19) -> None:
    build_unified(corpora)
    again = build_unified(corpora)
    assert [again[s].reused for s in SPLITS] == [True] * 3
    # Other books in train: the reused held-out splits still keep their texts from it.
    root = make_pg19(
        "other",
        train=[["b9", "tp0", "vp1", "b8", "b7"]],
        valid=[["vb", "shared both", "vb2"]],
        test=[["tb0", "tb1"]],
    )
    build_pg19(root, corpora, Limits(0, 0, 0))
    third = build_unified(corpora)
    assert [third[s].reused for s in SPLITS] == [False, True, True]
    assert documents_of(corpora / "unified.train.raw") == [
        *("b9", "page 0", "b8", "page 1", "b7", "page 2")
    ]


def test_manifests_point_at_their_inputs(corpora: Path) -> None:
    built = build_unified(corpora)
    for item in built["train"].manifest.inputs:
        assert item.manifest is not None
        assert (corpora / item.manifest).is_file()
    names = [item.name for item in built["test"].manifest.inputs]
    assert names == ["pg19.test.raw", "openwebtext2.test.raw"]


def test_other_outputs(corpora: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere/mine.raw"
    built = build_unified(corpora, outputs={"train": elsewhere})
    assert len(documents_of(elsewhere)) == 6
    assert (tmp_path / "elsewhere/mine.index.parquet").is_file()
    relative = built["train"].manifest.inputs[0].manifest
    assert relative is not None
    assert (elsewhere.parent / relative).is_file()
    assert not (corpora / "unified.train.raw").exists()


def test_a_missing_corpus(corpora: Path) -> None:
    (corpora / "pg19.train.manifest.json").unlink()
    with pytest.raises(ArtifactError, match=r"pg19.train.raw: .*perigee corpus pg19"):
        build_unified(corpora)


def test_a_corpus_that_is_not_what_it_says(corpora: Path) -> None:
    (corpora / "pg19.train.raw").write_bytes(b"something else\n")
    with pytest.raises(ArtifactError, match="does not hold what its manifest says"):
        build_unified(corpora)
    assert not (corpora / "unified.train.raw").exists()
    assert_nothing_partial(corpora)


def test_an_empty_split_is_an_error(
    make_pg19: MakePg19, make_archive: MakeArchive, tmp_path: Path
) -> None:
    root = make_pg19(train=[["a"]], valid=[["v"]], test=[["t"]])
    build_pg19(root, tmp_path, Limits(0, 0, 0))
    archive = make_archive({"m.jsonl.zst": ["x", "y"]})
    build_openwebtext2(str(archive), tmp_path, Limits(1, 1, 1))
    with pytest.raises(SourceError, match=r"unified.test.raw: would hold no document"):
        build_unified(tmp_path)
    assert not (tmp_path / "unified.test.raw").exists()


def test_shares_are_reported(corpora: Path) -> None:
    observer = ListObserver()
    build_unified(corpora, observer=observer)
    assert any(
        "unified.train.raw: 3 documents and 50.0% of the words from pg19" in message
        for _, message in observer.messages
    )
