from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perigee.training.order import batch_rows, divide, epoch_order, steps_per_epoch


@given(
    seed=st.integers(0, 2**31), epoch=st.integers(1, 99), n=st.integers(1, 200), b=st.integers(1, 9)
)
def test_every_window_is_seen_once_an_epoch(seed: int, epoch: int, n: int, b: int) -> None:
    order = epoch_order(seed, epoch, n)
    seen = [batch_rows(order, step, b) for step in range(steps_per_epoch(n, b))]
    assert all(1 <= len(rows) <= b for rows in seen)
    assert sorted(np.concatenate(seen)) == list(range(n))


def test_the_order_changes_with_seed_and_epoch_and_with_nothing_else() -> None:
    order = epoch_order(3, 1, 50)
    assert (order == epoch_order(3, 1, 50)).all()
    assert (order != epoch_order(3, 2, 50)).any()
    assert (order != epoch_order(4, 1, 50)).any()


@pytest.mark.parametrize(("rows", "parts"), [(8, 3), (2, 3), (0, 2), (7, 1)])
def test_parts_cover_the_batch_in_order(rows: int, parts: int) -> None:
    slices = divide(rows, parts)
    assert [i for part in slices for i in range(rows)[part]] == list(range(rows))
    lengths = [len(range(rows)[part]) for part in slices]
    assert len(lengths) == parts
    assert max(lengths) - min(lengths) <= 1
