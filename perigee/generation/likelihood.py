"""The exact likelihood of given texts under the deterministic-order sampler.

A sampler whose positions follow from what it sees (never from the word it is about to draw) reaches
a given text along one path only, so the text's probability is the product of the conditionals along
that path: no bound, no estimate. Each step decides several words independently of each other, given
what was seen before: this is what few steps cost, and the figure contains it. It holds at
temperature 1 with nothing cut off, which is why there is no argument for either.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from perigee.diffusion.denoiser import Denoiser
from perigee.diffusion.schedule import ScheduleName
from perigee.generation.canvas import Canvas, Glance, WordHead
from perigee.generation.order import Choice, build_order
from perigee.generation.plan import BlockPlan
from perigee.generation.request import CertaintyName, Request
from perigee.generation.sampler import denoise
from perigee.observer import SILENT, Observer
from perigee.tokenizer.prime import MASK, PAD

NEVER_IN_WINDOWS = (PAD, MASK)
"""Windows hold [UNK], [BOS] and [EOS]; what the bound gives probability, the sampler does too."""


@dataclass(frozen=True)
class CopyingWriter:
    """Writes given texts and notes the model's log-probability of each of their words."""

    token_ids: npt.NDArray[np.int64]
    """(B, L)."""

    def write(self, canvas: Canvas, glance: Glance, choice: Choice, stream: int) -> None:
        """Copy the decided positions."""
        del stream
        rows, columns = np.nonzero(choice.is_decided)
        words = self.token_ids[rows, columns]
        log_probabilities = np.empty(len(rows))
        for part, log_p in glance.distributions(rows, columns):
            index = torch.from_numpy(words[part]).to(log_p.device)
            log_probabilities[part] = log_p.gather(-1, index[:, None])[:, 0].cpu().numpy()
        canvas.write(rows, columns, words, log_probabilities)


@torch.inference_mode()
def log_likelihood(
    denoiser: Denoiser,
    token_ids: npt.NDArray[np.integer],
    *,
    steps: int,
    certainty: CertaintyName = "probability",
    schedule: ScheduleName = "linear",
    is_given: npt.NDArray[np.bool_] | None = None,
    forbidden: Sequence[int] = NEVER_IN_WINDOWS,
    ends: bool = False,
    end_from: int = 0,
) -> npt.NDArray[np.float64]:
    """Log-probability (B,), nats, with which the confidence sampler draws each text.

    Parameters
    ----------
    token_ids:
        (B, L) texts; [PAD] is padding, which is shown to the denoiser as such and not scored.
    steps:
        Steps of the sampler; L or more decides one word at a time.
    is_given:
        (B, L) positions of a prompt: seen from the beginning, not scored.
    forbidden:
        Ids that the sampler never draws; a text with one at a drawn position has probability 0.
    ends:
        Whether [EOS] ends a text: words behind it are not drawn, unless they were before it.
    end_from:
        First position at which [EOS] may be drawn.
    """
    request = Request(sampler="confidence", steps=steps, certainty=certainty, schedule=schedule)
    return _along_the_path(
        denoiser,
        token_ids,
        request,
        is_given=is_given,
        forbidden=forbidden,
        ends=ends,
        end_from=end_from,
    )


@torch.inference_mode()
def ancestral_bound(
    denoiser: Denoiser, token_ids: npt.NDArray[np.integer], *, steps: int, seed: int
) -> npt.NDArray[np.float64]:
    """One draw (B,) of a lower bound, nats, on the texts' log-probability by the ancestral sampler.

    Its coins decide positions without a look at any word, so a text's probability is a mean of
    products of conditionals over all ways in which they fall; the mean of the logarithms is at most
    the logarithm of the mean. Averaged over seeds, or over many texts, it is a bound and not exact.
    """
    request = Request(sampler="ancestral", steps=steps, seed=seed)
    return _along_the_path(denoiser, token_ids, request)


def _along_the_path(
    denoiser: Denoiser,
    token_ids: npt.NDArray[np.integer],
    request: Request,
    *,
    is_given: npt.NDArray[np.bool_] | None = None,
    forbidden: Sequence[int] = NEVER_IN_WINDOWS,
    ends: bool = False,
    end_from: int = 0,
) -> npt.NDArray[np.float64]:
    """Sum of the conditionals' logarithms (B,) along the path of the request's sampler."""
    texts = np.array(token_ids, dtype=np.int64)
    is_padding = texts == PAD
    is_fixed = is_padding if is_given is None else is_padding | is_given
    canvas = Canvas(
        np.where(is_fixed, texts, MASK),
        is_fixed,
        is_padding=is_padding if is_padding.any() else None,
        ends=ends,
    )
    length, steps = texts.shape[1], request.steps
    block = BlockPlan(0, length, 0, length, steps)
    run = denoise(
        canvas,
        WordHead(denoiser, tuple(forbidden), end_from),
        [(block, build_order(request, steps))],
        CopyingWriter(texts),
        request.certainty,
    )
    for _ in run:
        continue
    return np.asarray(np.nansum(canvas.log_probability, axis=1))


@dataclass(frozen=True)
class SamplerLikelihood:
    """How well the sampler itself, at ``steps`` steps, predicts windows."""

    steps: int
    nats_per_word: float
    """Mean over words: every id of the windows that is not [PAD]."""
    standard_error: float
    """Of ``nats_per_word``, over windows."""
    words: int
    windows: int

    @property
    def perplexity(self) -> float:
        """Exp of ``nats_per_word``."""
        return math.exp(self.nats_per_word)


def sampler_likelihood(
    denoiser: Denoiser,
    windows: npt.NDArray[np.integer],
    *,
    steps: Sequence[int],
    batch_size: int,
    certainty: CertaintyName = "probability",
    observer: Observer = SILENT,
) -> list[SamplerLikelihood]:
    """The deterministic-order sampler's exact likelihood of ``windows`` (N, L) by step count.

    A window costs as many passes through the denoiser as there are steps.
    """
    results = []
    for count in steps:
        totals: list[float] = []
        for first in range(0, len(windows), batch_size):
            batch = np.asarray(windows[first : first + batch_size])
            scored = log_likelihood(denoiser, batch, steps=count, certainty=certainty)
            totals += scored.tolist()
            done = min(first + batch_size, len(windows))
            observer.progress(f"sampler likelihood, {count} steps", done, len(windows), "windows")
        words = (np.asarray(windows) != PAD).sum(axis=1)
        results.append(mean_likelihood(count, -np.array(totals), words))
    return results


def mean_likelihood(
    steps: int, nats: npt.NDArray[np.float64], words: npt.NDArray[np.integer]
) -> SamplerLikelihood:
    """The mean over words, and its error over windows, of windows' ``nats`` (N,)."""
    total = int(words.sum())
    mean = float(nats.sum() / total)
    count = len(nats)
    # The error of a ratio of two sums over windows (their lengths may differ).
    residual = nats - mean * words
    error = math.sqrt(float((residual**2).sum()) * count / max(1, count - 1)) / total
    return SamplerLikelihood(steps, mean, error if count > 1 else math.nan, total, count)
