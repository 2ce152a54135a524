"""The manifests' counts on real texts, against queries and loops that share no code with them."""

from __future__ import annotations

import json
import os
import tarfile
from pathlib import Path

import duckdb
import pytest
import zstandard
from corpus_sources import documents_of

from perigee.corpus.documents import SPLITS, Limits
from perigee.corpus.openwebtext2 import build_openwebtext2
from perigee.corpus.pg19 import build_pg19
from perigee.corpus.unify import build_unified

pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(
        not os.environ.get("PERIGEE_DEV_DATA"), reason="PERIGEE_DEV_DATA is not set"
    ),
]

WORD = r"[^\s\v\x{1c}-\x{1f}\x{85}\pZ]+"


@pytest.fixture(scope="module")
def data() -> Path:
    return Path(os.environ["PERIGEE_DEV_DATA"])


@pytest.fixture(scope="module")
def corpora(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("corpora")
    build_pg19(data / "pg19/data", out, Limits(0, 0, 0))
    archive = str(data / "openwebtext2.jsonl.zst.tar")
    build_openwebtext2(archive, out, Limits(1000, 200, 200))
    build_unified(out)
    return out


def counts(out: Path, name: str) -> tuple[int, int]:
    manifest = json.loads((out / f"{name}.manifest.json").read_text())
    return manifest["counts"]["documents"], manifest["counts"]["words"]


@pytest.mark.parametrize(
    ("split", "prefix"), [("train", "train"), ("valid", "validation"), ("test", "test")]
)
def test_books_agree_with_duckdb(data: Path, corpora: Path, split: str, prefix: str) -> None:
    found = duckdb.sql(
        f"""SELECT count(*), sum(len(regexp_extract_all(text, '{WORD}')))
        FROM read_parquet('{data}/pg19/data/{prefix}-*.parquet')"""
    ).fetchall()
    assert counts(corpora, f"pg19.{split}") == found[0]


def test_pages_agree_with_a_plain_loop(data: Path, corpora: Path) -> None:
    texts: list[str] = []
    with tarfile.open(data / "openwebtext2.jsonl.zst.tar") as tar:
        for member in tar:
            file = tar.extractfile(member)
            assert file is not None
            lines = zstandard.ZstdDecompressor().stream_reader(file).read().decode().split("\n")
            texts += [" ".join(json.loads(line)["text"].split()) for line in lines if line]
    texts = list(dict.fromkeys(texts))
    for split, part in zip(SPLITS, (texts[:1000], texts[1000:1200], texts[1200:1400]), strict=True):
        assert documents_of(corpora / f"openwebtext2.{split}.raw") == part


def test_no_text_of_valid_or_test_is_in_train(corpora: Path) -> None:
    for name in ("pg19", "openwebtext2", "unified"):
        lines = {s: set(documents_of(corpora / f"{name}.{s}.raw")) for s in SPLITS}
        assert not lines["train"] & (lines["valid"] | lines["test"])
        assert not lines["valid"] & lines["test"]


def test_halves_and_shares(corpora: Path) -> None:
    for split in SPLITS:
        found = duckdb.sql(
            f"""SELECT source, count(*), sum(words)
            FROM '{corpora}/unified.{split}.index.parquet' GROUP BY source ORDER BY source"""
        ).fetchall()
        manifest = json.loads((corpora / f"unified.{split}.manifest.json").read_text())
        by_source = manifest["counts"]["by_source"]
        assert found[0][1] == found[1][1]
        for source, documents, words in found:
            assert by_source[source]["documents"] == documents
            assert by_source[source]["words"] == words
