from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import zstandard
from corpus_sources import (
    MakeArchive,
    assert_nothing_partial,
    compress,
    documents_of,
    json_lines,
    tar_bytes,
)
from misbehaving_server import Behaviour, serve

from perigee.corpus.answers import Patience
from perigee.corpus.documents import SPLITS, Limits
from perigee.corpus.frames import ContentLimits
from perigee.corpus.openwebtext2 import archive_input, build_openwebtext2
from perigee.errors import Interrupted, SettingsError, SourceError
from perigee.manifest import Built
from perigee.observer import ListObserver

NOISE = random.Random(7)
QUICK = Patience(first_wait=0.001, first_request=2_000)
EVERYTHING = Limits(0, 1, 1)


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def pages(prefix: str, count: int) -> list[str]:
    return [f"{prefix} page\n\n{n}" for n in range(count)]


def cleaned(texts: list[str]) -> list[str]:
    return [" ".join(text.split()) for text in texts]


def build(
    archive: Path, out: Path, limits: Limits = EVERYTHING, **options: object
) -> dict[str, Built]:
    return build_openwebtext2(str(archive), out, limits, **options)


def train(archive: Path, out: Path, **options: object) -> tuple[list[str], dict[str, int]]:
    """The documents of an archive whose last two are taken by valid and test, and the losses."""
    built = build(archive, out, **options)
    documents = documents_of(out / "openwebtext2.train.raw")
    dropped = built["train"].manifest.dropped
    assert built["valid"].manifest.dropped == built["test"].manifest.dropped == {}
    return documents, dict(dropped)


def test_splits_are_taken_in_the_order_of_the_stream(
    make_archive: MakeArchive, tmp_path: Path
) -> None:
    texts = pages("a", 6) + pages("b", 6)
    archive = make_archive({"2005-12.jsonl.zst": texts[:6], "2006-01.jsonl.zst": texts[6:]})
    built = build(archive, tmp_path / "out", Limits(7, 2, 1))
    found = {s: documents_of(tmp_path / f"out/openwebtext2.{s}.raw") for s in SPLITS}
    assert found == {
        "train": cleaned(texts[:7]),
        "valid": cleaned(texts[7:9]),
        "test": cleaned(texts[9:10]),
    }
    assert [built[s].manifest.counts["complete"] for s in SPLITS] == [True] * 3
    assert built["train"].manifest.counts["words"] == 21


@pytest.mark.parametrize(
    ("limits", "sizes"),
    [
        (Limits(0, 2, 3), (7, 2, 3)),
        (Limits(4, 0, 3), (4, 5, 3)),
        (Limits(4, 3, 0), (4, 3, 5)),
        (Limits(0, 20, 3), (0, 12, 0)),
    ],
)
def test_one_split_may_ask_for_all(
    make_archive: MakeArchive, tmp_path: Path, limits: Limits, sizes: tuple[int, int, int]
) -> None:
    texts = pages("a", 12)
    build(make_archive({"2005-12.jsonl.zst": texts}), tmp_path / "out", limits)
    found = [documents_of(tmp_path / f"out/openwebtext2.{s}.raw") for s in SPLITS]
    assert tuple(map(len, found)) == sizes
    assert [text for texts in found for text in texts] == cleaned(texts)


def test_two_splits_may_not(make_archive: MakeArchive, tmp_path: Path) -> None:
    archive = make_archive({"2005-12.jsonl.zst": pages("a", 3)})
    with pytest.raises(SettingsError, match="train and test both ask for all"):
        build(archive, tmp_path / "out", Limits(0, 1, 0))


def test_a_shortfall_is_said_and_recorded(make_archive: MakeArchive, tmp_path: Path) -> None:
    archive = make_archive({"2005-12.jsonl.zst": pages("a", 5)})
    observer = ListObserver()
    built = build(archive, tmp_path, Limits(4, 3, 2), observer=observer)
    assert [built[s].manifest.counts["documents"] for s in SPLITS] == [4, 1, 0]
    assert [built[s].manifest.counts["complete"] for s in SPLITS] == [True, False, False]
    assert [m for level, m in observer.messages if level == "warning"] == [
        "openwebtext2.valid.raw: 1 documents of the 3 asked for: the archive holds no more",
        "openwebtext2.test.raw: 0 documents of the 2 asked for: the archive holds no more",
    ]


def test_the_index_leads_back_to_the_line(make_archive: MakeArchive, tmp_path: Path) -> None:
    meta = {"title": "A\ntitle", "url": "http://x", "reddit_created_utc": ["2011-07-19T06:54:41"]}
    line = json.dumps({"text": "with meta", "meta": meta}).encode()
    archive = make_archive(
        {"m/2005-12.jsonl.zst": ["a", b"broken", "b"], "m/2006-01.jsonl.zst": [line, "v", "t"]}
    )
    build(archive, tmp_path)
    rows = pq.read_table(tmp_path / "openwebtext2.train.index.parquet").to_pylist()
    found = [(r["line"], r["shard"], r["row"], r["title"], r["url"], r["date"]) for r in rows]
    assert found == [
        (0, "m/2005-12.jsonl.zst", 0, "Page 0", "http://pages.example/0", "2005-12"),
        (1, "m/2005-12.jsonl.zst", 2, "Page 2", "http://pages.example/2", "2005-12"),
        (2, "m/2006-01.jsonl.zst", 0, "A title", "http://x", "2011-07-19T06:54:41"),
    ]


def test_duplicates_across_the_splits_keep_their_first_place(
    make_archive: MakeArchive, tmp_path: Path
) -> None:
    archive = make_archive({"2005-12.jsonl.zst": ["a", "b", "a ", "c", "b", "c", "d"]})
    built = build(archive, tmp_path, Limits(2, 1, 1))
    found = [documents_of(tmp_path / f"openwebtext2.{s}.raw") for s in SPLITS]
    assert found == [["a", "b"], ["c"], ["d"]]
    assert [dict(built[s].manifest.dropped) for s in SPLITS] == [
        {},
        {"duplicate": 1},
        {"duplicate": 2},
    ]


BAD_LINES = {
    "bad_json": [b"{", b"nonsense", b'{"text": "x"', b'{"text": NaN}', b"\xff\xfe", b"[" * 100_000],
    "not_an_object": [b"[]", b'"text"', b"7", b"null"],
    "no_text": [b"{}", b'{"text": 7}', b'{"text": null}', b'{"text": ["a"]}'],
    "empty": [b'{"text": ""}', b'{"text": " \\n\\u3000\\u0000"}', b'{"text": "\\ud800"}'],
    "blank_line": [b"", b"  \t"],
}


@pytest.mark.parametrize(
    ("reason", "line"), [(reason, line) for reason, lines in BAD_LINES.items() for line in lines]
)
def test_a_bad_line_costs_itself(
    make_archive: MakeArchive, tmp_path: Path, reason: str, line: bytes
) -> None:
    archive = make_archive({"2005-12.jsonl.zst": ["before", line, "after", "v", "t"]})
    documents, dropped = train(archive, tmp_path)
    assert documents == ["before", "after"]
    assert dropped == {reason: 1}


@pytest.mark.parametrize(
    ("text", "document"),
    [
        ("nul\x00and\x1bescape", "nuland escape".replace(" ", "")),
        ("one\rtwo\r\nthree\u0085four\u2028five", "one two three four five"),
        ("lone \ud83d surrogate", "lone surrogate"),
        ("a pair \U0001f600", "a pair \U0001f600"),
    ],
)
def test_hostile_characters_are_cleaned(
    make_archive: MakeArchive, tmp_path: Path, text: str, document: str
) -> None:
    documents, dropped = train(make_archive({"2005-12.jsonl.zst": [text, "v", "t"]}), tmp_path)
    assert documents == [document]
    assert dropped == {}


def test_a_line_that_is_too_long(make_archive: MakeArchive, tmp_path: Path) -> None:
    limits = ContentLimits(line_bytes=1_000)
    texts = ["a", "x" * 5_000_000, "b", "y" * 2_000, "c", "v", "t"]
    documents, dropped = train(make_archive({"2005-12.jsonl.zst": texts}), tmp_path, content=limits)
    assert documents == ["a", "b", "c"]
    assert dropped == {"line_too_long": 2}


@pytest.mark.parametrize("size", [999, 1_000, 1_001])
def test_the_limit_of_a_line_is_exact(make_archive: MakeArchive, tmp_path: Path, size: int) -> None:
    empty = len(json_lines([""])) - 1
    documents, _ = train(
        make_archive({"2005-12.jsonl.zst": ["x" * (size - empty), "v", "t"]}),
        tmp_path,
        content=ContentLimits(line_bytes=1_000),
    )
    assert len(documents) == (size <= 1_000)


def test_several_frames_and_lines_across_them(make_archive: MakeArchive, tmp_path: Path) -> None:
    data = json_lines(["a", "b", "c"])
    skippable = b"\x50\x2a\x4d\x18" + (3).to_bytes(4, "little") + b"abc"
    cut = len(data) // 2
    member = compress(data[:cut]) + skippable + compress(b"") + compress(data[cut:])
    archive = make_archive({"2005-12.jsonl.zst": member, "2006-01.jsonl.zst": ["v", "t"]})
    assert train(archive, tmp_path) == (["a", "b", "c"], {})


def test_a_last_line_without_an_end_counts(make_archive: MakeArchive, tmp_path: Path) -> None:
    member = compress(json_lines(["a", "b"])[:-1])
    archive = make_archive({"2005-12.jsonl.zst": member, "2006-01.jsonl.zst": ["v", "t"]})
    assert train(archive, tmp_path) == (["a", "b"], {})


@pytest.mark.parametrize("kind", ["cut", "garbage", "trailing", "not zstd", "window"])
def test_a_corrupt_frame_costs_the_rest_of_its_member(
    make_archive: MakeArchive, tmp_path: Path, kind: str
) -> None:
    good = compress(json_lines(["a"]))
    noise = [f"b {n} " + NOISE.randbytes(40).hex() for n in range(20_000)]
    bad = bytearray(compress(json_lines(noise)))
    match kind:
        case "cut":
            member = good + bytes(bad[: len(bad) // 2])
        case "garbage":
            bad[len(bad) // 2 : len(bad) // 2 + 2000] = b"\xff" * 2000
            member = good + bytes(bad)
        case "trailing":
            member = good + b"garbage"
        case "not zstd":
            member = b"plain text\n" * 100
        case _:
            parameters = zstandard.ZstdCompressionParameters(window_log=29)
            compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
            member = compressor.compress(json_lines(["never"])) + compressor.flush()
    archive = make_archive({"2005-12.jsonl.zst": member, "2006-01.jsonl.zst": ["z", "v", "t"]})
    observer = ListObserver()
    built = build(archive, tmp_path, observer=observer)
    documents = documents_of(tmp_path / "openwebtext2.train.raw")
    assert documents[-1] == "z"
    kept = documents[:-1]
    assert kept == ["a", *cleaned(noise)][: len(kept)]
    assert "never" not in kept
    counts = built["train"].manifest.counts
    assert built["train"].manifest.dropped == {"corrupt_frame": 1}
    assert counts["damaged_members"] == 1
    assert counts["complete"] is False
    assert any("2005-12.jsonl.zst: corrupt_frame" in m for _, m in observer.messages)


@pytest.mark.parametrize("filler", [b"\0", b"\n", b"x"])
def test_a_frame_that_expands_without_end(
    make_archive: MakeArchive, tmp_path: Path, filler: bytes
) -> None:
    """A kilobyte of compressed bytes stands for 32 MB: a limit of expansion ends it."""
    compressor = zstandard.ZstdCompressor(write_content_size=False).compressobj()
    bomb = (
        b"".join(compressor.compress(filler * (1 << 20)) for _ in range(300)) + compressor.flush()
    )
    assert len(bomb) < 40_000
    archive = make_archive({"2005-12.jsonl.zst": bomb, "2006-01.jsonl.zst": ["z", "v", "t"]})
    limits = ContentLimits(free_bytes=1 << 20)
    built = build(archive, tmp_path, content=limits)
    assert documents_of(tmp_path / "openwebtext2.train.raw") == ["z"]
    assert built["train"].manifest.dropped["expands_without_end"] == 1


def test_other_members_are_passed_over(make_archive: MakeArchive, tmp_path: Path) -> None:
    archive = make_archive(
        {"README": b"hello", "2005-12.jsonl.zst": ["a"], "x.zst": b"", "b.jsonl.zst": ["v", "t"]}
    )
    assert train(archive, tmp_path) == (["a"], {})


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.5, 0.77, 0.999])
def test_a_truncated_archive_is_an_error_and_leaves_the_old_files(
    make_archive: MakeArchive, tmp_path: Path, share: float
) -> None:
    archive = make_archive({f"{m}.jsonl.zst": pages(f"{m}", 400) for m in range(4)})
    out = tmp_path / "out"
    build(archive, out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    data = archive.read_bytes().rstrip(b"\0")
    archive.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(SourceError, match=r"archive.tar: is not a whole tar archive") as error:
        build(archive, out)
    assert "\n" not in str(error.value)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_an_archive_that_ends_between_two_members_is_truncated(
    make_archive: MakeArchive, tmp_path: Path
) -> None:
    """Python's tarfile takes it for the end; the end mark tells."""
    archive = make_archive({"2005-12.jsonl.zst": pages("a", 5)})
    data = archive.read_bytes().rstrip(b"\0")
    archive.write_bytes(data + bytes(-len(data) % 512))
    with pytest.raises(SourceError, match="not a whole tar archive"):
        build(archive, tmp_path / "out")
    assert_nothing_partial(tmp_path / "out")


def test_a_damaged_header_is_not_the_end(make_archive: MakeArchive, tmp_path: Path) -> None:
    archive = make_archive({"a.jsonl.zst": pages("a", 5), "b.jsonl.zst": pages("b", 5)})
    data = bytearray(archive.read_bytes())
    data[data.index(b"b.jsonl.zst")] = ord("c")
    archive.write_bytes(data)
    with pytest.raises(SourceError, match="bad checksum"):
        build(archive, tmp_path / "out")


def test_a_zeroed_header_is_not_the_end(make_archive: MakeArchive, tmp_path: Path) -> None:
    archive = make_archive({"a.jsonl.zst": pages("a", 5), "b.jsonl.zst": pages("b", 5)})
    data = bytearray(archive.read_bytes())
    header = data.index(b"b.jsonl.zst")
    data[header : header + 512] = bytes(512)
    archive.write_bytes(data)
    for sampling, limits in (("first", EVERYTHING), ("spread", Limits(1, 1, 1))):
        with pytest.raises(SourceError, match="something follows its end mark"):
            build(archive, tmp_path / "out", limits, sampling=sampling)


def test_counts_reached_before_the_damage_are_whole(
    make_archive: MakeArchive, tmp_path: Path
) -> None:
    archive = make_archive({"a.jsonl.zst": pages("a", 5), "b.jsonl.zst": [b"x" * 200_000]})
    archive.write_bytes(archive.read_bytes()[:3_000])
    built = build(archive, tmp_path / "out", Limits(3, 1, 1))
    assert built["test"].manifest.counts["complete"] is True


def test_what_is_no_archive(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("<html>" * 1000)
    with pytest.raises(SourceError, match="not a whole tar"):
        build(page, tmp_path / "out")
    with pytest.raises(SourceError, match="cannot be opened"):
        build(tmp_path / "nowhere.tar", tmp_path / "out")
    assert_nothing_partial(tmp_path / "out")


def test_a_second_build_reuses(make_archive: MakeArchive, tmp_path: Path) -> None:
    archive = make_archive({"2005-12.jsonl.zst": pages("a", 5)})
    assert not build(archive, tmp_path, Limits(3, 1, 1))["train"].reused
    again = build(archive, tmp_path, Limits(3, 1, 1))
    assert [again[s].reused for s in SPLITS] == [True] * 3
    assert not build(archive, tmp_path, Limits(2, 1, 1))["valid"].reused
    assert not build(archive, tmp_path, Limits(2, 1, 1), fresh=True)["valid"].reused


def outputs(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.glob("*.raw")}


def test_over_http_only_what_is_needed_is_drawn(make_archive: MakeArchive, tmp_path: Path) -> None:
    noise = [f"{n} " + NOISE.randbytes(60).hex() for n in range(40_000)]
    archive = make_archive({f"{m}.jsonl.zst": noise[m::4] for m in range(4)})
    data = archive.read_bytes()
    behaviour = Behaviour(data)
    with serve(behaviour) as url:
        build_openwebtext2(url, tmp_path / "http", Limits(20, 5, 5), patience=QUICK)
    build(archive, tmp_path / "file", Limits(20, 5, 5))
    assert outputs(tmp_path / "http") == outputs(tmp_path / "file")
    assert len(data) > 2_000_000
    assert behaviour.sent < 200_000


@pytest.mark.parametrize("ranges", [True, False])
def test_over_broken_connections_the_output_is_the_same(
    make_archive: MakeArchive, tmp_path: Path, ranges: bool
) -> None:
    archive = make_archive({f"{m}.jsonl.zst": pages(f"{m}", 2_000) for m in range(4)})
    data = archive.read_bytes()
    behaviour = Behaviour(data, ranges=ranges, break_after=lambda n: 700 * (1 if ranges else n + 1))
    with serve(behaviour) as url:
        build_openwebtext2(url, tmp_path / "http", EVERYTHING, patience=QUICK)
    build(archive, tmp_path / "file")
    assert outputs(tmp_path / "http") == outputs(tmp_path / "file")
    assert len(behaviour.requests) > 10


def test_a_truncated_archive_on_a_server_is_an_error(
    make_archive: MakeArchive, tmp_path: Path
) -> None:
    archive = make_archive({"2005-12.jsonl.zst": pages("a", 500)})
    behaviour = Behaviour(archive.read_bytes()[:1500])
    with serve(behaviour) as url, pytest.raises(SourceError, match="not a whole tar"):
        build_openwebtext2(url, tmp_path / "out", EVERYTHING, patience=QUICK)
    assert outputs(tmp_path / "out") == {}
    assert_nothing_partial(tmp_path / "out")


def test_a_url_is_reused_by_its_etag(make_archive: MakeArchive, tmp_path: Path) -> None:
    behaviour = Behaviour(make_archive({"a.jsonl.zst": pages("a", 5)}).read_bytes())
    with serve(behaviour) as url:
        for etag, reused in (('"one"', False), ('"one"', True), ('"two"', False)):
            behaviour.etag = etag
            built = build_openwebtext2(url, tmp_path, Limits(3, 1, 1), patience=QUICK)
            assert built["train"].reused is reused
            assert archive_input(url, patience=QUICK) == built["train"].manifest.inputs[0]


def test_a_url_without_a_version_is_not_reused(make_archive: MakeArchive, tmp_path: Path) -> None:
    behaviour = Behaviour(make_archive({"a.jsonl.zst": pages("a", 5)}).read_bytes(), etag=None)
    with serve(behaviour) as url:
        for _ in range(2):
            built = build_openwebtext2(url, tmp_path, Limits(3, 1, 1), patience=QUICK)
            assert built["train"].reused is False


def test_extended_headers_that_are_too_large_are_refused(tmp_path: Path) -> None:
    data = bytearray(tar_bytes({"a" * 200 + ".jsonl.zst": b""}))
    data[124:136] = b"77777777777\0"
    data[148:156] = b" " * 8
    data[148:156] = f"{sum(data[:512]):06o}\0 ".encode()
    (tmp_path / "archive.tar").write_bytes(data)
    with pytest.raises(SourceError, match="a header of 8589934591 bytes"):
        build(tmp_path / "archive.tar", tmp_path / "out")


def test_spread_takes_evenly_from_all_members(make_archive: MakeArchive, tmp_path: Path) -> None:
    sizes = {"2005-12": 2, "2006-01": 300, "2006-02": 300, "2006-03": 40}
    archive = make_archive({f"{m}.jsonl.zst": pages(m, n) for m, n in sizes.items()})
    built = build(archive, tmp_path, Limits(60, 20, 20), sampling="spread")
    total: Counter[str] = Counter()
    for split, size in (("train", 60), ("valid", 20), ("test", 20)):
        assert built[split].manifest.counts["documents"] == size
        table = pq.read_table(tmp_path / f"openwebtext2.{split}.index.parquet")
        shards = Counter(table.column("shard").to_pylist())
        total += shards
        share = size / 100
        for month, count in {"2006-01": 33, "2006-02": 33, "2006-03": 32}.items():
            assert abs(shards[f"{month}.jsonl.zst"] - share * count) <= 2
    assert sorted(total.values()) == [2, 32, 33, 33]


def test_spread_over_http_jumps_from_header_to_header(
    make_archive: MakeArchive, tmp_path: Path
) -> None:
    noise = [f"{n} {NOISE.randbytes(60).hex()}" for n in range(40_000)]
    archive = make_archive({f"{m}.jsonl.zst": noise[m::5] for m in range(5)})
    behaviour = Behaviour(archive.read_bytes(), break_after=lambda n: 9_000 if n % 3 else None)
    options = {"sampling": "spread", "patience": QUICK}
    with serve(behaviour) as url:
        build_openwebtext2(url, tmp_path / "http", Limits(20, 5, 5), **options)
    build(archive, tmp_path / "file", Limits(20, 5, 5), **options)
    assert outputs(tmp_path / "http") == outputs(tmp_path / "file")
    assert len(behaviour.data) > 2_000_000
    assert behaviour.sent < len(behaviour.data) / 2


@pytest.mark.parametrize("compress", ["", "gzip"])
def test_spread_needs_ranges(make_archive: MakeArchive, tmp_path: Path, compress: str) -> None:
    archive = make_archive({f"{m}.jsonl.zst": pages(f"{m}", 5) for m in range(3)})
    behaviour = Behaviour(archive.read_bytes(), ranges=bool(compress), compress=compress)
    with serve(behaviour) as url, pytest.raises(SourceError, match="does not answer Range"):
        build_openwebtext2(url, tmp_path, Limits(2, 2, 2), sampling="spread", patience=QUICK)


def test_spread_needs_numbers(make_archive: MakeArchive, tmp_path: Path) -> None:
    archive = make_archive({"2005-12.jsonl.zst": pages("a", 3)})
    with pytest.raises(SettingsError, match="cannot be spread"):
        build(archive, tmp_path, Limits(0, 1, 1), sampling="spread")


def test_spread_sees_an_archive_that_is_cut_short(
    make_archive: MakeArchive, tmp_path: Path
) -> None:
    archive = make_archive({f"{m}.jsonl.zst": pages(f"{m}", 400) for m in range(4)})
    archive.write_bytes(archive.read_bytes()[:6_000])
    with pytest.raises(SourceError, match="not a whole tar"):
        build(archive, tmp_path / "out", Limits(4, 2, 2), sampling="spread")


def test_a_stop_leaves_nothing_behind(make_archive: MakeArchive, tmp_path: Path) -> None:
    archive = make_archive({"2005-12.jsonl.zst": pages("a", 5)})
    with pytest.raises(Interrupted):
        build(archive, tmp_path / "out", observer=ListObserver(stop=True))
    assert outputs(tmp_path / "out") == {}
    assert_nothing_partial(tmp_path / "out")
