"""How fast sources become documents, and in how much memory, against the least work there is.

    python benchmarks/corpus.py                    500 MB of text, five rounds
    python benchmarks/corpus.py --megabytes 5000 --rounds 1

The texts are those under PERIGEE_DEV_DATA (pg19/data and openwebtext2.jsonl.zst.tar), or else the
embedded sample, repeated with a number in front, so that no two are the same. Every measurement is
a process of its own; the kinds take turns, so that a busy machine slows all of them; the rates are
medians, of megabytes of source text a second.

floors      what cannot be avoided: DuckDB scanning the column of texts; zstandard decompressing the
            members and orjson parsing their lines
loops       what one would write first: fetchall, " ".join(text.split()), write; json.loads likewise
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import duckdb
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from perigee.corpus.documents import Limits
from perigee.corpus.embedded import build_embedded
from perigee.corpus.openwebtext2 import build_openwebtext2
from perigee.corpus.pg19 import build_pg19

ROW_GROUP = 6
MEMBER_BYTES = 50_000_000


def development_sources(work: Path) -> tuple[Path, Path]:
    """A directory of PG-19 shards and an archive: small, real texts."""
    if data := os.environ.get("PERIGEE_DEV_DATA"):
        return Path(data) / "pg19/data", Path(data) / "openwebtext2.jsonl.zst.tar"
    embedded = build_embedded(work / "embedded", Limits(200, 20, 20), words=1_000_000)
    return embedded.pg19_root, embedded.archive


def repeat_books(root: Path, out: Path, size: int) -> None:
    """Shards of ``size`` bytes of text; validation and test as they are."""
    out.mkdir()
    for path in root.glob("*.parquet"):
        if not path.name.startswith("train"):
            (out / path.name).write_bytes(path.read_bytes())
    rows = [row for path in sorted(root.glob("train-*")) for row in pq.read_table(path).to_pylist()]
    schema = pq.read_schema(next(root.glob("train-*")))
    schema = pa.schema([schema.field(name) for name in schema.names])
    written, count = 0, 4
    endless = itertools.cycle(rows)
    for shard in range(count):
        path = out / f"train-{shard:05d}-of-{count:05d}.parquet"
        with pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=False) as writer:
            while written < size * (shard + 1) / count:
                group = [dict(row) for row in itertools.islice(endless, ROW_GROUP)]
                for row in group:
                    row["text"] = f"{written} {row['text']}"
                    written += len(row["text"])
                writer.write_table(pa.Table.from_pylist(group, schema=schema))


def page_lines(archive: Path) -> Iterator[dict[str, object]]:
    with tarfile.open(archive) as tar:
        for member in tar:
            file = tar.extractfile(member)
            if file is None:
                continue
            text = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True).read()
            yield from map(orjson.loads, text.splitlines())


def repeat_pages(archive: Path, out: Path, size: int) -> None:
    """An archive with ``size`` bytes of text in members of about 50 MB."""
    rows = list(page_lines(archive))
    endless = itertools.cycle(rows)
    written = number = 0
    with tarfile.open(out, "w", format=tarfile.GNU_FORMAT) as tar:
        while written < size:
            compressor = zstandard.ZstdCompressor(write_content_size=False).compressobj()
            buffer, begin = io.BytesIO(), written
            while written < min(size, begin + MEMBER_BYTES):
                row = next(endless)
                text = f"{written} {row['text']}"
                written += len(text.encode())
                line = json.dumps({**row, "text": text}).encode() + b"\n"
                buffer.write(compressor.compress(line))
            buffer.write(compressor.flush())
            header = tarfile.TarInfo(f"{2005 + number // 12}-{number % 12 + 1:02d}.jsonl.zst")
            header.size = buffer.tell()
            buffer.seek(0)
            tar.addfile(header, buffer)
            number += 1


def scan_books(work: Path) -> int:
    query = f"SELECT sum(strlen(text)) FROM read_parquet('{work}/books/train-*.parquet')"
    return int(duckdb.sql(query).fetchall()[0][0])


def loop_books(work: Path) -> int:
    rows = duckdb.sql(f"SELECT text FROM read_parquet('{work}/books/train-*.parquet')").fetchall()
    size = 0
    with (work / "loop.raw").open("w", encoding="utf-8") as file:
        for (text,) in rows:
            size += len(text.encode())
            file.write(" ".join(text.split()) + "\n")
    return size


def build_books(work: Path) -> int:
    build_pg19(work / "books", work / "out", Limits(0, 0, 0), fresh=True)
    return 0


def scan_pages(work: Path) -> int:
    size = 0
    with tarfile.open(work / "pages.tar", "r|") as tar:
        for member in tar:
            file = tar.extractfile(member)
            assert file is not None
            rest = b""
            reader = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
            while block := reader.read(1 << 20):
                *lines, rest = (rest + block).split(b"\n")
                for line in lines:
                    size += len(orjson.loads(line)["text"])
    return size


def loop_pages(work: Path) -> int:
    size = 0
    with (
        tarfile.open(work / "pages.tar", "r|") as tar,
        (work / "loop.raw").open("w", encoding="utf-8") as out,
    ):
        for member in tar:
            file = tar.extractfile(member)
            reader = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
            for line in io.TextIOWrapper(reader, encoding="utf-8"):
                text = json.loads(line)["text"]
                size += len(text)
                out.write(" ".join(text.split()) + "\n")
    return size


def build_pages(work: Path) -> int:
    build_openwebtext2(str(work / "pages.tar"), work / "out", Limits(0, 20, 20), fresh=True)
    return 0


KINDS: dict[str, Callable[[Path], int]] = {
    "books: DuckDB scan": scan_books,
    "books: plain loop": loop_books,
    "books: perigee": build_books,
    "pages: zstandard + orjson": scan_pages,
    "pages: plain loop": loop_pages,
    "pages: perigee": build_pages,
}


def measure(work: Path, kind: str) -> dict[str, float]:
    """Seconds and peak memory of one kind, in a process of its own."""
    command = [sys.executable, __file__, "--one", kind, "--work", str(work)]
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(result.stdout)
    return found


def one(work: Path, kind: str) -> None:
    begin, cpu = time.perf_counter(), time.process_time()
    KINDS[kind](work)
    seconds, cpu_seconds = time.perf_counter() - begin, time.process_time() - cpu
    found = {"seconds": seconds, "cpu_seconds": cpu_seconds, "peak_mib": peak_mib()}
    print(json.dumps(found))


def peak_mib() -> float:
    """Of this process alone: ru_maxrss would begin with what its parent held when it forked."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def report(
    rates: dict[str, float],
    cpu_rates: dict[str, float],
    peaks: dict[str, float],
    size: float,
    rounds: int,
) -> str:
    lines = [f"{size / 1e6:.0f} MB of text from each source, median of {rounds}", ""]
    lines.append(f"{'':28}{'MB/s':>8}{'MB/CPU s':>10}{'peak MiB':>10}")
    for kind, rate in rates.items():
        lines.append(f"{kind:28}{rate:8.0f}{cpu_rates[kind]:10.0f}{peaks[kind]:10.0f}")
    books, pages = rates["books: perigee"], rates["pages: perigee"]
    lines += [
        "",
        f"books: {books / rates['books: DuckDB scan']:.2f} of the scan (at least 0.4), "
        f"{books / rates['books: plain loop']:.1f} times the loop (at least 5)",
        f"pages: {pages / rates['pages: zstandard + orjson']:.2f} of the parsing (at least 0.6), "
        f"{pages / rates['pages: plain loop']:.1f} times the loop (at least 3)",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--megabytes", type=int, default=500, help="text from each source")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path("artifacts/benchmarks/corpus.json"))
    parser.add_argument("--only", default="", help="kinds that begin so")
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        one(arguments.work, arguments.one)
        return
    size = arguments.megabytes * 1_000_000
    with tempfile.TemporaryDirectory(prefix="perigee-bench-") as name:
        work = arguments.work or Path(name)
        if not (work / "books").exists():
            books, pages = development_sources(work)
            repeat_books(books, work / "books", size)
            repeat_pages(pages, work / "pages.tar", size)
        kinds = [kind for kind in KINDS if kind.startswith(arguments.only)]
        runs: dict[str, list[dict[str, float]]] = {kind: [] for kind in kinds}
        for _ in range(arguments.rounds):
            for kind in kinds:
                runs[kind].append(measure(work, kind))
    rates, cpu_rates = (
        {
            kind: size / 1e6 / statistics.median(run[clock] for run in found)
            for kind, found in runs.items()
        }
        for clock in ("seconds", "cpu_seconds")
    )
    peaks = {kind: max(run["peak_mib"] for run in found) for kind, found in runs.items()}
    if len(rates) == len(KINDS):
        print(report(rates, cpu_rates, peaks, size, arguments.rounds))
    else:
        print(json.dumps({"rates": rates, "cpu_rates": cpu_rates, "peaks": peaks}, indent=2))
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    result = {
        "bytes": size,
        "rounds": arguments.rounds,
        "mb_per_second": rates,
        "mb_per_cpu_second": cpu_rates,
        "peak_mib": peaks,
    }
    arguments.output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
