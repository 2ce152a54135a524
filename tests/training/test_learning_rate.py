from __future__ import annotations

import math

import pytest

from perigee.settings import ScheduleSettings, TrainingSettings
from perigee.training.learning_rate import depends_on_length, learning_rate


def rates(total: int, **schedule: object) -> list[float]:
    training = TrainingSettings(learning_rate=1.0, lr_schedule=ScheduleSettings(**schedule))
    return [learning_rate(training, step, total) for step in range(total)]


def test_constant_with_warmup() -> None:
    assert rates(5, warmup_steps=2) == [0.5, 1.0, 1.0, 1.0, 1.0]
    assert rates(3) == [1.0, 1.0, 1.0]


def test_cosine_over_the_whole_training() -> None:
    got = rates(6, type="cosine", warmup_steps=2, minimum=0.1)
    assert got[:3] == [0.5, 1.0, 1.0]
    assert got[4] == pytest.approx(0.55)
    assert got[5] == pytest.approx(0.1 + 0.9 * (1 + math.cos(0.75 * math.pi)) / 2)


def test_cosine_with_a_period_starts_again() -> None:
    got = rates(9, type="cosine", period=4)
    assert got[:4] == got[4:8]
    assert got[8] == 1.0
    assert got[3] < got[2] < got[1]


def test_triangle_rises_and_falls_alike() -> None:
    got = rates(8, type="triangle", minimum=0.2, period=4)
    assert got[:4] == pytest.approx([0.4, 0.8, 0.8, 0.4])
    assert got[4:] == got[:4]
    assert max(rates(5, type="triangle")) == pytest.approx(1.0)


def test_warmup_stable_decay() -> None:
    got = rates(10, type="warmup_stable_decay", warmup_steps=2, decay_fraction=0.4)
    assert got == pytest.approx([0.5, 1, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25])
    assert rates(4, type="warmup_stable_decay", decay_fraction=0.0) == [1.0] * 4


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ({"type": "constant"}, False),
        ({"type": "cosine"}, True),
        ({"type": "cosine", "period": 5}, False),
        ({"type": "triangle"}, True),
        ({"type": "warmup_stable_decay"}, True),
    ],
)
def test_who_depends_on_the_length(schedule: dict[str, object], expected: bool) -> None:
    """The oracle: whether the same step has another rate in a longer training."""
    training = TrainingSettings(lr_schedule=ScheduleSettings(**schedule))
    differs = any(
        learning_rate(training, s, 20) != learning_rate(training, s, 40) for s in range(20)
    )
    assert depends_on_length(training) is differs is expected
