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

from perigee.diffusion.absorbing import PAD, is_pad
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
    """The same for the windows, or the words, of each label, where labels were given."""

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
        A label for every window (N), to have each label's bound too, or for every word (N, L).
        Words' bounds are their shares of their windows': the mean cost of a word after those that
        a random order reveals before it, whatever their labels. Labels of [PAD] mean nothing.
    """
    assert denoiser.output_weight.device.type == torch.device(device).type, "denoiser elsewhere"
    is_word = windows != PAD
    labels = None if groups is None else np.asarray(groups)
    by_word = labels is not None and labels.ndim == 2
    assert labels is None or labels.shape in (windows.shape, windows.shape[:1]), "a label for each"
    rows = list(product(range(len(windows)), range(times_per_window)))
    nats = np.zeros((len(windows), windows.shape[1] if by_word else 1))
    with torch.no_grad():
        for start in range(0, len(rows), batch_size):
            chunk = rows[start : start + batch_size]
            words = _estimate(denoiser, windows, chunk, objective, times_per_window, seed)
            estimates = words if by_word else words.sum(axis=1, keepdims=True)
            # A window's times are added in their order, whatever the size of a batch.
            np.add.at(nats, [window for window, _ in chunk], estimates / times_per_window)
            done = (start + len(chunk)) // times_per_window
            observer.progress("bound", done, len(windows), "windows")

    def report(is_member: NDArray[np.bool_], parts: Mapping[int, BoundReport]) -> BoundReport:
        chosen = is_member.any(axis=1)
        words = (is_word & is_member).sum(axis=1)[chosen]
        mean, error = ratio_estimate((nats * is_member).sum(axis=1)[chosen], words)
        return BoundReport(
            nats_per_word=mean,
            standard_error=error,
            words=int(words.sum()),
            windows=len(words),
            times_per_window=times_per_window,
            seed=seed,
            unmask_fraction=objective.unmask_fraction if objective.parts else 0.0,
            groups=parts,
        )

    by_label = {}
    if labels is not None:
        marks = labels if by_word else labels[:, None]
        counted = is_word if by_word else np.full(marks.shape, True)
        for label in np.unique(marks[counted]).tolist():
            by_label[int(label)] = report((marks == label) & counted, {})
    return report(np.full((len(windows), 1), True), by_label)


def _estimate(
    denoiser: Denoiser,
    windows: NDArray[np.uint16],
    rows: Sequence[tuple[int, int]],
    objective: Objective,
    strata: int,
    seed: int,
) -> NDArray[np.float64]:
    """Every word's share of its window's NELBO, nats (rows, L), estimated from one time each."""
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
    return (terms.words.cpu() * weights[:, None]).numpy()


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
