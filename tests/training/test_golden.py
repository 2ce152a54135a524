"""Losses as they were when this file's figures were written: of a tiny training, of the sample's.

They change with the model, its initial values, the objective, the order, the tokenizer and the
optimiser. After a change that is meant, write them anew:

    PYTHONPATH=. python tests/training/test_golden.py
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from perigee import stages
from perigee.config import load_settings
from perigee.observer import SILENT
from perigee.settings import Settings
from perigee.training.batches import make_batch
from perigee.training.data import open_data
from perigee.training.device import choose_device
from perigee.training.learner import build_learner, build_objective
from perigee.training.learning_rate import learning_rate
from perigee.training.log import read_log
from perigee.training.order import batch_rows, epoch_order
from perigee.training.processes import OneProcess
from perigee.training.step import StepRules, take_step
from perigee.training.trainer import train_epochs
from perigee.training.validation import validate

TINY = Path(__file__).with_name("golden_losses.json")
SAMPLE = Path(__file__).with_name("golden_sample.json")
SAMPLE_CONFIG = Path(__file__).resolve().parents[2] / "configs" / "perigee_sample.toml"

SYLLABLES = [a + b for a in ("b", "d", "k", "m") for b in ("a", "e", "i", "o", "u")]
FREQUENT = 97

STEPS = 6
TOTAL_STEPS = 2048
"""Length of the training that the schedule is stretched over, whatever ``epochs`` is."""
RATE_POINTS = (0, 5, 30, 60, 400, 1000, 2000)
"""Steps of the sample's schedule whose rates are golden too: warm-up, top and descent."""


def measure_tiny(settings: Settings) -> dict[str, list[float]]:
    reports = list(train_epochs(settings))
    records = read_log(Path(settings.training.log_path))
    return {
        "losses": [r["loss"] for r in records if r["event"] == "step"],
        "bounds": [report.validation["nats_per_word"] for report in reports],
    }


def sample_settings(directory: Path) -> Settings:
    """The sample configuration; only the places differ, and the arithmetic is that of any CPU."""
    document = load_settings(SAMPLE_CONFIG, {}).model_dump()
    document["training"] |= {
        "train_path": str(directory / "unified.train.raw"),
        "val_path": str(directory / "unified.valid.raw"),
        "test_path": str(directory / "unified.test.raw"),
        "vocab_path": str(directory / "vocab.json"),
        "checkpoint_dir": str(directory / "checkpoints"),
        "log_path": str(directory / "log.jsonl"),
        "use_gpu": False,
        "precision": "float32",
    }
    return Settings.model_validate(document)


def write_sample_documents(directory: Path) -> None:
    """8,000 words, as many as the sample's vocabulary holds: all of them once, a few often."""
    words = ["".join(parts) for parts in product(SYLLABLES, repeat=3)]
    text: list[str] = []
    for n in range(len(words)):
        text.append(words[n * 7919 % len(words)])
        if n % 8 < 5:
            text.append(words[n * n % FREQUENT])
    lines = [" ".join(text[i : i + 100]) for i in range(0, len(text), 100)]
    for split, chosen in {"train": lines, "valid": lines[:3], "test": lines[:3]}.items():
        (directory / f"unified.{split}.raw").write_text("\n".join(chosen) + "\n", encoding="utf-8")


def measure_sample(directory: Path) -> dict[str, list[float]]:
    """The sample's first steps, the bound after them, and learning rates of all its training."""
    write_sample_documents(directory)
    settings = sample_settings(directory)
    stages.prepare(settings)
    data, training = open_data(settings), settings.training
    device = choose_device(False, SILENT)
    learner = build_learner(settings, len(data.tokenizer), device.torch_device)
    objective = build_objective(settings, len(data.tokenizer))
    rules = StepRules(
        objective, device, training.precision, training.gradient_clip, training.accumulate
    )
    order = epoch_order(training.seed, 1, len(data.train))
    found: dict[str, list[float]] = {"losses": [], "gradient_norms": []}
    for step in range(STEPS):
        rows = batch_rows(order, step, training.batch_size)
        batch = make_batch(
            data.train.tokens, rows, seed=training.seed, epoch=1, step=step, parts=objective.parts
        )
        rate = learning_rate(training, step, TOTAL_STEPS)
        report = take_step(learner, batch, rate, rules, OneProcess())
        found["losses"].append(report.loss)
        found["gradient_norms"].append(report.gradient_norm)
    found["rates"] = [learning_rate(training, point, TOTAL_STEPS) for point in RATE_POINTS]
    bound = validate(learner, data.valid.tokens, objective, settings, device, SILENT)
    found["bounds"] = [float(bound["nats_per_word"] or 0.0)]
    return found


def test_tiny_losses_are_the_committed_ones(make_training: Callable[..., Settings]) -> None:
    golden = json.loads(TINY.read_text())
    found = measure_tiny(make_training(log_every=1))
    assert len(golden["losses"]) == 15
    for name in ("losses", "bounds"):
        # Other processors sum in another order, and Adam enlarges what is only rounding.
        assert found[name] == pytest.approx(golden[name], rel=2e-3), name


def test_losses_of_the_sample_configuration_are_the_committed_ones(tmp_path: Path) -> None:
    """Tolerances: ten times what changes between AVX-512 and SSE 4.2 (losses 1.7e-6, the bound
    1.2e-6, norms 9e-4, which Muon's bfloat16 iterations enlarge), or more.
    That a change of optimiser shows little in six steps is made good in test_optimizer.
    """
    golden = json.loads(SAMPLE.read_text())
    found = measure_sample(tmp_path)
    assert len(golden["losses"]) == STEPS
    assert found["rates"] == pytest.approx(golden["rates"], rel=1e-12)
    assert found["losses"] == pytest.approx(golden["losses"], rel=2e-5)
    assert found["bounds"] == pytest.approx(golden["bounds"], rel=2e-5)
    assert found["gradient_norms"] == pytest.approx(golden["gradient_norms"], rel=1e-2)


def write_golden() -> None:
    sys.path.insert(0, str(Path(__file__).parent))
    from conftest import settings_in, write_all_documents

    with TemporaryDirectory() as name:
        settings = settings_in(Path(name), log_every=1)
        write_all_documents(Path(name))
        stages.prepare(settings)
        TINY.write_text(json.dumps(measure_tiny(settings), indent=2) + "\n")
    with TemporaryDirectory() as name:
        SAMPLE.write_text(json.dumps(measure_sample(Path(name)), indent=2) + "\n")


if __name__ == "__main__":
    write_golden()
