"""A checkpoint on the test windows: bound, exact sampler likelihood, unigram; nats per word."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perigee.diffusion.absorbing import PAD
from perigee.diffusion.bound import evaluate_bound
from perigee.errors import ArtifactError
from perigee.files import atomic_file, write_json
from perigee.generation.likelihood import sampler_likelihood
from perigee.manifest import (
    Built,
    Input,
    Manifest,
    current_manifest,
    recipe,
    record_file,
    write_manifest,
)
from perigee.model.denoiser import Denoiser
from perigee.observer import SILENT, Observer
from perigee.settings import Settings
from perigee.tokenizer.prime import UNK, PrimeTokenizer
from perigee.training.checkpoint import Checkpoint, load_checkpoint
from perigee.training.data import open_windows
from perigee.training.device import Device, choose_device
from perigee.training.evaluation_table import as_markdown
from perigee.training.layout import find_checkpoint
from perigee.training.learner import build_objective
from perigee.training.recipe import windows_input
from perigee.training.unigram import count_words, unigram_likelihood

STAGE = "evaluation"
CODE_VERSION = "1"
FEW_STEPS = (6, 32)
"""Steps of the sampler whose likelihood is taken, beside one word at a time."""
SAMPLER_WORDS = 400_000
"""Words that go through the denoiser for the likelihood at one number of steps, at the most: with
long windows and many steps it is taken of the first windows only, or not at all."""
ROWS = 16
"""Windows that go through the denoiser together."""


def evaluate(
    settings: Settings,
    checkpoint: Path | None = None,
    observer: Observer = SILENT,
    fresh: bool = False,
) -> Built:
    """Evaluate a checkpoint's averaged weights on the test windows of the settings.

    Writes ``settings.evaluation_path()`` (JSON), the same as a Markdown table beside it, and a
    manifest. Nothing is done if that stands already, made from the same checkpoint and windows.

    Parameters
    ----------
    checkpoint:
        A checkpoint's directory; by default that of the last epoch there is.
    fresh:
        Evaluate again even so.

    Raises
    ------
    ArtifactError
        If the checkpoint or the windows are missing or damaged, or do not belong together.
    """
    loaded = load_checkpoint(find_checkpoint(settings, checkpoint))
    _check_vocabulary(settings, loaded)
    windows = {
        split: open_windows(settings, split, loaded.tokenizer) for split in ("train", "test")
    }
    if len(windows["test"]) == 0:
        raise ArtifactError("holds no windows", place=settings.windows_path("test"))
    inputs = (
        Input(loaded.manifest.artifact, loaded.manifest.version),
        *(windows_input(split, opened.manifest) for split, opened in windows.items()),
    )
    chosen = {
        "evaluation_times": settings.diffusion.evaluation_times,
        "seed": settings.training.seed,
        "few_steps": list(FEW_STEPS),
        "sampler_words": SAMPLER_WORDS,
    }
    path = settings.evaluation_path()
    place = path.with_suffix(".manifest.json")
    current = current_manifest(place, recipe(STAGE, CODE_VERSION, chosen, inputs))
    if current is not None and not fresh:
        observer.say(f"{path}: reused, nothing it was made from has changed")
        return Built(place, current, reused=True)
    device = choose_device(settings.training.use_gpu, observer)
    report = _measure(
        settings, loaded, windows["train"].tokens, windows["test"].tokens, device, observer
    )
    write_json(path, report)
    table = path.with_suffix(".md")
    with atomic_file(table) as aside:
        aside.write_text(as_markdown(report), encoding="utf-8")
    manifest = Manifest(
        artifact=STAGE,
        stage=STAGE,
        code_version=CODE_VERSION,
        settings=chosen,
        inputs=inputs,
        files=(record_file(path, path.parent), record_file(table, path.parent)),
        counts={
            "windows": report["windows"],
            "words": report["words"],
            "nats_per_word": report["bound"]["nats_per_word"],
            "standard_error": report["bound"]["standard_error"],
            "perplexity": report["bound"]["perplexity"],
            "device": device.name,
        },
    )
    write_manifest(place, manifest)
    return Built(place, manifest, reused=False)


def _check_vocabulary(settings: Settings, loaded: Checkpoint) -> None:
    place = Path(settings.training.vocab_path)
    if PrimeTokenizer.load(place).fingerprint != loaded.tokenizer.fingerprint:
        raise ArtifactError(
            f"is not the vocabulary that {loaded.path} was trained with",
            place=place,
            remedy="train again, or evaluate with the settings of that training",
        )


def _measure(
    settings: Settings,
    loaded: Checkpoint,
    train: NDArray[np.uint16],
    test: NDArray[np.uint16],
    device: Device,
    observer: Observer,
) -> dict[str, Any]:
    denoiser = loaded.denoiser.to(device.torch_device)
    bound = evaluate_bound(
        denoiser,
        test,
        objective=build_objective(loaded.settings, len(loaded.tokenizer)),
        times_per_window=settings.diffusion.evaluation_times,
        seed=settings.training.seed,
        batch_size=ROWS,
        device=device.torch_device,
        observer=observer,
    )
    samplers = _sampler_likelihoods(denoiser, test, observer)
    unigram = unigram_likelihood(count_words(train, len(loaded.tokenizer)), test)
    words = int(np.count_nonzero(test != PAD))
    report = {
        "checkpoint": {
            "path": str(loaded.path),
            "version": loaded.manifest.version,
            "steps": loaded.state["progress"]["step"],
            "weights": "average" if loaded.settings.training.ema_decay > 0.0 else "last",
        },
        "windows": len(test),
        "words": words,
        "unknown_share": int(np.count_nonzero(test == UNK)) / words,
        "bound": bound.to_dict(),
        "sampler": samplers,
        "unigram": {**asdict(unigram), "perplexity": unigram.perplexity},
        "seed": settings.training.seed,
    }
    return {key: _finite(value) for key, value in report.items()}


def _sampler_likelihoods(
    denoiser: Denoiser, test: NDArray[np.uint16], observer: Observer
) -> list[dict[str, Any]]:
    """The likelihood of the actual sampler at a few steps, and at one word a step."""
    length = test.shape[1]
    figures = []
    for steps in sorted({*(few for few in FEW_STEPS if few < length), length}):
        part = test[: SAMPLER_WORDS // (steps * length)]
        if len(part) == 0:
            observer.say(
                f"the sampler's likelihood at {steps} steps is left out: one window of {length} "
                f"words takes {steps * length:,} words through the denoiser"
            )
            continue
        found = sampler_likelihood(
            denoiser, part, steps=[steps], batch_size=ROWS, observer=observer
        )
        figures += [{**asdict(one), "perplexity": one.perplexity} for one in found]
    return figures


def _finite(value: Any) -> Any:
    """JSON has no NaN: what cannot be estimated (an error from one window) is null."""
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
