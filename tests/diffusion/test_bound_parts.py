"""Partial masking by enumeration: its bound holds for every code and every throw of the coins."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import numpy as np
import pytest
import torch
from enumeration import exact_bound, integrate, masked_cross_entropies
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from toy_sources import ExactDenoiser, Source, random_source

from perigee.diffusion.absorbing import MASK, PAD, word_log_probabilities
from perigee.diffusion.bound import evaluate_bound
from perigee.diffusion.code import HIDDEN, PartCode, digit_code, residue_code
from perigee.diffusion.objective import Objective
from perigee.diffusion.schedule import CosineSchedule, LinearSchedule, Schedule
from perigee.diffusion.times import draw_noise

SCHEDULES: list[Schedule] = [LinearSchedule(), CosineSchedule()]
CASES = [
    # Words, symbols (ids reach symbols + 2), code.
    (2, 8, residue_code((3, 4), 10)),
    (2, 8, residue_code((2, 3, 5), 10)),
    (2, 8, digit_code((2, 5), 10)),
    (2, 6, digit_code((2, 2, 2), 8)),
    (3, 4, residue_code((2, 3), 6)),
    (3, 3, digit_code((3, 2), 5)),
]
IDS = [f"{length}x{symbols}-{case.moduli}-{case.divisors}" for length, symbols, case in CASES]
by_case = pytest.mark.parametrize(("length", "symbols", "code"), CASES, ids=IDS)


@by_case
@settings(max_examples=2, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_the_exact_denoisers_bound_is_the_entropy_for_every_throw_of_the_coins(
    length: int, symbols: int, code: PartCode, seed: int
) -> None:
    source = random_source(seed, length, symbols)
    for is_split in product((False, True), repeat=length):
        denoiser = ExactDenoiser(source, code)
        outcomes = masked_cross_entropies(denoiser, source, code, is_split)
        for schedule in SCHEDULES:
            assert integrate(outcomes, schedule) == pytest.approx(source.entropy, abs=1e-6)


@by_case
@settings(max_examples=2, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_a_wrong_denoisers_bound_is_its_cross_entropy_and_above_the_entropy(
    length: int, symbols: int, code: PartCode, seed: int
) -> None:
    source, wrong = random_source(seed, length, symbols), random_source(seed + 1, length, symbols)
    for is_split in ((True,) * length, (True,) + (False,) * (length - 1)):
        bound = exact_bound(ExactDenoiser(wrong, code), source, LinearSchedule(), code, is_split)
        assert bound == pytest.approx(source.cross_entropy(wrong), abs=1e-6)
        assert bound > source.entropy


@dataclass(frozen=True)
class IncoherentDenoiser(ExactDenoiser):
    """Believes something else whenever it sees something else, as a network does."""

    def hidden(
        self, token_ids: Tensor, is_padding: Tensor | None = None, residues: Tensor | None = None
    ) -> Tensor:
        states = super().hidden(token_ids, is_padding, residues)
        key = (token_ids * torch.tensor([7, 31, 101])[: token_ids.shape[1]]).sum(1)
        if residues is not None:
            key = key + ((residues + 2) * torch.tensor([3, 5, 11])[: residues.shape[2]]).sum((1, 2))
        phase = key[:, None, None] + torch.arange(states[0].numel()).view(states[0].shape)
        return states.clamp(min=-12.0) + 1.5 * torch.sin(phase.double() * 1.7)


@by_case
@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_a_denoiser_without_a_joint_distribution_has_a_bound_above_the_entropy(
    length: int, symbols: int, code: PartCode, schedule: Schedule
) -> None:
    for seed in range(4):
        source = random_source(seed, length, symbols)
        denoiser = IncoherentDenoiser(source, code)
        for is_split in ((False,) * length, (True,) * length):
            bound = exact_bound(denoiser, source, schedule, code, is_split)
            assert bound > source.entropy + 0.01


def _seen(source: Source, code: PartCode, is_hidden: Tensor) -> tuple[Tensor, Tensor]:
    parts = code.parts(source.windows)
    partial = is_hidden.any(-1)
    residues = parts.masked_fill(is_hidden | ~partial[..., None], HIDDEN)
    return source.windows.masked_fill(partial, MASK), residues


def _joint_form(source: Source, code: PartCode) -> float:
    """The withdrawn loss: -log p(word | what is seen), once for a word with something hidden.

    Everything else is the bound's: parts are masked independently, and the integral over t of
    (1/t) t^n (1 - t)^(N - n), for n of N parts hidden, is 1 / (n C(N, n)).
    """
    length, count = source.windows.shape[1], len(code)
    total = length * count
    denoiser = ExactDenoiser(source, code)
    nats = 0.0
    for pattern in list(product((False, True), repeat=total))[1:]:
        hidden = sum(pattern)
        is_hidden = torch.tensor(pattern).view(1, length, count).expand(len(source.windows), -1, -1)
        seen, residues = _seen(source, code, is_hidden)
        log_p = word_log_probabilities(denoiser.hidden(seen, None, residues))
        own = -log_p.gather(2, source.windows[..., None]).squeeze(2)
        own = own.masked_fill(~is_hidden.any(-1), 0.0).sum(1)
        weight = 1 / (hidden * math.comb(total, hidden))
        nats += weight * float(own @ source.probabilities)
    return nats


@pytest.mark.parametrize("seed", range(4))
def test_the_joint_form_goes_below_the_entropy_which_is_why_it_is_not_used(seed: int) -> None:
    """The published trap (erratum of 1 May 2026): it reads better than the truth allows."""
    source, code = random_source(seed, 2, 8), residue_code((3, 4), 10)
    joint = _joint_form(source, code)
    assert joint < source.entropy - 0.01
    ours = exact_bound(ExactDenoiser(source, code), source, LinearSchedule(), code, (True, True))
    assert ours == pytest.approx(source.entropy, abs=1e-6)


@pytest.mark.parametrize("unmask_fraction", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("code", [residue_code((3, 4), 10), digit_code((2, 5), 10)], ids=str)
def test_the_estimate_meets_the_entropy_within_its_error(
    unmask_fraction: float, code: PartCode
) -> None:
    source = random_source(31, 2, 8)
    chosen = np.random.default_rng(4).choice(64, size=4000, p=source.probabilities.numpy())
    windows = source.windows.numpy()[chosen].astype(np.uint16)
    report = evaluate_bound(
        ExactDenoiser(source, code),
        windows,
        objective=Objective(code=code, unmask_fraction=unmask_fraction),
        times_per_window=4,
        seed=3,
        batch_size=2000,
    )
    assert report.unmask_fraction == unmask_fraction
    assert 0 < report.standard_error < 0.03 * source.entropy / 2
    assert abs(report.nats_per_word - source.entropy / 2) < 4 * report.standard_error


def test_the_whole_word_bound_of_a_denoiser_that_knows_parts_is_reported_beside_its_own() -> None:
    source, code = random_source(31, 2, 8), residue_code((3, 4), 10)
    objective = Objective(code=code, unmask_fraction=1.0)
    windows = source.windows.numpy().astype(np.uint16)
    reports = [
        evaluate_bound(
            ExactDenoiser(source, own.code if own.parts else None),
            windows,
            objective=own,
            times_per_window=4,
            seed=3,
            batch_size=64,
        )
        for own in (objective, objective.whole_words(), Objective())
    ]
    assert [report.unmask_fraction for report in reports] == [1.0, 0.0, 0.0]
    assert reports[1] == reports[2] != reports[0]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_the_training_bound_meets_the_entropy_with_coins_and_warped_times(
    schedule: Schedule,
) -> None:
    source, code = random_source(32, 2, 8), residue_code((3, 4), 10)
    count = 12_000
    chosen = np.random.default_rng(4).choice(64, size=count, p=source.probabilities.numpy())
    windows = source.windows[chosen]
    objective = Objective(schedule=schedule, code=code, unmask_fraction=0.5, mask_fraction=0.4)
    draws = draw_noise(
        2, epoch=0, step=0, positions=range(count), batch_size=count, length=2, parts=2
    )
    report = objective.training_loss(ExactDenoiser(source, code), windows, windows == PAD, draws)
    assert report.nelbo_per_word == pytest.approx(source.entropy / 2, rel=0.03)
    assert report.masked_units > report.masked_words > 0
