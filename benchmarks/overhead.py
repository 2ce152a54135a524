"""What snapshots, the log and the averaged weights cost, as shares of a training step.

    python benchmarks/overhead.py                           the sample's model and settings
    python benchmarks/overhead.py --config configs/perigee_train.toml --steps 3 --words 512

Random words, one thread, float32. Each part is measured by itself in this process' processor time,
which other processes on the machine hardly change; a snapshot also by the clock, since it waits for
the disk. A share is a part's time over its period (a step, ``log_every`` steps,
``snapshot_minutes``) over the time of that period's steps. Medians.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from perigee.config import load_settings
from perigee.observer import SILENT
from perigee.settings import Settings
from perigee.tokenizer.prime import SPECIAL_TOKENS, PrimeTokenizer
from perigee.training.averaging import Average
from perigee.training.batches import Batch, make_batch
from perigee.training.checkpoint import CheckpointRecord, save_checkpoint, vocabulary_files
from perigee.training.device import choose_device
from perigee.training.learner import Learner, build_learner, build_objective
from perigee.training.log import TrainingLog
from perigee.training.processes import OneProcess
from perigee.training.step import StepRules, take_step

SAMPLE = Path(__file__).resolve().parents[1] / "configs" / "perigee_sample.toml"


class Cost(NamedTuple):
    """Seconds of one execution."""

    processor: float
    clock: float


def measure(work: Callable[[], object], times: int) -> Cost:
    """Medians over ``times`` executions, after one that does not count."""
    costs = []
    for _ in range(times + 1):
        processor, clock = time.process_time(), time.perf_counter()
        work()
        costs.append(Cost(time.process_time() - processor, time.perf_counter() - clock))
    return Cost(*(statistics.median(column) for column in zip(*costs[1:], strict=True)))


def read_settings(args: argparse.Namespace) -> Settings:
    document = load_settings(args.config, {}).model_dump()
    document["training"] |= {"use_gpu": False, "precision": "float32"}
    if args.words:
        document["training"]["sequence_length"] = args.words
    return Settings.model_validate(document)


def random_batch(settings: Settings, vocabulary: int, parts: int) -> Batch:
    training = settings.training
    shape = (training.batch_size, training.sequence_length)
    numbers = np.random.default_rng(0)
    words = numbers.integers(len(SPECIAL_TOKENS), vocabulary, shape).astype(np.uint16)
    rows = np.arange(training.batch_size)
    return make_batch(words, rows, seed=training.seed, epoch=1, step=0, parts=parts)


def stepper(settings: Settings, learner: Learner, vocabulary: int) -> Callable[[], object]:
    training, objective = settings.training, build_objective(settings, vocabulary)
    rules = StepRules(
        objective,
        choose_device(False, SILENT),
        training.precision,
        training.gradient_clip,
        training.accumulate,
    )
    batch = random_batch(settings, vocabulary, objective.parts)
    return lambda: take_step(learner, batch, 1e-6, rules, OneProcess())


def measure_parts(settings: Settings, args: argparse.Namespace, directory: Path) -> dict[str, Cost]:
    words = [f"word{n}" for n in range(settings.training.vocab_size)]
    tokenizer = PrimeTokenizer((*SPECIAL_TOKENS, *words))
    device = choose_device(False, SILENT).torch_device
    learner = build_learner(settings, len(tokenizer), device)
    average, learner.average = Average(learner.denoiser, 0.999), None
    found = {"step": measure(stepper(settings, learner, len(tokenizer)), args.steps)}
    found["averaged weights"] = measure(lambda: average.update(1000), 20)
    learner.average = average
    board = str(directory / "board") if args.tensorboard else ""
    record = {"epoch": 1, "step": 1, "loss": 1.0, "grad_norm": 1.0, "learning_rate": 1e-3}
    log = TrainingLog(
        directory / "log.jsonl", step=0, epoch=0, tensorboard_dir=board, observer=SILENT
    )
    with log:
        found["record"] = measure(lambda: log.write("step", record), 200)
    document = settings.model_dump(mode="json")
    kept = CheckpointRecord("snapshot", document, (), vocabulary_files(tokenizer), {}, {})
    found["snapshot"] = measure(lambda: save_checkpoint(directory / "snapshot", learner, kept), 3)
    return found


def shares(settings: Settings, found: dict[str, Cost]) -> dict[str, float]:
    """Parts of the time of a step without any of them."""
    training, step = settings.training, found["step"].processor
    period = 60.0 * training.snapshot_minutes
    return {
        "averaged weights": found["averaged weights"].processor / step,
        "record": found["record"].processor / (step * training.log_every),
        "snapshot": found["snapshot"].processor / period if period else 0.0,
        "snapshot by the clock": found["snapshot"].clock / period if period else 0.0,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--config", type=Path, default=SAMPLE)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--words", type=int, default=0, help="words in a window; 0: the settings'")
    parser.add_argument("--tensorboard", action="store_true", help="records go there as well")
    parser.add_argument("--json", type=Path, help="write the figures here")
    args = parser.parse_args()
    settings = read_settings(args)
    with tempfile.TemporaryDirectory() as name:
        found = measure_parts(settings, args, Path(name))
    report(settings, args, found)


def report(settings: Settings, args: argparse.Namespace, found: dict[str, Cost]) -> None:
    training, parts = settings.training, shares(settings, found)
    periods = {
        "step": "",
        "averaged weights": "each step",
        "record": f"every {training.log_every} steps",
        "snapshot": f"every {training.snapshot_minutes:g} minutes",
    }
    print(f"{args.config.name}: {training.batch_size} x {training.sequence_length} words a step")
    print(f"{'':18}{'processor ms':>14}{'clock ms':>12}  {'':18}{'share':>9}")
    for name, cost in found.items():
        share = f"{parts[name]:.3%}" if name in parts else ""
        print(
            f"{name:18}{1e3 * cost.processor:>14.2f}{1e3 * cost.clock:>12.2f}"
            f"  {periods[name]:18}{share:>9}"
        )
    total = parts["averaged weights"] + parts["record"] + parts["snapshot by the clock"]
    print(f"together, the snapshot by the clock: {total:.3%}")
    if args.json:
        seconds = {name: cost._asdict() for name, cost in found.items()}
        figures = {"config": args.config.name, "seconds": seconds, "shares": parts, "total": total}
        args.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
