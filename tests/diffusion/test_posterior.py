"""The reverse step against Bayes' rule on the forward process."""

from __future__ import annotations

import pytest
import torch

from perigee.diffusion.absorbing import MASK
from perigee.diffusion.posterior import carry_over, posterior, stay_masked
from perigee.diffusion.schedule import CosineSchedule, LinearSchedule, Schedule

SCHEDULES: list[Schedule] = [LinearSchedule(), CosineSchedule()]
S, T = torch.tensor(0.3, dtype=torch.float64), torch.tensor(0.8, dtype=torch.float64)
PRIOR = torch.tensor([0.0, 0.0, 0.2, 0.5, 0.3], dtype=torch.float64)


def _transition(schedule: Schedule, start: torch.Tensor, end: torch.Tensor) -> torch.Tensor:
    """Forward matrix from time start to end: a word survives with alpha_end / alpha_start."""
    survive = schedule.alpha(end) / schedule.alpha(start)
    matrix = torch.eye(5, dtype=torch.float64) * survive
    matrix[:, MASK] = 1.0 - survive
    matrix[MASK] = torch.nn.functional.one_hot(torch.tensor(MASK), 5).double()
    return matrix


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
@pytest.mark.parametrize("seen", [MASK, 2, 4])
def test_a_reverse_step_is_bayes_rule(schedule: Schedule, seen: int) -> None:
    at_s = PRIOR @ _transition(schedule, torch.zeros(()).double(), S)
    joint = at_s * _transition(schedule, S, T)[:, seen]
    expected = joint / joint.sum()
    found = posterior(schedule, PRIOR[None], torch.tensor([seen]), S, T)[0]
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_steps_compose_and_the_last_one_leaves_nothing_masked(schedule: Schedule) -> None:
    zero, middle = torch.zeros(()).double(), torch.tensor(0.5).double()
    twice = stay_masked(schedule, S, middle) * stay_masked(schedule, middle, T)
    torch.testing.assert_close(twice, stay_masked(schedule, S, T))
    last = posterior(schedule, PRIOR[None], torch.tensor([MASK]), zero, T)[0]
    torch.testing.assert_close(last, PRIOR)


def test_visible_words_are_carried_over_and_the_input_is_left_alone() -> None:
    beliefs = PRIOR.repeat(3, 1)
    found = carry_over(beliefs, torch.tensor([2, MASK, 4]))
    assert found[0].tolist() == [0, 0, 1, 0, 0]
    torch.testing.assert_close(found[1], PRIOR)
    assert found[2].tolist() == [0, 0, 0, 0, 1]
    assert torch.equal(beliefs, PRIOR.repeat(3, 1))
