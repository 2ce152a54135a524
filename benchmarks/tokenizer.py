"""How fast documents become windows of ids, and in how much memory, against the tokenizers library.

    python benchmarks/tokenizer.py                    text once, and repeated to 500 MB
    python benchmarks/tokenizer.py --megabytes 5000 --rounds 1

The texts are those under PERIGEE_DEV_DATA (pg19/data and openwebtext2.jsonl.zst.tar), or else the
embedded sample. Every measurement is a process of its own; the kinds take turns, so that a busy
machine slows all of them; the rates are medians, of megabytes of text a second. Repeated text
brings no new words, so the ratios are those of the text read once.

library     encode_batch of the exported tokenizer.json, all documents, all cores: ids only
loop        Python's re and a dictionary, document by document: ids only
windows     this project's stage, from the file of documents to the finished file of windows
vocabulary  this project's stage, from the file of documents to the vocabulary's files
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from tokenizers import Tokenizer

from perigee.corpus.documents import Limits
from perigee.corpus.embedded import build_embedded
from perigee.corpus.openwebtext2 import build_openwebtext2
from perigee.corpus.pg19 import build_pg19
from perigee.tokenizer.prime import BOS, EOS, UNK, PrimeTokenizer
from perigee.tokenizer.vocabulary import build_vocabulary
from perigee.tokenizer.windows import Windows, build_windows

VOCABULARY_SIZE = 50_000
LENGTH = 2048
LOOP_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*|\S")
AT_LEAST = 5.0


def write_documents(work: Path, size: int) -> None:
    """``once.raw``: books and pages; ``repeated.raw``: the same until there are ``size`` bytes."""
    if data := os.environ.get("PERIGEE_DEV_DATA"):
        books, pages = Path(data) / "pg19/data", Path(data) / "openwebtext2.jsonl.zst.tar"
    else:
        sources = build_embedded(work / "embedded", Limits(0, 0, 0), words=1_000_000)
        books, pages = sources.pg19_root, sources.archive
    built = build_pg19(books, work / "corpora", Limits(0, 0, 0))
    built |= {"pages": build_openwebtext2(str(pages), work / "corpora", Limits(0, 1, 1))["train"]}
    text = b"".join(
        (work / "corpora" / f"{name}.train.raw").read_bytes() for name in ("pg19", "openwebtext2")
    )
    (work / "once.raw").write_bytes(text)
    with (work / "repeated.raw").open("wb") as file:
        while file.tell() < size:
            file.write(text)


def documents(work: Path) -> list[str]:
    return (work / "once.raw").read_text("utf-8").split("\n")[:-1]


def library(work: Path) -> None:
    tokenizer = Tokenizer.from_file(str(work / "tokenizer.json"))
    tokenizer.encode_batch(documents(work))


def loop(work: Path) -> None:
    ids = PrimeTokenizer.load(work / "perigee_vocab.json").ids
    for document in documents(work):
        words = LOOP_WORD.findall(document.lower())
        np.fromiter((ids.get(word, UNK) for word in words), np.uint16, len(words))


def windows(work: Path, name: str) -> None:
    build_windows(
        work / f"{name}.raw",
        work / "perigee_vocab.json",
        work / f"{name}_windows.arrow",
        sequence_length=LENGTH,
        stride=LENGTH,
        max_sequences=0,
        seed=0,
        fresh=True,
    )


def vocabulary(work: Path, name: str) -> None:
    path = work / "perigee_vocab.json" if name == "once" else work / f"{name}_vocab.json"
    build_vocabulary(work / f"{name}.raw", path, VOCABULARY_SIZE, fresh=True)


KINDS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "vocabulary, once": ("once", lambda work: vocabulary(work, "once")),
    "library, once": ("once", library),
    "loop, once": ("once", loop),
    "windows, once": ("once", lambda work: windows(work, "once")),
    "vocabulary, repeated": ("repeated", lambda work: vocabulary(work, "repeated")),
    "windows, repeated": ("repeated", lambda work: windows(work, "repeated")),
}


def count_different(work: Path) -> tuple[int, int]:
    """Ids of all documents, and how many of them the library sees differently."""
    stream = Windows.open(work / "once_windows.arrow").tokens.reshape(-1)
    tokenizer = Tokenizer.from_file(str(work / "tokenizer.json"))
    place = different = 0
    for encoding in tokenizer.encode_batch(documents(work)):
        ids = np.array([BOS, *encoding.ids, EOS])
        found = stream[place : place + len(ids)]
        different += int((found != ids).sum()) if len(found) == len(ids) else len(ids)
        place += len(ids)
    return place, different + int(np.count_nonzero(stream[place:]))


def measure(work: Path, kind: str) -> dict[str, float]:
    """Seconds and peak memory of one kind, in a process of its own."""
    command = [sys.executable, __file__, "--one", kind, "--work", str(work)]
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(result.stdout)
    return found


def one(work: Path, kind: str) -> None:
    begin = time.perf_counter()
    KINDS[kind][1](work)
    seconds = time.perf_counter() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "peak_mib": peak}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--megabytes", type=int, default=500, help="size of the repeated text")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path("artifacts/benchmarks/tokenizer.json"))
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        one(arguments.work, arguments.one)
        return
    with tempfile.TemporaryDirectory(prefix="perigee-bench-") as name:
        work = Path(name)
        write_documents(work, arguments.megabytes * 1_000_000)
        sizes = {name: (work / f"{name}.raw").stat().st_size for name in ("once", "repeated")}
        runs: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
        for _ in range(arguments.rounds):
            for kind, found in runs.items():
                found.append(measure(work, kind))
        compared, different = count_different(work)
    rates = {
        kind: sizes[KINDS[kind][0]] / 1e6 / statistics.median(run["seconds"] for run in found)
        for kind, found in runs.items()
    }
    peaks = {kind: max(run["peak_mib"] for run in found) for kind, found in runs.items()}
    ratio = rates["windows, once"] / rates["library, once"]
    print(f"{sizes['once'] / 1e6:.0f} MB, repeated to {sizes['repeated'] / 1e6:.0f}", end="; ")
    print(f"median of {arguments.rounds} on {os.cpu_count()} cores\n")
    print(f"{'':24}{'MB/s':>8}{'peak MiB':>10}")
    for kind, rate in rates.items():
        print(f"{kind:24}{rate:8.1f}{peaks[kind]:10.0f}")
    print(f"\nwindows: {ratio:.1f} times the library (at least {AT_LEAST:.0f})")
    print(f"ids: {different} of {compared} differ from the library's")
    result = {
        "bytes": sizes,
        "rounds": arguments.rounds,
        "mb_per_second": rates,
        "peak_mib": peaks,
        "times_library": ratio,
        "ids_compared": compared,
        "ids_different": different,
    }
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
