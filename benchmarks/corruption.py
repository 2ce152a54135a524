"""Damage checkpoints in every way we know, load them, resume from them; nothing wrong may load.

    python benchmarks/corruption.py --checkpoints 1000 --resumes 50

Loads: one file of an epoch's checkpoint is damaged (bits flipped, cut, emptied, zeroed, removed,
JSON edited value by value, a pickle or torch.save in its place, also with the manifest's hashes
mended) and the checkpoint is loaded; refused in one line, or the weights are the right ones (what
was hit decides nothing, such as a clock reading in the manifest). Resumes: the newest of two
snapshots is damaged, and the training has to end with the bytes of one that was never touched.
Every pickle is a trap that leaves a mark when it is loaded.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "training"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ["OMP_NUM_THREADS"] = "1"  # a resume has to sum in the same order

import numpy as np
from damage import Outcome, corrupt, damage_and_load, kinds_for
from kill import settings_in, write_documents

from perigee import stages
from perigee.errors import ArtifactError, Interrupted
from perigee.observer import ListObserver
from perigee.settings import Settings
from perigee.training.snapshots import snapshots_of
from perigee.training.trainer import train_epochs

STOPS = (6, 9)
"""Steps after which the training is stopped, so that two snapshots are there."""


class StopAfter(ListObserver):
    """Asks for a stop after a number of steps of the epoch."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.left = step

    def progress(self, task: str, done: int, total: int | None, unit: str) -> None:
        if unit == "steps" and done >= self.left:
            self.left = 0

    def should_stop(self) -> bool:
        return self.left == 0


def one_epoch(directory: Path) -> Settings:
    settings = settings_in(directory, 1)
    calm = settings.training.model_copy(update={"snapshot_minutes": 0.0})
    return settings.model_copy(update={"training": calm})


def train(settings: Settings, observer: ListObserver) -> str:
    return [report.manifest.version for report in train_epochs(settings, observer=observer)][-1]


def interrupted(settings: Settings) -> None:
    for step in STOPS:
        try:
            train(settings, StopAfter(step))
        except Interrupted:
            continue
        raise SystemExit("the training was not stopped")


def damage_and_resume(
    prepared: Path, times: int, seed: int, mark: Path, expected: str
) -> list[Outcome]:
    """Damage the newest snapshot, resume, and compare the end with ``expected``."""
    numbers, outcomes = np.random.default_rng(seed), []
    interrupted(one_epoch(prepared))
    run = prepared.with_name("resumed")
    for number in range(times):
        shutil.copytree(prepared, run)
        settings, observer = one_epoch(run), ListObserver()
        newest = max(snapshots_of(settings).directory.iterdir())
        names = sorted(file.name for file in newest.iterdir())
        name = names[number % len(names)]
        kinds = [kind for kind in kinds_for(name) if not kind.startswith("forged")]
        kind = kinds[int(numbers.integers(len(kinds)))]
        corrupt(newest / name, kind, numbers, mark)
        outcomes.append(Outcome(name, kind, resumed(settings, observer, expected)))
        shutil.rmtree(run)
        told(number + 1, times, "resumes")
    return outcomes


def resumed(settings: Settings, observer: ListObserver, expected: str) -> str:
    try:
        found = train(settings, observer)
    except ArtifactError as error:
        return "refused" if "\n" not in str(error) else "several lines"
    except Exception as error:
        return f"crashed: {error!r:.200}"
    fell_back = any("falling back" in text for _, text in observer.messages)
    if found != expected:
        return "wrong weights"
    return "fell back, same bytes" if fell_back else "same bytes"


def told(done: int, times: int, what: str) -> None:
    if done % 100 == 0 or done == times:
        print(f"{done} of {times} {what}", file=sys.stderr)


def table(outcomes: list[Outcome]) -> dict[str, dict[str, int]]:
    """Results by kind of damage."""
    kinds = sorted({o.kind for o in outcomes})
    return {k: dict(Counter(o.result for o in outcomes if o.kind == k)) for k in kinds}


def show(title: str, rows: dict[str, dict[str, int]]) -> None:
    results = sorted({result for row in rows.values() for result in row})
    print(f"{title:18}" + "".join(f"{result:>23}" for result in results))
    total: Counter[str] = Counter()
    for kind, row in rows.items():
        total.update(row)
        print(f"{kind:18}" + "".join(f"{row.get(result, 0):>23}" for result in results))
    print(f"{'all':18}" + "".join(f"{total[result]:>23}" for result in results) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--checkpoints", type=int, default=1000)
    parser.add_argument("--resumes", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the figures here")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        mark, prepared, whole = (directory / n for n in ("executed", "prepared", "whole"))
        prepared.mkdir()
        write_documents(prepared)
        stages.prepare(one_epoch(prepared))
        shutil.copytree(prepared, whole)
        expected = train(one_epoch(whole), ListObserver())
        loads = damage_and_load(
            one_epoch(whole).checkpoint_path(1),
            args.checkpoints,
            args.seed,
            mark,
            lambda done: told(done, args.checkpoints, "loads"),
        )
        resumes = damage_and_resume(prepared, args.resumes, args.seed, mark, expected)
        executed = mark.exists()
    report(args, {"loads": loads, "resumes": resumes}, executed)


def report(args: argparse.Namespace, outcomes: dict[str, list[Outcome]], executed: bool) -> None:
    for title, found in outcomes.items():
        show(title, table(found))
    print(f"traps executed: {'yes' if executed else 'none'}")
    every = [o for found in outcomes.values() for o in found]
    good = ("refused", "same weights", "same bytes", "fell back, same bytes")
    bad = [o for o in every if o.result not in good]
    for outcome in bad:
        print(f"{outcome.name} {outcome.kind}: {outcome.result}")
    figures: dict[str, Any] = {name: table(found) for name, found in outcomes.items()}
    if args.json:
        args.json.write_text(json.dumps(figures | {"executed": executed}, indent=2) + "\n")
    if bad or executed:
        raise SystemExit("not every damaged checkpoint was refused or harmless")


if __name__ == "__main__":
    main()
