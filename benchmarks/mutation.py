"""Damage archives in every way we know and read them; none may crash, hang or pass for whole.

    python benchmarks/mutation.py                   10,000 archives, seeds 0 to 9,999
    python benchmarks/mutation.py --first 4711 --archives 1

Bytes are flipped, cut out, repeated or zeroed, or the end is cut off: one to four of them, a pure
function of the seed. Each archive is read twice, in one thread and in several, which must give the
same: an error in a line, documents with damage said, or every document there is.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "corpus"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from archive_mutations import claims_too_much, mutate, outcome, whole_archive

from perigee.corpus import members

LIMIT_SECONDS = 10.0


def judge(data: bytes) -> tuple[str, float]:
    """What comes of an archive, and how long the slower of the two readings takes."""
    found, slowest = [], 0.0
    for share in (0.0, 10.0):
        members._AHEAD = share
        begin = time.perf_counter()
        try:
            found.append(outcome(data))
        except Exception as error:
            return f"CRASH {type(error).__name__}: {error}", 0.0
        slowest = max(slowest, time.perf_counter() - begin)
    if found[0] != found[1]:
        return "DIFFERS between threads", slowest
    if claims_too_much(*found[0]):
        return "PASSES for whole", slowest
    return ("HANGS" if slowest > LIMIT_SECONDS else found[0][0]), slowest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--archives", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--output", type=Path, default=Path("artifacts/benchmarks/mutation.json"))
    arguments = parser.parse_args()
    data = whole_archive()
    kinds: Counter[str] = Counter()
    failures: dict[int, str] = {}
    slowest = 0.0
    for seed in range(arguments.first, arguments.first + arguments.archives):
        kind, seconds = judge(mutate(data, seed))
        kinds[kind.split()[0]] += 1
        slowest = max(slowest, seconds)
        if kind[0].isupper():
            failures[seed] = kind
            print(f"seed {seed}: {kind}", file=sys.stderr)
    print(f"{arguments.archives} archives from seed {arguments.first}: {dict(kinds)}")
    print(f"slowest {slowest:.2f} s; {len(failures)} failures")
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    result = {"kinds": kinds, "slowest_seconds": slowest, "failures": failures}
    arguments.output.write_text(json.dumps(result, indent=2) + "\n")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
