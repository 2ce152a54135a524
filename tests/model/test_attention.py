from __future__ import annotations

import pytest
import torch
from model_oracles import dense_attention
from torch import Tensor

from perigee.model.attention import (
    Band,
    banded_attention,
    make_band,
    rotary_turns,
    rotate,
)
from perigee.model.shape import QUERY_BLOCK, DenoiserShape

H, P = 2, 4


def band(B: int, L: int, radius: int, dtype: torch.dtype = torch.float64) -> Band:
    """A band of the same radius at every length."""
    shape = DenoiserShape(9, H * P, H, 1, 1, 0, 0.0, radius, radius, radius, L)
    return make_band(shape, (B, L), None, device=torch.device("cpu"), dtype=dtype)


def draw(B: int, L: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    g = torch.Generator().manual_seed(L)
    return [torch.randn(B, L, H, P, generator=g, dtype=torch.float64).to(dtype) for _ in range(3)]


CASES = [
    (length, radius)
    for length in (1, 2, 63, QUERY_BLOCK, QUERY_BLOCK + 1, 131, 5 * QUERY_BLOCK, 331, 2048)
    for radius in (1, 24, 68, 300)
]


@pytest.mark.parametrize(("length", "radius"), CASES)
def test_equals_dense_masked_attention(length: int, radius: int) -> None:
    inputs = draw(1, length)
    torch.testing.assert_close(
        banded_attention(*inputs, band(1, length, radius)),
        dense_attention(*inputs, [radius], None),
    )


def test_scores_are_linear_in_the_length() -> None:
    long, short = band(1, 16_384, 68), band(1, 2048, 68)
    assert long.bias is not None
    assert short.bias is not None
    assert long.bias.numel() == 8 * short.bias.numel()
    assert short.bias.numel() == 2048 * (QUERY_BLOCK + 2 * 68)


@pytest.mark.parametrize("length", [40, 131, 331])
def test_rows_have_radius_and_padding_of_their_own(length: int) -> None:
    inputs = draw(3, length)
    is_padding = torch.zeros(3, length, dtype=torch.bool)
    is_padding[0, length // 3 :] = True
    is_padding[1, :5] = True
    shape = DenoiserShape(9, H * P, H, 1, 1, 0, 3.0, 2, 1, 300, length)
    radius = [shape.radius(n) for n in (length // 3, length - 5, length)]
    assert len(set(radius)) > 1
    made = make_band(
        shape, (3, length), is_padding, device=torch.device("cpu"), dtype=torch.float64
    )
    ours = banded_attention(*inputs, made)
    theirs = dense_attention(*inputs, radius, is_padding)
    torch.testing.assert_close(ours[~is_padding], theirs[~is_padding])
    assert ours.isfinite().all()


def test_float32_and_bfloat16() -> None:
    expected = dense_attention(*draw(2, 300), [31, 31], None)
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.bfloat16, 0.05)):
        ours = banded_attention(*draw(2, 300, dtype), band(2, 300, 31, dtype))
        assert ours.dtype == dtype
        torch.testing.assert_close(ours.double(), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("length", "radius"), [(30, 4), (200, 20), (200, 100), (331, 65)])
def test_gradients_equal_those_of_dense_attention(length: int, radius: int) -> None:
    def gradients(function: object, *rest: object) -> tuple[Tensor, ...]:
        inputs = [x.requires_grad_() for x in draw(2, length)]
        return torch.autograd.grad(function(*inputs, *rest).sin().sum(), inputs)

    ours = gradients(banded_attention, band(2, length, radius))
    theirs = gradients(dense_attention, [radius, radius], None)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)


def test_rotary_scores_depend_on_distance_only() -> None:
    g = torch.Generator().manual_seed(0)
    x = torch.randn(2, 1, 8, generator=g).expand(1, 50, 2, 1, 8)
    turned = rotate(x, rotary_turns(50, 8, x.device, x.dtype))[0, :, :, 0]
    scores = turned[:, 0] @ turned[:, 1].T
    torch.testing.assert_close(scores[5, 3], scores[45, 43], rtol=1e-4, atol=1e-4)
    assert (scores[5, 3] - scores[3, 5]).abs() > 1e-3
