"""The embedded sample: real shards and a real archive, the same ones every time."""

from __future__ import annotations

import ast
import io
import json
import re
import tarfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import zstandard

from perigee.corpus import installed_prose
from perigee.corpus.documents import Limits
from perigee.corpus.embedded import EmbeddedSources, build_embedded
from perigee.corpus.installed_prose import installed_modules, installed_versions
from perigee.errors import Interrupted, SettingsError
from perigee.observer import ListObserver

WORDS = 24_000
ALL = Limits(0, 0, 0)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> EmbeddedSources:
    return build_embedded(tmp_path_factory.mktemp("embedded"), ALL, words=WORDS)


def books(sources: EmbeddedSources, split: str) -> list[dict[str, object]]:
    shards = sorted(sources.pg19_root.glob(f"{split}-*.parquet"))
    return [row for shard in shards for row in pq.read_table(shard).to_pylist()]


def pages(sources: EmbeddedSources) -> list[dict[str, object]]:
    rows = []
    with tarfile.open(sources.archive, "r|") as tar:
        for member in tar:
            assert re.fullmatch(r"20\d\d-(0[1-9]|1[0-2])\.jsonl\.zst", member.name)
            frame = tar.extractfile(member)
            assert frame is not None
            lines = zstandard.ZstdDecompressor().decompressobj().decompress(frame.read())
            rows += [json.loads(line) for line in io.BytesIO(lines)]
    return rows


def test_layout_and_counts(sources: EmbeddedSources):
    counts = sources.built.manifest.counts
    limits = {
        "train": sources.limits.train,
        "valid": sources.limits.valid,
        "test": sources.limits.test,
    }
    shards = {"train": "train", "valid": "validation", "test": "test"}
    for split, shard in shards.items():
        rows = books(sources, shard)
        assert len(rows) == limits[split] == counts["documents"][split] > 0
        assert sum(len(str(row["text"]).split()) for row in rows) == counts["book_words"][split]
        assert all(
            list(row) == ["short_book_title", "publication_date", "url", "text"] for row in rows
        )
    texts = [str(page["text"]) for page in pages(sources)]
    assert len(texts) == sum(limits.values())
    assert all(len(text.split()) >= 30 for text in texts)
    assert sum(len(text.split()) for text in texts) == sum(counts["page_words"].values())
    total = sum(counts["page_words"].values()) + sum(counts["book_words"].values())
    assert 0.8 * WORDS < total <= WORDS


def test_shard_names_and_types(sources: EmbeddedSources):
    names = sorted(path.name for path in sources.pg19_root.iterdir())
    assert len(names) == 4
    assert all(
        re.fullmatch(r"(train|validation|test)-\d{5}-of-0000\d-[0-9a-f]{16}\.parquet", n)
        for n in names
    )
    file = pq.ParquetFile(sources.pg19_root / names[0])
    assert [str(t) for t in file.schema_arrow.types] == ["string", "int32", "string", "string"]
    assert file.metadata.row_group(0).column(3).compression == "ZSTD"


def test_no_sentence_stands_in_two_documents(sources: EmbeddedSources):
    seen: dict[str, int] = {}
    rows = [r for s in ("train", "validation", "test") for r in books(sources, s)] + pages(sources)
    for number, row in enumerate(rows):
        for sentence in re.split(r"(?<=[.?!])\s+", str(row["text"])):
            key = re.sub(r"[^a-z]+", "", sentence.lower())
            if len(key) > 60:
                assert seen.setdefault(key, number) == number, sentence


def test_the_same_twice_and_reused_in_between(sources: EmbeddedSources, tmp_path: Path):
    first = build_embedded(tmp_path, ALL, words=WORDS)
    assert not first.built.reused
    assert first.built.manifest.version == sources.built.manifest.version
    observer = ListObserver()
    again = build_embedded(tmp_path, ALL, words=WORDS, observer=observer)
    assert again.built.reused
    assert "reused" in observer.messages[0][1]
    forced = build_embedded(tmp_path, ALL, words=WORDS, fresh=True)
    assert not forced.built.reused
    assert forced.built.manifest.version == first.built.manifest.version


def test_a_damaged_archive_is_made_again(tmp_path: Path):
    first = build_embedded(tmp_path, ALL, words=10_000)
    first.archive.write_bytes(b"cut")
    again = build_embedded(tmp_path, ALL, words=10_000)
    assert not again.built.reused
    assert again.built.manifest.version == first.built.manifest.version


def test_limits_cut_both_kinds(sources: EmbeddedSources, tmp_path: Path):
    few = build_embedded(tmp_path, Limits(2, 1, 1), words=WORDS)
    assert (few.limits.train, few.limits.valid, few.limits.test) == (2, 1, 1)
    assert books(few, "train") == books(sources, "train")[:2]
    assert len(pages(few)) == 4
    assert few.built.manifest.dropped["over the limit"] > 0


def test_too_few_words_are_refused(tmp_path: Path):
    with pytest.raises(SettingsError, match="embedded_words: is 9999; expected at least 10000"):
        build_embedded(tmp_path, ALL, words=9_999)
    assert not list(tmp_path.iterdir())


def test_versions_are_those_of_this_installation():
    versions = installed_versions()
    assert next(iter(versions)) == "Python"
    assert {"numpy", "torch", "dagster"} <= versions.keys()


def test_reading_ends_when_there_are_words_enough(monkeypatch: pytest.MonkeyPatch):
    parsed = []

    def count(source: str) -> ast.Module:
        parsed.append(len(source))
        return ast.parse(source)

    monkeypatch.setattr(installed_prose, "_parse", count)
    assert sum(module.words for module in installed_modules(10_000)) <= 10_000
    few = len(parsed)
    parsed.clear()
    assert sum(module.words for module in installed_modules(30_000)) > 29_000
    assert few < len(parsed) < 100


def test_a_stop_leaves_nothing_behind(tmp_path: Path):
    with pytest.raises(Interrupted, match="stopped as asked"):
        build_embedded(tmp_path, ALL, words=WORDS, observer=ListObserver(stop=True))
    assert [path.name for path in tmp_path.iterdir()] == [".embedded.lock"]
