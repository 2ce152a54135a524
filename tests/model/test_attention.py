from __future__ import annotations

import pytest
import torch
from model_oracles import dense_attention
from torch import Tensor

from perigee.model.attention import QUERY_BLOCK, banded_attention, rotary_table, rotate

H, P = 2, 4


def draw(B: int, L: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    g = torch.Generator().manual_seed(L)
    return [torch.randn(B, L, H, P, generator=g, dtype=torch.float64).to(dtype) for _ in range(3)]


CASES = [
    (length, radius)
    for length in (1, 2, 63, QUERY_BLOCK, QUERY_BLOCK + 1, 131, 3 * QUERY_BLOCK, 331, 2048)
    for radius in (1, 24, 68, 300)
]


@pytest.mark.parametrize(("length", "radius"), CASES)
def test_equals_dense_masked_attention(length: int, radius: int) -> None:
    inputs = draw(1, length)
    torch.testing.assert_close(
        banded_attention(*inputs, [radius]), dense_attention(*inputs, [radius], None)
    )


@pytest.mark.parametrize("length", [40, 131, 331])
def test_rows_have_radius_and_padding_of_their_own(length: int) -> None:
    inputs = draw(3, length)
    is_padding = torch.zeros(3, length, dtype=torch.bool)
    is_padding[0, length // 3 :] = True
    is_padding[1, :5] = True
    radius = [9, 17, 30]
    ours = banded_attention(*inputs, radius, is_padding)
    theirs = dense_attention(*inputs, radius, is_padding)
    torch.testing.assert_close(ours[~is_padding], theirs[~is_padding])
    assert ours.isfinite().all()


def test_float32_and_bfloat16() -> None:
    expected = dense_attention(*draw(2, 200), [31, 31], None)
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.bfloat16, 0.05)):
        ours = banded_attention(*draw(2, 200, dtype), [31, 31])
        assert ours.dtype == dtype
        torch.testing.assert_close(ours.double(), expected, rtol=tolerance, atol=tolerance)


def test_gradients_equal_those_of_dense_attention() -> None:
    def gradients(function: object, *rest: object) -> tuple[Tensor, ...]:
        inputs = [x.requires_grad_() for x in draw(2, 200)]
        return torch.autograd.grad(function(*inputs, *rest).sin().sum(), inputs)

    ours = gradients(banded_attention, [20, 33])
    theirs = gradients(dense_attention, [20, 33], None)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)


def test_rotary_scores_depend_on_distance_only() -> None:
    g = torch.Generator().manual_seed(0)
    q, k = (torch.randn(8, generator=g).expand(1, 50, 1, 8) for _ in range(2))
    table = rotary_table(50, 8, q.device)
    scores = (rotate(q, *table)[0, :, 0]) @ (rotate(k, *table)[0, :, 0]).T
    torch.testing.assert_close(scores[5, 3], scores[45, 43], rtol=1e-4, atol=1e-4)
    assert (scores[5, 3] - scores[3, 5]).abs() > 1e-3
