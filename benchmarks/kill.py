"""Kill a small but real training again and again; it has to end as if it had never been touched.

    python benchmarks/kill.py --kills 200                   SIGKILL at random moments
    python benchmarks/kill.py --kills 50 --signal TERM      SIGTERM: a snapshot at the step's end
    python benchmarks/kill.py --kills 50 --full-disk        the disk fills up (a tmpfs; Linux, root)

A training that has ended is compared with one that ran undisturbed: every byte of its checkpoints
(weights, averages, optimiser, state, settings) and its log, but for what a clock decides. Then the
next one begins, until the number of kills is reached. Each attempt is a forked process.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
# Forked children may not inherit OpenMP's threads; and two runs must sum in the same order.
os.environ["OMP_NUM_THREADS"] = "1"

from perigee import stages
from perigee.errors import Interrupted, PerigeeError
from perigee.observer import ListObserver
from perigee.settings import DiffusionSettings, ModelSettings, Settings, TrainingSettings
from perigee.training.log import read_log
from perigee.training.trainer import train_epochs

WORDS = [f"{a}{b}" for a in ("ba", "de", "ki", "mo", "su") for b in ("n", "r", "l", "s", "t", "m")]
FINISHED, STOPPED, FULL = 0, Interrupted.exit_status, 3
CLOCKED = ("timestamp", "tokens_per_second")


@dataclass
class Result:
    """What happened."""

    kills: int = 0
    trainings: int = 0
    differing: int = 0
    while_writing: int = 0
    """Kills that left a half-written checkpoint or snapshot behind."""
    fallbacks: int = 0
    """Attempts that warned of a damaged file."""
    endings: Counter[str] = field(default_factory=Counter)


def settings_in(directory: Path, epochs: int) -> Settings:
    return Settings(
        model=ModelSettings(
            num_layers=2, model_dim=32, oscillator_count=4, num_heads=2, min_radius=4, max_radius=8
        ),
        training=TrainingSettings(
            train_path=str(directory / "unified.train.raw"),
            val_path=str(directory / "unified.valid.raw"),
            test_path=str(directory / "unified.test.raw"),
            vocab_path=str(directory / "perigee_vocab.json"),
            vocab_size=30,
            checkpoint_dir=str(directory / "checkpoints"),
            log_path=str(directory / "log.jsonl"),
            sequence_length=32,
            stride=32,
            max_sequences=60,
            max_valid_sequences=4,
            batch_size=4,
            epochs=epochs,
            learning_rate=3e-3,
            log_every=3,
            use_gpu=False,
            snapshot_minutes=0.03 / 60,
            kept_optimizers=1,
        ),
        diffusion=DiffusionSettings(evaluation_times=2),
    )


def write_documents(directory: Path) -> None:
    numbers = random.Random(0)
    for split, documents in {"train": 100, "valid": 12, "test": 12}.items():
        with (directory / f"unified.{split}.raw").open("w", encoding="utf-8") as file:
            for _ in range(documents):
                place, line = numbers.randrange(30), []
                for _ in range(numbers.randrange(10, 60)):
                    place = (place + numbers.choice([1, 1, 1, 2, 7])) % len(WORDS)
                    line.append(WORDS[place])
                file.write(" ".join(line) + "\n")


def forked(work: Callable[[], int]) -> int:
    """Run ``work`` in a forked process; the process's number."""
    process = os.fork()
    if process:
        return process
    status = 1
    try:
        status = work()
    except PerigeeError as error:
        print(error, file=sys.stderr)
        status = FULL if "No space left" in str(error) else error.exit_status
    finally:
        sys.stderr.flush()
        os._exit(status)


def wait_for(process: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def attempt(settings: Settings, notes: Path) -> Callable[[], int]:
    def work() -> int:
        observer = ListObserver()
        try:
            for _ in train_epochs(settings, observer=observer):
                pass
        finally:
            if any(level == "warning" for level, _ in observer.messages):
                with notes.open("a") as file:
                    file.write("".join(f"{text}\n" for _, text in observer.messages))
        return FINISHED

    return work


def what_stands(settings: Settings) -> dict[str, Any]:
    """All bytes of all checkpoints (their manifests hold clock readings: hashes), and the log."""
    found: dict[str, Any] = {}
    for epoch in range(1, settings.training.epochs + 1):
        path = settings.checkpoint_path(epoch)
        for file in sorted(path.iterdir()):
            if file.name == "manifest.json":
                manifest = json.loads(file.read_text())
                found[f"{epoch} recipe"] = (manifest["recipe"], manifest["version"])
            else:
                found[f"{epoch} {file.name}"] = file.read_bytes()
    records = read_log(Path(settings.training.log_path))
    found["log"] = [{k: v for k, v in r.items() if k not in CLOCKED} for r in records]
    return found


def disturb(
    args: argparse.Namespace, prepared: Path, directory: Path, expected: dict[str, Any]
) -> Result:
    numbers, result = random.Random(args.seed), Result()
    number = signal.SIGTERM if args.signal == "TERM" else signal.SIGKILL
    notes = prepared / "notes.txt"
    while result.kills < args.kills:
        run = directory / "run"
        shutil.copytree(prepared, run)
        settings = settings_in(run, args.epochs)
        status = None
        while status != FINISHED:
            process = forked(attempt(settings, notes))
            if result.kills < args.kills:
                ballast = fill(directory, numbers) if args.full_disk else None
                if not args.full_disk:
                    time.sleep(numbers.uniform(0.0, args.longest))
                    os.kill(process, number)
                status = wait_for(process)
                result.kills += status != FINISHED
                if ballast is not None:
                    ballast.unlink()
            else:
                status = wait_for(process)
            result.endings[ending(status)] += 1
            result.while_writing += bool(list((run / "checkpoints").rglob(".*.part")))
            if ending(status).startswith("failed"):
                raise SystemExit(f"an attempt {ending(status)}; see above")
        result.trainings += 1
        print(f"{result.kills} kills, {result.trainings} trainings ended", file=sys.stderr)
        differing = compare(expected, what_stands(settings))
        if differing:
            print(f"training {result.trainings} differs in {', '.join(differing)}")
            result.differing += 1
        shutil.rmtree(run)
    result.fallbacks = len(notes.read_text().splitlines()) if notes.exists() else 0
    return result


def fill(directory: Path, numbers: random.Random) -> Path:
    """Take most of the disk's space, a random amount of it, so that it fills up somewhere."""
    ballast = directory / "ballast"
    free = shutil.disk_usage(directory).free
    with ballast.open("wb") as file:
        file.write(b"\0" * max(0, free - numbers.randrange(0, 1_500_000)))
    return ballast


def ending(status: int) -> str:
    known = {FINISHED: "finished", STOPPED: "stopped with a snapshot", FULL: "disk full"}
    if status < 0:
        return signal.Signals(-status).name
    return known.get(status, f"failed with status {status}")


def compare(expected: dict[str, Any], found: dict[str, Any]) -> list[str]:
    return [
        name
        for name in sorted(expected.keys() | found.keys())
        if expected.get(name) != found.get(name)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--signal", choices=["KILL", "TERM"], default="KILL")
    parser.add_argument("--full-disk", action="store_true", help="fill the disk instead of killing")
    parser.add_argument("--longest", type=float, default=0.6, help="longest attempt, seconds")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the figures here")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # whoever started this may ignore it
    # What the first optimiser imports takes seconds: once here, not in every forked process.
    import_module("torch._dynamo")
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        prepared, whole = directory / "prepared", directory / "whole"
        prepared.mkdir()
        write_documents(prepared)
        assert wait_for(forked(lambda: stages.prepare(settings_in(prepared, 1)) or 0)) == 0
        shutil.copytree(prepared, whole)
        begun = time.perf_counter()
        settings = settings_in(whole, args.epochs)
        assert wait_for(forked(attempt(settings, prepared / "notes.txt"))) == FINISHED
        undisturbed = time.perf_counter() - begun
        expected = what_stands(settings)
        field_of_work = directory / "disturbed"
        field_of_work.mkdir()
        if args.full_disk:
            subprocess.run(
                ["mount", "-t", "tmpfs", "-o", "size=8m", "none", field_of_work], check=True
            )
        try:
            result = disturb(args, prepared, field_of_work, expected)
        finally:
            if args.full_disk:
                subprocess.run(["umount", field_of_work], check=True)
    report(args, result, undisturbed, len(expected["log"]))


def report(args: argparse.Namespace, result: Result, undisturbed: float, records: int) -> None:
    figures = {
        "disturbance": "full disk" if args.full_disk else f"SIG{args.signal}",
        "kills": result.kills,
        "trainings_ended": result.trainings,
        "trainings_that_differ": result.differing,
        "kills_while_writing": result.while_writing,
        "warnings_of_damage": result.fallbacks,
        "endings": dict(result.endings),
        "undisturbed_seconds": round(undisturbed, 2),
        "log_records": records,
    }
    for key, value in figures.items():
        print(f"{key.replace('_', ' '):24} {value}")
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n")
    if result.differing:
        raise SystemExit("not every training ended as the undisturbed one")


if __name__ == "__main__":
    main()
