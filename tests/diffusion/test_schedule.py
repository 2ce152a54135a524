"""Schedules against autograd, weights against their definitions."""

from __future__ import annotations

import math

import pytest
import torch

from perigee.diffusion.schedule import CosineSchedule, LinearSchedule, Schedule, schedule_named
from perigee.diffusion.weights import (
    SNR_LIMIT,
    WeightName,
    bound_weight,
    mean_masked_share,
    min_snr_weight,
    training_weight,
)

SCHEDULES = [LinearSchedule(), CosineSchedule()]
TIMES = torch.linspace(0.001, 1.0, 200, dtype=torch.float64)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_alpha_goes_from_one_to_zero_and_its_derivative_is_autograds(schedule: Schedule) -> None:
    ends = torch.tensor([0.0, 1.0], dtype=torch.float64)
    torch.testing.assert_close(schedule.alpha(ends), 1.0 - ends, atol=1e-15, rtol=0)
    times = TIMES.clone().requires_grad_()
    (slope,) = torch.autograd.grad(schedule.alpha(times).sum(), times)
    torch.testing.assert_close(schedule.derivative(TIMES), slope, atol=1e-12, rtol=1e-12)
    assert (schedule.derivative(TIMES) < 0).all()


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_the_masked_share_complements_alpha_and_is_exact_near_zero(schedule: Schedule) -> None:
    torch.testing.assert_close(schedule.masked_share(TIMES), 1.0 - schedule.alpha(TIMES))
    tiny = torch.tensor([1e-12], dtype=torch.float64)
    expected = {"LinearSchedule": 1e-12, "CosineSchedule": math.pi**2 / 8 * 1e-24}
    share = float(schedule.masked_share(tiny))
    assert share == pytest.approx(expected[type(schedule).__name__], rel=1e-9)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_the_bounds_weight_is_the_slope_of_the_log_masked_share(schedule: Schedule) -> None:
    times = TIMES.clone().requires_grad_()
    (slope,) = torch.autograd.grad((1.0 - schedule.alpha(times)).log().sum(), times)
    torch.testing.assert_close(bound_weight(schedule, TIMES), slope, atol=0, rtol=1e-7)


def test_the_bounds_weight_is_one_over_t_for_linear_alpha() -> None:
    torch.testing.assert_close(bound_weight(LinearSchedule(), TIMES), 1.0 / TIMES)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_min_snr_is_the_bounds_weight_until_the_ratio_is_cut_off(schedule: Schedule) -> None:
    ratio = schedule.alpha(TIMES) / (1.0 - schedule.alpha(TIMES))
    weight = min_snr_weight(schedule, TIMES)
    low = ratio < SNR_LIMIT
    assert 0 < low.sum() < len(TIMES)
    torch.testing.assert_close(weight[low], bound_weight(schedule, TIMES)[low])
    capped = -schedule.derivative(TIMES[~low]) * (SNR_LIMIT + 1.0)
    torch.testing.assert_close(weight[~low], capped)
    assert (weight[~low] < bound_weight(schedule, TIMES)[~low]).all()


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
@pytest.mark.parametrize("mask_fraction", [0.3, 0.5, 0.6])
@pytest.mark.parametrize("name", ["bound", "flat"])
def test_a_windows_weights_sum_to_its_words_on_average(
    schedule: Schedule, mask_fraction: float, name: WeightName
) -> None:
    uniforms = (torch.arange(400_000, dtype=torch.float64) + 0.5) / 400_000
    times = uniforms ** ((1 - mask_fraction) / mask_fraction)
    weights = training_weight(name, schedule, times, mask_fraction)
    assert float((weights * schedule.masked_share(times)).mean()) == pytest.approx(1.0, rel=2e-3)


def test_the_mean_masked_share_is_the_mask_fraction_under_the_linear_schedule() -> None:
    for fraction in (0.2, 0.5, 0.8):
        assert mean_masked_share(LinearSchedule(), fraction) == pytest.approx(fraction, rel=1e-3)
    expected = 1.0 - 2.0 / math.pi
    assert mean_masked_share(CosineSchedule(), 0.5) == pytest.approx(expected, rel=1e-6)


def test_schedules_are_found_by_their_name_in_the_settings() -> None:
    assert schedule_named("linear") == LinearSchedule()
    assert schedule_named("cosine") == CosineSchedule()
