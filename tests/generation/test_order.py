from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perigee.errors import GenerationError
from perigee.generation.order import (
    ConfidenceOrder,
    build_order,
    known_share,
    remasking_schedule,
    row_uniforms,
)
from perigee.generation.plan import choose_length, plan_blocks
from perigee.generation.request import Remasking, Request


def never() -> np.ndarray:
    raise AssertionError("a pass through the network that nothing needs")


@settings(deadline=None)
@given(
    st.sampled_from(["cap", "rescale", "loop"]),
    st.sampled_from(["linear", "cosine"]),
    st.integers(1, 70),
    st.floats(0.001, 1.0),
)
def test_remasking_is_a_valid_posterior(kind: str, schedule: str, steps: int, eta: float) -> None:
    alpha, sigma = remasking_schedule(known_share(schedule, steps), Remasking(kind, eta))
    assert alpha[0] == 0.0
    assert alpha[-1] == 1.0
    assert len(alpha) == steps + 1 == len(sigma) + 1
    assert (np.diff(alpha) >= 0).all()
    decide = (alpha[1:] - (1 - sigma) * alpha[:-1]) / (1 - alpha[:-1])
    assert ((decide >= -1e-12) & (decide <= 1 + 1e-12)).all()
    assert decide[-1] == pytest.approx(1.0)
    assert sigma[-1] == 0.0
    # The marginals of the forward process are kept: a known word is known at the next step
    # with 1 - sigma, a masked one with the deciding probability (ReMDM, theorem 3.1).
    np.testing.assert_allclose(alpha[:-1] * (1 - sigma) + (1 - alpha[:-1]) * decide, alpha[1:])


def test_the_cosine_schedule_starts_slowly() -> None:
    alpha = known_share("cosine", 4)
    expected = [math.cos(math.pi * t / 2) for t in (1, 0.75, 0.5, 0.25, 0)]
    np.testing.assert_allclose(alpha, expected, atol=1e-15)


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 60), st.sampled_from(["linear", "cosine"]))
def test_confidence_decides_all_evenly(masked: int, steps: int, schedule: str) -> None:
    order = ConfidenceOrder(known_share(schedule, steps), 0.0, 0)
    is_open = np.ones((1, masked), dtype=bool)
    score = np.random.default_rng(0).standard_normal((1, masked))
    sizes = []
    for step in range(steps):
        choice = order.choose(step, step, is_open, ~is_open, lambda: score)
        ranks = score[choice.is_decided]
        left = score[is_open & ~choice.is_decided]
        assert not len(left) or not len(ranks) or ranks.min() >= left.max()
        sizes.append(int(choice.is_decided.sum()))
        is_open &= ~choice.is_decided
    assert sum(sizes) == masked
    if schedule == "linear":
        assert max(sizes) - min(sizes) <= 1


def test_ties_go_left_and_no_certainty_is_not_closed() -> None:
    order = ConfidenceOrder(known_share("linear", 3), 0.0, 0)
    is_open = np.array([[False, True, True, True]])
    score = np.where(is_open, -np.inf, 5.0)
    choice = order.choose(0, 0, is_open, ~is_open, lambda: score)
    assert choice.is_decided.tolist() == [[False, True, False, False]]


def test_a_step_that_decides_all_or_nothing_does_not_look() -> None:
    order = ConfidenceOrder(known_share("linear", 8), 0.0, 0)
    is_open = np.ones((1, 2), dtype=bool)
    assert not order.choose(0, 0, is_open, ~is_open, never).is_decided.any()
    assert order.choose(7, 7, is_open, ~is_open, never).is_decided.all()


def test_coins_do_not_look() -> None:
    order = build_order(Request(sampler="ancestral", steps=4), 4)
    is_open = np.ones((3, 50), dtype=bool)
    shares = [order.choose(i, i, is_open, ~is_open, never).is_decided.mean() for i in range(4)]
    np.testing.assert_allclose(shares, [1 / 4, 1 / 3, 1 / 2, 1], atol=0.12)


def test_rows_have_streams_of_their_own() -> None:
    all_rows = row_uniforms(3, "x", 5, (4, 6))
    assert len(np.unique(all_rows)) == 24
    some = row_uniforms(3, "x", 5, (9, 6), rows=[2])
    np.testing.assert_array_equal(some[2], all_rows[2])
    assert not some[[0, 1, 3]].any()


@pytest.mark.parametrize(
    ("length", "prompt", "places", "window", "expected"),
    [
        (0, 5, False, 256, 64),
        (0, 5, False, 40, 40),
        (0, 60, False, 256, 92),
        (0, 60, False, 70, 70),
        (0, 7, True, 256, 7),
        (9, 7, True, 256, 9),
        (300, 7, False, 256, 300),
    ],
)
def test_lengths(length: int, prompt: int, places: bool, window: int, expected: int) -> None:
    assert choose_length(Request(length=length), prompt, places, window) == expected


@settings(deadline=None)
@given(st.integers(0, 30), st.integers(1, 60), st.integers(4, 40), st.integers(0, 20))
def test_blocks_cover_each_open_position_once(
    first: int, more: int, window: int, block: int
) -> None:
    length = first + more
    request = Request(steps=100, block_length=block)
    if block > window and length > window:
        with pytest.raises(GenerationError):
            plan_blocks(request, first, length, window)
        return
    blocks = plan_blocks(request, first, length, window)
    assert [p for b in blocks for p in range(b.start, b.stop)] == list(range(first, length))
    assert sum(b.steps for b in blocks) == 100
    for b in blocks:
        assert b.window_start <= b.start < b.stop <= b.window_stop <= length
        assert b.window_stop - b.window_start == min(window, length)
        assert b.steps >= 1
