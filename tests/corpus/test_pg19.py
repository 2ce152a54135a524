from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from corpus_sources import MakePg19, assert_nothing_partial, documents_of

from perigee.corpus import shards
from perigee.corpus.documents import SPLITS, Limits, raw_paths
from perigee.corpus.pg19 import build_pg19, pg19_inputs
from perigee.errors import ArtifactError, BusyError, PerigeeError, SourceError
from perigee.files import exclusive_lock
from perigee.manifest import verify_files
from perigee.observer import ListObserver

ALL = Limits(0, 0, 0)


def texts(prefix: str, count: int) -> list[str]:
    return [f"{prefix} {n}\r\n\r\n  of {count}" for n in range(count)]


def test_order_is_that_of_shards_and_rows(make_pg19: MakePg19, tmp_path: Path) -> None:
    root = make_pg19(train=[texts("a", 5), texts("b", 3)], valid=[texts("v", 2)], test=[["t"]])
    built = build_pg19(root, tmp_path / "out", ALL)
    assert list(built) == list(SPLITS)
    expected = [f"a {n} of 5" for n in range(5)] + [f"b {n} of 3" for n in range(3)]
    assert documents_of(tmp_path / "out/pg19.train.raw") == expected
    assert documents_of(tmp_path / "out/pg19.valid.raw") == ["v 0 of 2", "v 1 of 2"]
    counts = built["train"].manifest.counts
    assert (counts["documents"], counts["words"]) == (8, 32)
    assert counts["bytes"] == (tmp_path / "out/pg19.train.raw").stat().st_size
    assert counts["requested"] == "all"
    assert counts["available"] == 8
    assert counts["complete"] is True


def test_the_index_leads_back_to_the_row(make_pg19: MakePg19, tmp_path: Path) -> None:
    root = make_pg19(train=[texts("a", 5), texts("b", 3)], valid=[["v"]], test=[["t"]])
    build_pg19(root, tmp_path, ALL)
    lines = documents_of(tmp_path / "pg19.train.raw")
    rows = pq.read_table(tmp_path / "pg19.train.index.parquet").to_pylist()
    assert [row["line"] for row in rows] == list(range(8))
    for row, line in zip(rows, lines, strict=True):
        shard = pq.read_table(root / row["shard"]).to_pylist()[row["row"]]
        assert " ".join(shard["text"].split()) == line
        assert (row["title"], row["url"]) == (shard["short_book_title"], shard["url"])
        assert row["date"] == str(shard["publication_date"])
        assert row["words"] == len(line.split())
        assert row["bytes"] == len(line.encode())
        assert row["source"] == "pg19"


def test_limits_take_the_first(make_pg19: MakePg19, tmp_path: Path) -> None:
    root = make_pg19(train=[texts("a", 5), texts("b", 3)], valid=[texts("v", 2)], test=[["t"]])
    built = build_pg19(root, tmp_path, Limits(6, 1, 1))
    assert documents_of(tmp_path / "pg19.train.raw")[-1] == "b 0 of 3"
    assert [built[s].manifest.counts["documents"] for s in SPLITS] == [6, 1, 1]


def test_a_shortfall_is_said_and_recorded(make_pg19: MakePg19, tmp_path: Path) -> None:
    root = make_pg19(train=[texts("a", 5)], valid=[["v"]], test=[["t"]])
    observer = ListObserver()
    built = build_pg19(root, tmp_path, Limits(7, 1, 1), observer=observer)
    assert built["train"].manifest.counts["complete"] is False
    assert built["valid"].manifest.counts["complete"] is True
    warnings = [message for level, message in observer.messages if level == "warning"]
    assert len(warnings) == 1
    assert "5 documents of the 7 asked for" in warnings[0]


def test_duplicates_stay_in_test_then_valid_then_train(make_pg19: MakePg19, tmp_path: Path) -> None:
    root = make_pg19(
        train=[["x\ny", "a", "a ", "z", "b", "c"]], valid=[["x  y", "z", "v"]], test=[["z", "t"]]
    )
    built = build_pg19(root, tmp_path, Limits(2, 0, 0))
    assert documents_of(tmp_path / "pg19.test.raw") == ["z", "t"]
    assert documents_of(tmp_path / "pg19.valid.raw") == ["x y", "v"]
    # The limit counts what is kept.
    assert documents_of(tmp_path / "pg19.train.raw") == ["a", "b"]
    assert built["train"].manifest.dropped == {"duplicate": 3}
    assert built["valid"].manifest.dropped == {"duplicate": 1}


def test_texts_that_are_null_or_blank_are_counted(make_pg19: MakePg19, tmp_path: Path) -> None:
    root = make_pg19(train=[["a", None, " \x00\n", "b"]], valid=[["v"]], test=[["t"]])
    built = build_pg19(root, tmp_path, ALL)
    assert built["train"].manifest.dropped == {"empty": 1, "no_text": 1}
    assert documents_of(tmp_path / "pg19.train.raw") == ["a", "b"]


def test_random_sampling_is_a_function_of_the_seed(make_pg19: MakePg19, tmp_path: Path) -> None:
    root = make_pg19(
        train=[texts("a", 20), texts("b", 20)], valid=[["v"]], test=[["t", "a 3 of 20"]]
    )
    found = []
    for number, seed in enumerate((1, 1, 2)):
        out = tmp_path / str(number)
        build_pg19(root, out, Limits(10, 0, 0), sampling="random", seed=seed)
        found.append(documents_of(out / "pg19.train.raw"))
    assert found[0] == found[1] != found[2]
    everything = [f"a {n} of 20" for n in range(20)] + [f"b {n} of 20" for n in range(20)]
    assert found[0] == [text for text in everything if text in found[0]]  # source order
    assert found[0] != everything[:10]
    assert "a 3 of 20" not in found[0]


def test_random_sampling_replaces_what_it_loses(make_pg19: MakePg19, tmp_path: Path) -> None:
    root = make_pg19(train=[["same"] * 6 + ["a", "b", "c"]], valid=[["v"]], test=[["t"]])
    for seed in range(2):
        built = build_pg19(
            root, tmp_path, Limits(4, 0, 0), sampling="random", seed=seed, fresh=True
        )
        assert documents_of(tmp_path / "pg19.train.raw") == ["same", "a", "b", "c"]
        assert built["train"].manifest.counts["complete"] is True


def test_random_choices_are_even(make_pg19: MakePg19, tmp_path: Path) -> None:
    root = make_pg19(train=[texts("a", 400)], valid=[["v"]], test=[["t"]])
    build_pg19(root, tmp_path, Limits(200, 0, 0), sampling="random", seed=5)
    rows = [int(text.split()[1]) for text in documents_of(tmp_path / "pg19.train.raw")]
    # Hypergeometric: mean 100, standard deviation 5; the bounds are four of them away.
    assert 80 <= sum(row < 200 for row in rows) <= 120


def test_a_second_build_reuses(make_pg19: MakePg19, tmp_path: Path) -> None:
    root = make_pg19(train=[["a", "t"]], valid=[["v"]], test=[["t"]])
    first = build_pg19(root, tmp_path, ALL)
    observer = ListObserver()
    second = build_pg19(root, tmp_path, ALL, observer=observer)
    assert [first[s].reused for s in SPLITS] == [False] * 3
    assert [second[s].reused for s in SPLITS] == [True] * 3
    assert all("reused" in message for _, message in observer.messages)
    # Another limit of train leaves the other splits as they are, and still knows their texts.
    third = build_pg19(root, tmp_path, Limits(5, 0, 0))
    assert [third[s].reused for s in SPLITS] == [False, True, True]
    assert third["train"].manifest.dropped == {"duplicate": 1}


def test_a_damaged_output_is_built_again(make_pg19: MakePg19, tmp_path: Path) -> None:
    root = make_pg19(train=[["a"]], valid=[["v"]], test=[["t"]])
    build_pg19(root, tmp_path, ALL)
    (tmp_path / "pg19.train.raw").write_text("b\n")
    assert not build_pg19(root, tmp_path, ALL)["train"].reused
    assert documents_of(tmp_path / "pg19.train.raw") == ["a"]


def test_a_changed_shard_is_seen(make_pg19: MakePg19, tmp_path: Path) -> None:
    before = pg19_inputs(make_pg19("one", train=[["a"]], valid=[["v"]], test=[["t"]]))
    after = pg19_inputs(make_pg19("two", train=[["b"]], valid=[["v"]], test=[["t"]]))
    assert before[0].name == after[0].name
    assert before[0].version != after[0].version
    assert before[0].details["rows"] == 1


def test_missing_root(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no such directory.*PERIGEE_PG19_ROOT"):
        build_pg19(tmp_path / "nowhere", tmp_path / "out", ALL)


def test_root_without_shards(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"holds no train-\*.parquet"):
        build_pg19(tmp_path, tmp_path / "out", ALL)


def test_root_without_one_split(make_pg19: MakePg19, tmp_path: Path) -> None:
    root = make_pg19(train=[["a"]], test=[["t"]])
    with pytest.raises(SourceError, match=r"holds no validation-\*.parquet"):
        build_pg19(root, tmp_path / "out", ALL)


def test_missing_shards_of_a_numbered_set_are_said(make_pg19: MakePg19, tmp_path: Path) -> None:
    root = make_pg19(train=[["a"], ["b"], ["c"]], valid=[["v"]], test=[["t"]])
    (root / "train-00001-of-00003.parquet").unlink()
    observer = ListObserver()
    build_pg19(root, tmp_path, ALL, observer=observer)
    assert any("2 of the 3 shards" in message for _, message in observer.messages)


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.9, 0.999])
def test_a_truncated_shard_is_one_line_and_leaves_the_old_files(
    make_pg19: MakePg19, tmp_path: Path, kept: float
) -> None:
    root = make_pg19(train=[texts("a", 9), texts("b", 9)], valid=[["v"]], test=[["t"]])
    out = tmp_path / "out"
    build_pg19(root, out, ALL)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    shard = root / "train-00001-of-00002.parquet"
    shard.write_bytes(shard.read_bytes()[: int(shard.stat().st_size * kept)])
    with pytest.raises(
        SourceError, match=r"train-00001-of-00002.*cannot be read as parquet"
    ) as error:
        build_pg19(root, out, ALL)
    assert "\n" not in str(error.value)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_damaged_pages_leave_nothing_behind(make_pg19: MakePg19, tmp_path: Path) -> None:
    root = make_pg19(train=[texts("a", 9)], valid=[["v"]], test=[["t"]])
    shard = root / "train-00000-of-00001.parquet"
    data = bytearray(shard.read_bytes())
    with pq.ParquetFile(shard) as file:
        column = file.metadata.row_group(3).column(3)
        start, size = column.dictionary_page_offset, column.total_compressed_size
    data[start : start + size] = bytes(0xFF for _ in range(size))
    shard.write_bytes(data)
    with pytest.raises(SourceError, match="train-00000-of-00001"):
        build_pg19(root, tmp_path / "out", ALL)
    assert not (tmp_path / "out/pg19.train.raw").exists()
    assert_nothing_partial(tmp_path / "out")


@pytest.mark.parametrize(("column", "kind"), [("text", pa.int32()), ("text", None), ("url", None)])
def test_wrong_columns(
    make_pg19: MakePg19, tmp_path: Path, column: str, kind: pa.DataType | None
) -> None:
    root = make_pg19(train=[["a"]], valid=[["v"]], test=[["t"]])
    shard = root / "train-00000-of-00001.parquet"
    table = pq.read_table(shard).drop_columns([column])
    if kind is not None:
        table = table.append_column(column, pa.array([1], kind))
    pq.write_table(table, shard)
    with pytest.raises(SourceError, match=f"column '{column}'"):
        build_pg19(root, tmp_path / "out", ALL)


def test_another_process_on_the_same_output_is_refused(make_pg19: MakePg19, tmp_path: Path) -> None:
    root = make_pg19(train=[["a"]], valid=[["v"]], test=[["t"]])
    out = tmp_path / "out"
    with exclusive_lock(out / ".pg19.lock", what="it"), pytest.raises(BusyError, match="in use by"):
        build_pg19(root, out, ALL)


def test_a_full_disk_is_one_line_and_leaves_the_old_files(
    make_pg19: MakePg19, tmp_path: Path
) -> None:
    """A limit on file sizes fails a write as a full disk does."""
    root = make_pg19(train=[["word " * 200_000]], valid=[["v"]], test=[["t"]])
    out = tmp_path / "out"
    out.mkdir()
    (out / "pg19.train.raw").write_text("old\n")
    program = f"""
        import resource, signal
        from pathlib import Path
        from perigee.corpus.documents import Limits
        from perigee.corpus.pg19 import build_pg19
        from perigee.errors import ArtifactError
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))
        try:
            build_pg19(Path({str(root)!r}), Path({str(out)!r}), Limits(0, 0, 0))
        except ArtifactError as error:
            print(error)
    """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True
    )
    assert "pg19.train.raw: cannot be written" in result.stdout
    assert result.stdout.count("\n") == 1
    assert documents_of(out / "pg19.train.raw") == ["old"]
    assert_nothing_partial(out)


def test_a_forbidden_directory_is_one_line(make_pg19: MakePg19, tmp_path: Path) -> None:
    root = make_pg19(train=[["a"]], valid=[["v"]], test=[["t"]])
    (tmp_path / "file").write_text("")
    with pytest.raises(PerigeeError) as error:
        build_pg19(root, tmp_path / "file" / "out", ALL)
    assert isinstance(error.value, ArtifactError)


def test_counts_agree_with_duckdb(make_pg19: MakePg19, tmp_path: Path) -> None:
    root = make_pg19(train=[texts("a", 50), texts("b", 30)], valid=[["v"]], test=[["t"]])
    built = build_pg19(root, tmp_path, ALL)
    documents, words = duckdb.sql(
        f"""SELECT count(*), sum(len(regexp_extract_all(text, '\\S+')))
        FROM read_parquet('{root}/train-*.parquet')"""
    ).fetchall()[0]
    counts = built["train"].manifest.counts
    assert (counts["documents"], counts["words"]) == (documents, words)
    for split in SPLITS:
        path = raw_paths(tmp_path / f"pg19.{split}.raw").manifest
        verify_files(path, built[split].manifest)


def test_a_root_whose_name_is_a_pattern(make_pg19: MakePg19, tmp_path: Path) -> None:
    root = make_pg19("a[b]*", train=[["x"]], valid=[["v"]], test=[["t"]])
    build_pg19(root, tmp_path / "out", ALL)
    assert documents_of(tmp_path / "out/pg19.train.raw") == ["x"]


def test_shards_of_large_row_groups_give_the_same(
    make_pg19: MakePg19, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are read page by page, in less memory than DuckDB takes."""
    root = make_pg19(
        train=[[*texts("a", 40), None, "é\u2028ü"], texts("b", 3)], valid=[["v"]], test=[["t"]]
    )
    build_pg19(root, tmp_path / "duckdb", ALL)
    monkeypatch.setattr(shards, "_LARGE_ROW_GROUP", 0)
    build_pg19(root, tmp_path / "pages", ALL)
    for split in SPLITS:
        one, other = (tmp_path / name / f"pg19.{split}.raw" for name in ("duckdb", "pages"))
        assert one.read_bytes() == other.read_bytes()
        tables = [pq.read_table(raw_paths(raw).index) for raw in (one, other)]
        assert tables[0].equals(tables[1])


def test_threads_change_nothing(
    make_pg19: MakePg19, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    books = [f"book {n}\n\u2003" + "word  " * (n % 50) if n % 9 else None for n in range(300)]
    root = make_pg19(train=[books, texts("a", 100)], valid=[["v"]], test=[["t", "book 1"]])
    for sampling, limit in (("first", 0), ("first", 150), ("random", 120)):
        found = []
        for share in (0.0, 1.0):
            monkeypatch.setattr(shards, "_AHEAD", share)
            out = tmp_path / f"{sampling}-{limit}-{share}"
            build_pg19(root, out, Limits(limit, 0, 0), sampling=sampling)
            found.append({p.name: p.read_bytes() for p in out.iterdir() if p.suffix != ".lock"})
        assert found[0] == found[1]
        assert len(found[0]) == 9


@pytest.mark.parametrize("large", [0, 1 << 30])
def test_text_that_is_not_utf8_is_refused(
    make_pg19: MakePg19, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, large: int
) -> None:
    root = make_pg19(train=[["a"]], valid=[["v"]], test=[["t"]])
    shard = root / "train-00000-of-00001.parquet"
    table = pq.read_table(shard)
    bad = pa.array([b"\xff\xfe"], pa.binary()).view(pa.string())
    pq.write_table(table.set_column(table.schema.get_field_index("text"), "text", bad), shard)
    monkeypatch.setattr(shards, "_LARGE_ROW_GROUP", large - 1)
    with pytest.raises(SourceError, match="cannot be read as parquet"):
        build_pg19(root, tmp_path / "out", ALL)


def test_a_kill_leaves_the_old_files_and_the_next_build_clears_up(
    make_pg19: MakePg19, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    build_pg19(make_pg19("old", train=[["a"]], valid=[["v"]], test=[["t"]]), out, ALL)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    root = make_pg19("new", train=[["a", "b", "c"]], valid=[["v"]], test=[["t"]])
    program = f"""
        import os, signal
        from pathlib import Path
        from perigee.corpus.documents import Limits
        from perigee.corpus.pg19 import build_pg19
        from perigee.observer import SilentObserver
        class Killer(SilentObserver):
            def progress(self, task, done, total, unit):
                if "train" in task and done == 2:
                    os.kill(os.getpid(), signal.SIGKILL)
        build_pg19(Path({str(root)!r}), Path({str(out)!r}), Limits(0, 0, 0), observer=Killer())
    """
    result = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=False)
    assert result.returncode == -signal.SIGKILL
    train = {name: data for name, data in before.items() if name.startswith("pg19.train")}
    assert {name: (out / name).read_bytes() for name in train} == train
    assert list(out.glob(".pg19.train.raw.*.part"))
    build_pg19(root, out, ALL)
    assert documents_of(out / "pg19.train.raw") == ["a", "b", "c"]
    assert_nothing_partial(out)
