"""Every figure of an evaluation, as JSON values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perigee.diffusion.absorbing import PAD
from perigee.diffusion.bound import BoundReport, evaluate_bound
from perigee.diffusion.objective import Objective
from perigee.generation.likelihood import sampler_likelihood
from perigee.generation.request import DEFAULT_LENGTH, Request
from perigee.generation.samples import request_for
from perigee.generation.session import Session
from perigee.generation.statistics import text_statistics
from perigee.model.denoiser import Denoiser
from perigee.observer import Observer
from perigee.settings import Settings
from perigee.tokenizer.prime import UNK
from perigee.training.checkpoint import Checkpoint
from perigee.training.device import Device
from perigee.training.held_out import Origins, Text
from perigee.training.learner import build_objective
from perigee.training.unigram import count_words, unigram_likelihood

FEW_STEPS = (6, 32)
"""Steps of the sampler whose likelihood is taken, beside one word at a time."""
SAMPLER_WORDS = 400_000
"""Words that go through the denoiser for the likelihood at one number of steps, at the most: with
long windows and many steps it is taken of the first windows only, or not at all."""
ROWS = 16
"""Windows that go through the denoiser together."""
TEXTS = 16
"""Texts that are drawn for their statistics; as many test windows stand beside them."""


@dataclass(frozen=True)
class Subject:
    """What is measured, and on what."""

    settings: Settings
    checkpoint: Checkpoint
    train: NDArray[np.uint16]
    """(N, L) windows whose word frequencies are the unigram model's."""
    test: NDArray[np.uint16]
    """(N, L) windows that everything is measured on."""
    origins: Origins
    """Of the test windows."""
    text: Text | None
    """Of the test windows; without it there is no open-vocabulary figure."""
    device: Device
    observer: Observer


def measure(subject: Subject) -> dict[str, Any]:
    """The bound and the unigram, together and by source; the sampler's likelihood; its texts."""
    loaded, settings = subject.checkpoint, subject.settings
    denoiser = loaded.denoiser.to(subject.device.torch_device)
    objective = build_objective(loaded.settings, len(loaded.tokenizer))
    bound = _bound(subject, denoiser, objective)
    whole = _bound(subject, denoiser, objective.whole_words()) if objective.parts else None
    counts = count_words(subject.train, len(loaded.tokenizer))
    names = dict(enumerate(subject.origins.names))
    report = {
        "checkpoint": {
            "path": str(loaded.path),
            "version": loaded.manifest.version,
            "steps": loaded.state["progress"]["step"],
            "weights": "average" if loaded.settings.training.ema_decay > 0.0 else "last",
        },
        "windows": len(subject.test),
        **_closed_and_open(subject, counts, bound, None),
        "whole_words": None if whole is None else whole.to_dict(),
        "sources": {
            names[label]: _closed_and_open(subject, counts, part, label)
            for label, part in bound.groups.items()
            if label in names
        },
        "sampler": _sampler_likelihoods(denoiser, subject.test, subject.observer),
        "texts": _texts(subject),
        "seed": settings.training.seed,
    }
    return {key: _finite(value) for key, value in report.items()}


def _bound(subject: Subject, denoiser: Denoiser, objective: Objective) -> BoundReport:
    return evaluate_bound(
        denoiser,
        subject.test,
        objective=objective,
        times_per_window=subject.settings.diffusion.evaluation_times,
        seed=subject.settings.training.seed,
        batch_size=ROWS,
        device=subject.device.torch_device,
        observer=subject.observer,
        groups=subject.origins.labels,
    )


def _closed_and_open(
    subject: Subject, counts: NDArray[np.int64], bound: BoundReport, label: int | None
) -> dict[str, Any]:
    """The figures of the words of one source, or of all: those that need no sampler."""
    test = subject.test
    is_word = test != PAD
    if label is not None:
        is_word &= subject.origins.labels == label
    unigram = unigram_likelihood(counts, np.where(is_word, test, np.uint16(PAD)))
    spelled = None if subject.text is None else subject.text.charged(bound, label)
    words = int(np.count_nonzero(is_word))
    return {
        "words": words,
        "unknown_share": int(np.count_nonzero(test[is_word] == UNK)) / words,
        "bound": bound.to_dict(),
        "unigram": {**asdict(unigram), "perplexity": unigram.perplexity},
        "open_vocabulary": None
        if spelled is None
        else {**asdict(spelled), "perplexity": spelled.perplexity},
    }


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


def text_request(settings: Settings) -> Request:
    """What is drawn for the statistics: as ``[generation]`` says, but without a prompt.

    All texts have one length, which no [EOS] cuts short.
    """
    request = request_for(settings.generation, "")
    length = min(request.length or DEFAULT_LENGTH, settings.training.sequence_length)
    return replace(request, length=length, batch=TEXTS, can_end=False)


def _texts(subject: Subject) -> dict[str, Any] | None:
    """Statistics of drawn texts, and of as many beginnings of test windows of the same length."""
    request = text_request(subject.settings)
    beginnings = subject.test[:, : request.length]
    beginnings = beginnings[(beginnings != PAD).all(axis=1)]
    count = min(TEXTS, len(beginnings))
    if count == 0:
        return None
    real = beginnings[np.arange(count) * len(beginnings) // count]
    request = replace(request, batch=count)
    drawn = Session(subject.checkpoint).sample(request, subject.observer).word_ids
    chosen = asdict(request)
    kept = ("sampler", "steps", "length", "temperature", "top_p", "top_k", "no_repeat", "seed")
    return {
        "request": {key: chosen[key] for key in kept},
        "drawn": asdict(text_statistics(drawn)),
        "real": asdict(text_statistics(list(real))),
    }


def _finite(value: Any) -> Any:
    """JSON has no NaN: what cannot be estimated (an error from one window) is null."""
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
