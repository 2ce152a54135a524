"""Every reported figure is a bound: proofs by enumeration on sources of two or three words."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
import torch
from enumeration import exact_bound, masked_cross_entropies
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_sources import ExactDenoiser, Source, random_source

from perigee.diffusion.bound import BoundReport, evaluate_bound, ratio_estimate
from perigee.diffusion.objective import Objective
from perigee.diffusion.schedule import CosineSchedule, LinearSchedule, Schedule
from perigee.observer import ListObserver

SCHEDULES: list[Schedule] = [LinearSchedule(), CosineSchedule()]
SHAPES = st.sampled_from([(2, 2), (2, 8), (3, 2), (3, 4)])


def sampled_windows(source: Source, count: int, seed: int = 0) -> np.ndarray:
    numbers = np.random.default_rng(seed)
    chosen = numbers.choice(len(source.windows), size=count, p=source.probabilities.numpy())
    return source.windows.numpy()[chosen].astype(np.uint16)


def evaluate(source: Source, denoiser: ExactDenoiser, **changes: object) -> BoundReport:
    arguments = {"objective": Objective(), "times_per_window": 4, "seed": 1, "batch_size": 512}
    return evaluate_bound(denoiser, sampled_windows(source, 1500), **{**arguments, **changes})


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 10**6), shape=SHAPES)
def test_the_exact_denoisers_bound_is_the_entropy(
    schedule: Schedule, seed: int, shape: tuple[int, int]
) -> None:
    source = random_source(seed, *shape)
    bound = exact_bound(ExactDenoiser(source), source, schedule)
    assert bound == pytest.approx(source.entropy, abs=1e-6)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 10**6), shape=SHAPES)
def test_a_wrong_denoisers_bound_is_above_the_entropy_and_its_own_cross_entropy(
    schedule: Schedule, seed: int, shape: tuple[int, int]
) -> None:
    source, wrong = random_source(seed, *shape), random_source(seed + 1, *shape)
    bound = exact_bound(ExactDenoiser(wrong), source, schedule)
    # A denoiser that is consistent has one likelihood in every order: the bound is tight there.
    assert bound == pytest.approx(source.cross_entropy(wrong), abs=1e-6)
    assert bound > source.entropy


@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 10**6), shape=SHAPES)
def test_the_sum_over_counts_is_the_integral_over_time(seed: int, shape: tuple[int, int]) -> None:
    source, wrong = random_source(seed, *shape), random_source(seed + 1, *shape)
    denoiser = ExactDenoiser(wrong)
    outcomes = masked_cross_entropies(denoiser, source, None, (False,) * shape[0])
    by_count = sum(
        nats / masked / math.comb(units, masked) for masked, units, nats in outcomes if masked
    )
    assert by_count == pytest.approx(exact_bound(denoiser, source, LinearSchedule()), abs=1e-6)


def test_the_estimate_meets_the_entropy_within_its_error() -> None:
    source = random_source(11, 3, 4)
    report = evaluate(source, ExactDenoiser(source))
    per_word = source.entropy / 3
    assert 0 < report.standard_error < 0.04 * per_word
    assert abs(report.nats_per_word - per_word) < 4 * report.standard_error
    assert report.perplexity == pytest.approx(math.exp(report.nats_per_word))
    assert (report.words, report.windows) == (4500, 1500)


def test_a_wrong_denoisers_estimate_meets_its_cross_entropy_and_not_the_entropy() -> None:
    source, wrong = random_source(11, 3, 4), random_source(12, 3, 4)
    report = evaluate(source, ExactDenoiser(wrong))
    assert abs(report.nats_per_word - source.cross_entropy(wrong) / 3) < 4 * report.standard_error
    assert report.nats_per_word > source.entropy / 3 + 4 * report.standard_error


def test_the_standard_error_is_the_spread_of_the_estimate_over_seeds() -> None:
    source = random_source(5, 3, 3)
    reports = []
    for seed in range(40):
        windows = sampled_windows(source, 100, seed=seed)
        reports.append(
            evaluate_bound(
                ExactDenoiser(source),
                windows,
                objective=Objective(),
                times_per_window=2,
                seed=seed,
                batch_size=200,
            )
        )
    spread = np.std([report.nats_per_word for report in reports], ddof=1)
    error = np.mean([report.standard_error for report in reports])
    assert spread == pytest.approx(error, rel=0.4)


def test_the_estimate_depends_on_the_seed_and_on_nothing_of_the_training_weight() -> None:
    source = random_source(3, 2, 4)
    first = evaluate(source, ExactDenoiser(source))
    assert evaluate(source, ExactDenoiser(source), batch_size=77) == first
    trained_otherwise = Objective(schedule=CosineSchedule(), weight="flat", mask_fraction=0.3)
    assert evaluate(source, ExactDenoiser(source), objective=trained_otherwise) == first
    other = evaluate(source, ExactDenoiser(source), seed=2)
    assert other.nats_per_word != first.nats_per_word


def test_padding_is_no_word_and_changes_nothing() -> None:
    source = random_source(3, 2, 4)
    windows = sampled_windows(source, 2000)
    padded = np.pad(windows, ((0, 0), (0, 3)))
    settings = {"objective": Objective(), "times_per_window": 4, "seed": 1, "batch_size": 512}
    denoiser = _FirstWords(source)
    report = evaluate_bound(denoiser, padded, **settings)
    assert report.words == 4000
    assert abs(report.nats_per_word - source.entropy / 2) < 4 * report.standard_error


class _FirstWords(ExactDenoiser):
    """Knows the first words only; the others must be padding, and never asked for."""

    def hidden(
        self,
        token_ids: torch.Tensor,
        is_padding: torch.Tensor | None = None,
        residues: torch.Tensor | None = None,
    ) -> torch.Tensor:
        assert is_padding is not None
        length = self.source.windows.shape[1]
        assert is_padding[:, length:].all()
        states = super().hidden(token_ids[:, :length])
        return torch.nn.functional.pad(states, (0, 0, 0, token_ids.shape[1] - length))


def test_groups_are_reported_apart_and_together() -> None:
    source = random_source(8, 3, 3)
    labels = np.arange(1500) % 3 == 0
    report = evaluate(source, ExactDenoiser(source), groups=labels.astype(np.int64))
    assert set(report.groups) == {0, 1}
    assert sum(group.words for group in report.groups.values()) == report.words
    weighted = sum(group.nats_per_word * group.words for group in report.groups.values())
    assert weighted / report.words == pytest.approx(report.nats_per_word)
    assert replace(report, groups={}) == evaluate(source, ExactDenoiser(source))


def _shares_over_orders(source: Source, window: np.ndarray) -> np.ndarray:
    """Mean cost of each word of ``window`` over all orders of revealing, by summing the joint."""
    length = len(window)

    def probability(places: tuple[int, ...]) -> float:
        fits = torch.ones(len(source.windows), dtype=torch.bool)
        for place in places:
            fits &= source.windows[:, place] == int(window[place])
        return float(source.probabilities[fits].sum())

    costs = np.zeros(length)
    orders = list(permutations(range(length)))
    for order in orders:
        for at, place in enumerate(order):
            costs[place] -= math.log(probability(order[: at + 1]) / probability(order[:at]))
    return costs / len(orders)


def test_words_of_two_labels_in_one_window_get_their_shares() -> None:
    """A word's share is its mean cost over all orders: the oracle goes through them one by one."""
    source = random_source(8, 3, 3)
    windows = sampled_windows(source, 1500)
    labels = np.tile(np.array([2, 7, 7]), (1500, 1))
    labels[0] = 2  # nothing of label 7 in it
    report = evaluate(source, ExactDenoiser(source), groups=labels)
    shares = {tuple(w): _shares_over_orders(source, w) for w in np.unique(windows, axis=0).tolist()}
    exact = np.array([shares[tuple(window)] for window in windows.tolist()])
    assert set(report.groups) == {2, 7}
    for label, group in report.groups.items():
        is_member = labels == label
        assert group.words == is_member.sum()
        assert group.windows == is_member.any(axis=1).sum()
        expected = exact[is_member].mean()
        assert abs(group.nats_per_word - expected) < 4 * group.standard_error
        assert group.standard_error < 0.05 * expected
    total = sum(group.nats_per_word * group.words for group in report.groups.values())
    assert total / report.words == pytest.approx(report.nats_per_word)
    # Shares differ between places, or the test could not tell them from an even division.
    by_place = exact.mean(axis=0)
    assert abs(by_place[0] - by_place[1:].mean()) > 6 * report.groups[2].standard_error


def test_the_labels_of_padding_mean_nothing_and_every_split_of_batches_gives_the_same() -> None:
    source = random_source(3, 2, 4)
    windows = np.pad(sampled_windows(source, 60), ((0, 0), (0, 2)))
    labels = np.tile(np.array([1, 1, 5, 1]), (60, 1))
    settings = {"objective": Objective(), "times_per_window": 3, "seed": 1, "groups": labels}
    report = evaluate_bound(_FirstWords(source), windows, batch_size=512, **settings)
    assert set(report.groups) == {1}
    assert report.groups[1] == replace(report, groups={})
    assert evaluate_bound(_FirstWords(source), windows, batch_size=7, **settings) == report


def test_windows_without_words_are_counted_as_windows_and_cost_nothing() -> None:
    source = random_source(3, 2, 4)
    windows = np.zeros((3, 2), dtype=np.uint16)
    report = evaluate_bound(
        ExactDenoiser(source),
        windows,
        objective=Objective(),
        times_per_window=2,
        seed=1,
        batch_size=4,
    )
    assert report.words == 0
    assert math.isnan(report.nats_per_word)


def test_the_ratios_error_is_the_linearised_one() -> None:
    nats, words = np.array([6.0, 9.0, 20.0]), np.array([2, 3, 5])
    mean, error = ratio_estimate(nats, words)
    assert mean == pytest.approx(3.5)
    residuals = nats - 3.5 * words
    assert error == pytest.approx(math.sqrt(3 / 2 * (residuals**2).sum()) / 10)
    equal = np.array([1.0, 2.0, 4.0])
    assert ratio_estimate(equal, np.ones(3, dtype=np.int64))[1] == pytest.approx(
        equal.std(ddof=1) / math.sqrt(3)
    )
    assert math.isnan(ratio_estimate(nats[:1], words[:1])[1])


def test_progress_is_reported_to_the_last_window() -> None:
    source, observer = random_source(3, 2, 4), ListObserver()
    evaluate(source, ExactDenoiser(source), observer=observer, batch_size=5000)
    assert observer.steps[-1] == ("bound", 1500, 1500, "windows")
