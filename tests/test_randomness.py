from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from perigee.randomness import generator, stream_key

indices = st.lists(st.integers(0, 2**40), max_size=4)


@given(st.integers(0, 2**63), indices)
def test_the_same_arguments_give_the_same_numbers(seed: int, at: list[int]) -> None:
    first = generator(seed, "noise", *at).random(5)
    assert np.array_equal(first, generator(seed, "noise", *at).random(5))


@given(st.integers(0, 99), indices, st.integers(0, 99), indices)
def test_other_arguments_give_another_key(
    seed: int, at: list[int], other_seed: int, other_at: list[int]
) -> None:
    same = (seed, at) == (other_seed, other_at)
    assert (stream_key(seed, "a", *at) == stream_key(other_seed, "a", *other_at)) is same
    assert stream_key(seed, "a", *at) != stream_key(seed, "b", *at)


def test_the_numbers_are_those_of_every_machine() -> None:
    drawn = generator(424242, "noise", 1, 2, 3).integers(0, 1000, 4)
    assert drawn.tolist() == [519, 630, 491, 261]


def test_neighbouring_streams_are_uncorrelated() -> None:
    rows = np.stack([generator(1, "noise", step).standard_normal(4000) for step in range(20)])
    correlation = np.corrcoef(rows) - np.eye(20)
    assert np.abs(correlation).max() < 5 / np.sqrt(4000)
