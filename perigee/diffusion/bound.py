"""The reported likelihood: a valid bound in nats per word, with its standard error.

For N independent units the NELBO's integral over time can be done in closed form. At time t the
number n of masked units is binomial, and the integral of (1/t) t^n (1 - t)^(N - n) C(N, n) over
(0, 1] is 1/n, so that

    NELBO = sum over n = 1 .. N of (1/n) E[sum of the masked units' cross-entropies | n masked],

for every schedule. The estimate draws n uniformly from 1 .. N (stratified), masks exactly n units
and weighs by N/n: time t = n/N in (0, 1] and weight 1/t. Independent masks at the same weight have
the same mean, but a variance that grows without limit as t goes to 0; this has neither that nor
the truncated times with which it is usually hidden. (Compare Ou et al., "Your absorbing discrete
diffusion secretly models the conditional distributions of clean data", ICLR 2025, section 4; Nie
et al., "Large language diffusion models", 2025, equation 6.)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray

from perigee.diffusion.absorbing import is_pad
from perigee.diffusion.denoiser import Denoiser
from perigee.diffusion.forward import choose_units, corrupt, count_units, threshold_of_count
from perigee.diffusion.objective import Objective
from perigee.diffusion.terms import cross_entropies
from perigee.diffusion.times import draw_evaluation
from perigee.observer import SILENT, Observer


@dataclass(frozen=True)
class BoundReport:
    """An upper bound of the cross-entropy of some windows."""

    nats_per_word: float
    """The NELBO per word; a word is every id of a window but [PAD]. NaN without words."""
    standard_error: float
    """Of ``nats_per_word``, over windows taken as independent. NaN for fewer than two windows."""
    words: int
    windows: int
    times_per_window: int
    seed: int
    unmask_fraction: float
    """Of the process whose bound this is: 0 means whole-word masking, comparable everywhere."""
    groups: Mapping[int, BoundReport] = field(default_factory=dict)
    """The same for the windows of each label, where labels were given."""

    @property
    def perplexity(self) -> float:
        """The bound of the perplexity per word: exp of ``nats_per_word``."""
        return math.exp(min(self.nats_per_word, 700.0))

    def to_dict(self) -> dict[str, float | int]:
        """Everything but the groups, for a record or a file."""
        return {
            "nats_per_word": self.nats_per_word,
            "standard_error": self.standard_error,
            "perplexity": self.perplexity,
            "words": self.words,
            "windows": self.windows,
            "times_per_window": self.times_per_window,
            "seed": self.seed,
            "unmask_fraction": self.unmask_fraction,
        }


def evaluate_bound(
    denoiser: Denoiser,
    windows: NDArray[np.uint16],
    *,
    objective: Objective,
    times_per_window: int,
    seed: int,
    batch_size: int,
    device: torch.device | str = "cpu",
    observer: Observer = SILENT,
    groups: NDArray[np.int64] | Sequence[int] | None = None,
) -> BoundReport:
    """Estimate the NELBO of ``windows``; always a bound, whatever the training weight is.

    Parameters
    ----------
    denoiser, device:
        The denoiser, and where it is.
    windows:
        (N, L) ids; [PAD] is no word.
    objective:
        Its code and ``unmask_fraction`` decide the process; its schedule, weight and mask fraction
        do not matter here.
    times_per_window:
        Strata of each window's times.
    seed:
        Decides times and masks of every window, by its index: not the batch size, nor the order.
    batch_size:
        Rows (a window at a time) that the denoiser gets at once.
    groups:
        A label for every window, to have each label's bound too.
    """
    assert denoiser.output_weight.device.type == torch.device(device).type, "denoiser elsewhere"
    rows = list(product(range(len(windows)), range(times_per_window)))
    nats = np.zeros((len(windows), times_per_window))
    with torch.no_grad():
        for start in range(0, len(rows), batch_size):
            chunk = rows[start : start + batch_size]
            estimates = _estimate(denoiser, windows, chunk, objective, times_per_window, seed)
            nats[tuple(zip(*chunk, strict=True))] = estimates
            done = (start + len(chunk)) // times_per_window
            observer.progress("bound", done, len(windows), "windows")
    words = np.array([np.count_nonzero(window) for window in windows], dtype=np.int64)
    nats_of_window = nats.mean(axis=1)
    labels = np.full(len(windows), 0) if groups is None else np.asarray(groups)
    assert labels.shape == (len(windows),), "one label a window"

    def report(chosen: NDArray[np.bool_], parts: Mapping[int, BoundReport]) -> BoundReport:
        mean, error = ratio_estimate(nats_of_window[chosen], words[chosen])
        return BoundReport(
            nats_per_word=mean,
            standard_error=error,
            words=int(words[chosen].sum()),
            windows=int(chosen.sum()),
            times_per_window=times_per_window,
            seed=seed,
            unmask_fraction=objective.unmask_fraction if objective.parts else 0.0,
            groups=parts,
        )

    by_label = (
        {} if groups is None else {int(k): report(labels == k, {}) for k in np.unique(labels)}
    )
    return report(np.full(len(windows), True), by_label)


def _estimate(
    denoiser: Denoiser,
    windows: NDArray[np.uint16],
    rows: Sequence[tuple[int, int]],
    objective: Objective,
    strata: int,
    seed: int,
) -> NDArray[np.float64]:
    """Estimates of the NELBO, nats a window, from one time each."""
    chosen = np.stack([windows[window] for window, _ in rows]).astype(np.int64)
    token_ids = torch.from_numpy(chosen)
    is_padding = is_pad(token_ids)
    draws = draw_evaluation(
        seed, rows=rows, strata=strata, length=token_ids.shape[1], parts=objective.parts
    )
    code = objective.code if objective.parts else None
    units = choose_units(is_padding, draws, code, objective.unmask_fraction)
    total = count_units(units)
    masked = torch.ceil(draws.times * total).long().clamp(max=total)
    corruption = corrupt(token_ids, units, threshold_of_count(units, masked), code)
    weights = total / masked.clamp(min=1)
    terms = cross_entropies(
        denoiser, token_ids, is_padding, corruption, weights, code, objective.chunk_bytes
    )
    return (terms.rows.cpu() * weights).numpy()


def ratio_estimate(nats: NDArray[np.float64], words: NDArray[np.int64]) -> tuple[float, float]:
    """Sum of nats over sum of words, and its standard error over windows (linearised ratio)."""
    if words.sum() == 0:
        return math.nan, math.nan
    mean = float(nats.sum() / words.sum())
    windows = len(nats)
    if windows < 2:
        return mean, math.nan
    spread = nats - mean * words
    return mean, float(np.sqrt(np.sum(spread**2) * windows / (windows - 1)) / words.sum())
