from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from perigee.training.batches import Batch, make_batch

WINDOWS = np.random.default_rng(0).integers(2, 50, (20, 6)).astype(np.uint16)
WINDOWS[3, 2:] = 0


def batch(rows: list[int], parts: int = 0) -> Batch:
    return make_batch(WINDOWS, np.array(rows), seed=5, epoch=2, step=3, parts=parts)


@given(rows=st.integers(1, 9), processes=st.integers(1, 4), accumulate=st.integers(1, 4))
def test_how_a_batch_is_cut_changes_no_row(rows: int, processes: int, accumulate: int) -> None:
    chosen = list(range(3, 3 + rows))
    whole = next(batch(chosen, parts=2).passes(rank=0, processes=1, accumulate=1))
    cut = [
        part
        for rank in range(processes)
        for part in batch(chosen, parts=2).passes(
            rank=rank, processes=processes, accumulate=accumulate
        )
    ]
    assert all(len(part.token_ids) for part in cut)
    assert torch.equal(torch.cat([part.token_ids for part in cut]), whole.token_ids)
    for name in ("times", "words", "coins", "parts"):
        pieces = torch.cat([getattr(part.draws, name) for part in cut])
        assert torch.equal(pieces, getattr(whole.draws, name))


def test_words_are_the_global_batchs() -> None:
    one = batch([3, 4])
    assert one.words == 2 + 6
    (part,) = one.passes(rank=0, processes=1, accumulate=1)
    assert part.is_padding.tolist() == [[False] * 2 + [True] * 4, [False] * 6]
    assert part.token_ids.dtype == torch.int64
    assert part.token_ids.tolist() == WINDOWS[[3, 4]].tolist()


def test_noise_changes_with_the_step() -> None:
    other = make_batch(WINDOWS, np.array([1, 2]), seed=5, epoch=2, step=4, parts=0)
    (a,) = batch([1, 2]).passes(rank=0, processes=1, accumulate=1)
    (b,) = other.passes(rank=0, processes=1, accumulate=1)
    assert torch.equal(a.token_ids, b.token_ids)
    assert not torch.equal(a.draws.words, b.draws.words)
