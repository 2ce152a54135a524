"""Whole words or parts of words, oscillators or a transformer: trained alike, measured alike.

    python benchmarks/objective.py --data ../shared/data/wikitext-2        all runs, one by one
    python benchmarks/objective.py --data ... --only whole-1               one of them
    python benchmarks/objective.py --data ... --length 512                 models, longer windows
    python benchmarks/objective_table.py                                   docs/objective.md
    python benchmarks/objective_table.py --length 512                      docs/denoiser.md

A run trains a small model on one thread with the project's own objective, optimiser and order of
data, and writes its figures to artifacts/benchmarks/objective as it ends. Runs that stand there are
skipped, so the command can be stopped and started again. Without --data the runs are listed.

Text is WikiText-2, words as they stand in the file, the 8,000 most frequent ones of its training
split; all others, and its own <unk>, are [UNK]; a line ends in [EOS]. Every run sees the same
windows in the same order, takes as many steps, and is measured on the same windows and times.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.controls import next_word_losses, rightwards_only
from benchmarks.objective_runs import LENGTH, SPECIAL, WORDS, Run, plan_of, results_of
from perigee.diffusion.bound import evaluate_bound
from perigee.diffusion.objective import Objective
from perigee.files import write_json
from perigee.generation.likelihood import log_likelihood
from perigee.observer import SILENT
from perigee.settings import TrainingSettings
from perigee.training.averaging import Average
from perigee.training.batches import Batch, make_batch
from perigee.training.device import choose_device
from perigee.training.learning_rate import learning_rate
from perigee.training.optimizer import build_optimizer, set_rate
from perigee.training.order import batch_rows, epoch_order, steps_per_epoch

UNK, EOS = 2, 4
STEPS = 600
TRAINING = TrainingSettings.model_validate(
    {
        "optimizer": "muon",
        "learning_rate": 5e-3,
        "ema_decay": 0.995,
        "lr_schedule": {"type": "cosine", "warmup_steps": 60, "minimum": 2e-4},
    }
)
"""Those of configs/perigee_sample.toml, for every run."""
CURVE_EVERY, CURVE_WORDS, CURVE_TIMES = 100, 48 * LENGTH, 4
TEST_WORDS, TEST_TIMES = 160 * LENGTH, 8
SAMPLER_WORDS = {6: 96 * LENGTH, 32: 48 * LENGTH, 128: 32 * LENGTH}
"""Steps of the sampler, and the test words that its likelihood is taken of."""
EVALUATION_SEED = 0

Windows = NDArray[np.uint16]


def read_windows(data: Path, length: int) -> dict[str, Windows]:
    """Windows (N, L) of the splits; what a split's last window would lack is left out."""
    lines = {
        split: [
            line.split() for line in (data / f"{split}.txt").read_text(encoding="utf-8").split("\n")
        ]
        for split in ("train", "valid", "test")
    }
    counts = Counter(word for line in lines["train"] for word in line if word != "<unk>")
    ranked = sorted(counts, key=lambda word: (-counts[word], word))[:WORDS]
    ids = {word: SPECIAL + place for place, word in enumerate(ranked)}
    windows = {}
    for split, words in lines.items():
        stream = np.array(
            [i for line in words if line for i in (*(ids.get(w, UNK) for w in line), EOS)],
            dtype=np.uint16,
        )
        windows[split] = stream[: len(stream) // length * length].reshape(-1, length)
    return windows


def spread(windows: Windows, count: int) -> Windows:
    """``count`` windows, evenly from the whole split."""
    return windows[np.arange(count) * len(windows) // count]


def train(run: Run, windows: dict[str, Windows]) -> tuple[nn.Module, list[dict[str, Any]]]:
    """The trained model with averaged weights, and its validation bounds on the way."""
    model, objective = run.build(), run.objective()
    optimizer = build_optimizer(model, TRAINING, torch.device("cpu"))
    average = Average(model, TRAINING.ema_decay)
    curve: list[dict[str, Any]] = []
    held_out = spread(windows["valid"], CURVE_WORDS // run.length)
    seconds = 0.0
    for step, batch in enumerate(batches(run, objective, windows["train"])):
        begin = time.process_time()
        set_rate(optimizer, learning_rate(TRAINING, step, STEPS))
        with autocast():
            loss = batch_loss(run, model, objective, batch)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), TRAINING.gradient_clip)
        optimizer.step()
        optimizer.zero_grad()
        average.update(step)
        seconds += time.process_time() - begin
        if (step + 1) % CURVE_EVERY == 0:
            with average.applied():
                bounds = measure_bounds(run, model, held_out, CURVE_TIMES)
            point = {
                "step": step + 1,
                "processor_seconds": seconds,
                **{kind: figures["nats_per_word"] for kind, figures in bounds.items()},
            }
            curve.append(point)
            print(f"  {run.key}: {json.dumps(point)}", flush=True)
    for parameter, value in zip(model.parameters(), average.values.values(), strict=True):
        parameter.data.copy_(value)
    return model, curve


def batches(run: Run, objective: Objective, windows: Windows) -> Iterator[Batch]:
    per_epoch = steps_per_epoch(len(windows), run.batch)
    for step in range(STEPS):
        epoch, place = divmod(step, per_epoch)
        order = epoch_order(run.seed, epoch + 1, len(windows))
        rows = batch_rows(order, place, run.batch)
        yield make_batch(
            windows, rows, seed=run.seed, epoch=epoch + 1, step=place, parts=objective.parts
        )


def batch_loss(run: Run, model: nn.Module, objective: Objective, batch: Batch) -> Tensor:
    (rows,) = batch.passes(rank=0, processes=1, accumulate=1)
    if run.model == "autoregressive":
        return next_word_losses(model, rows.token_ids)[0]
    return objective.training_loss(model, rows.token_ids, rows.is_padding, rows.draws).loss


def has_bfloat16() -> bool:
    return choose_device(False, SILENT).has_bfloat16


def autocast() -> Any:
    """What a training's ``precision = "auto"`` is on a CPU."""
    return torch.autocast("cpu", torch.bfloat16) if has_bfloat16() else nullcontext()


def measure_bounds(
    run: Run, model: nn.Module, windows: Windows, times: int
) -> dict[str, dict[str, Any]]:
    """Nats a word of windows: by the run's own process, and by that of whole words."""
    if run.model == "autoregressive":
        with torch.no_grad():
            losses = [
                next_word_losses(model, torch.from_numpy(part.astype(np.int64)))[1]
                for part in np.array_split(windows, max(1, len(windows) // run.batch))
            ]
        return {"own": summary(torch.cat(losses).double().sum(1).numpy(), windows)}
    objective = run.objective()

    def bound(chosen: Objective) -> dict[str, Any]:
        report = evaluate_bound(
            model,
            windows,
            objective=chosen,
            times_per_window=times,
            seed=EVALUATION_SEED,
            batch_size=run.batch,
            groups=np.arange(len(windows)),
        )
        nats = [part.nats_per_word * part.words for part in report.groups.values()]
        return summary(np.array(nats), windows)

    whole = bound(objective.whole_words())
    return {"own": bound(objective) if objective.parts else whole, "whole": whole}


def measure_sampler(run: Run, model: nn.Module, windows: Windows) -> dict[str, dict[str, Any]]:
    """Exact nats a word of the confidence sampler, by steps."""
    figures = {}
    for steps, words in SAMPLER_WORDS.items():
        chosen = spread(windows, words // run.length)
        parts = np.array_split(chosen, max(1, len(chosen) // run.batch))
        scores = [log_likelihood(model, part, steps=steps) for part in parts]
        figures[str(steps)] = summary(-np.concatenate(scores), chosen)
    return figures


def summary(nats: NDArray[np.float64], windows: Windows) -> dict[str, Any]:
    """Mean and standard error over windows, and the windows' own figures for paired differences."""
    per_word = nats / windows.shape[1]
    error = float(per_word.std(ddof=1) / np.sqrt(len(per_word)))
    return {
        "nats_per_word": float(per_word.mean()),
        "standard_error": error,
        "windows": len(windows),
        "words": int(windows.size),
        "nats_per_word_of_windows": [round(float(value), 5) for value in per_word],
    }


def perform(run: Run, windows: dict[str, Windows]) -> dict[str, Any]:
    """Train and measure: everything that a run's file holds."""
    begin = time.process_time()
    with rightwards_only(run.ablation == "one direction"):
        model, curve = train(run, windows)
        trained = time.process_time()
        test = spread(windows["test"], TEST_WORDS // run.length)
        figures: dict[str, Any] = measure_bounds(run, model, test, TEST_TIMES)
        if run.model != "autoregressive":
            figures["sampler"] = measure_sampler(run, model, windows["test"])
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    return {
        "run": asdict(run),
        "setup": setup(run, windows),
        "parameters": sum(sizes.values()),
        "parameters_but_embedding": sum(sizes.values()) - sizes["embedding"],
        "curve": curve,
        "test": figures,
        "processor_seconds": {
            "training": curve[-1]["processor_seconds"],
            "with_curve": trained - begin,
            "in_all": time.process_time() - begin,
        },
        "torch": torch.__version__,
    }


def setup(run: Run, windows: dict[str, Windows]) -> dict[str, Any]:
    """What all runs share; figures of another setup are not compared with these."""
    return {
        "words": {split: int(w.size) for split, w in windows.items()},
        "unknown_share": {split: float((w == UNK).mean()) for split, w in windows.items()},
        "vocabulary": WORDS,
        "length": run.length,
        "batch": run.batch,
        "steps": STEPS,
        "shape": run.shape.to_dict(),
        "training": TRAINING.model_dump(mode="json", exclude_defaults=True),
        "bfloat16": has_bfloat16(),
        "test_windows": TEST_WORDS // run.length,
        "test_times": TEST_TIMES,
        "sampler_windows": {
            str(steps): words // run.length for steps, words in SAMPLER_WORDS.items()
        },
        "evaluation_seed": EVALUATION_SEED,
    }


def list_runs(plan: tuple[Run, ...], output: Path, say: Callable[[str], None] = print) -> None:
    for run in plan:
        done = "done" if (output / f"{run.key}.json").is_file() else "to do"
        say(f"{run.key:24}{done}")
    say("give --data to make what is to do")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, help="folder of train.txt, valid.txt and test.txt")
    parser.add_argument("--only", nargs="*", default=[], help="keys of runs")
    parser.add_argument("--length", type=int, default=LENGTH, help="words of a window")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    plan, output = plan_of(options.length), options.output or results_of(options.length)
    if options.data is None:
        list_runs(plan, output)
        return
    torch.set_num_threads(1)
    windows = read_windows(options.data, options.length)
    for run in plan:
        place = output / f"{run.key}.json"
        if place.is_file() or (options.only and run.key not in options.only):
            continue
        result = perform(run, windows)
        place.parent.mkdir(parents=True, exist_ok=True)
        write_json(place, result)
        own = result["test"]["own"]
        print(f"{run.key:24}{own['nats_per_word']:8.4f} ± {own['standard_error']:.4f}", flush=True)


if __name__ == "__main__":
    main()
