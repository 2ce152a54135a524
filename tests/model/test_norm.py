from __future__ import annotations

import pytest
import torch

from perigee.model.norm import EPSILON, unit_rms


@pytest.mark.parametrize("size", [(1,), (3, 8), (2, 5, 3, 4)])
def test_equals_torch(size: tuple[int, ...]) -> None:
    x = torch.randn(size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x.requires_grad_()
    expected = torch.nn.functional.rms_norm(x, size[-1:], eps=EPSILON)
    torch.testing.assert_close(unit_rms(x), expected)
    assert torch.autograd.gradcheck(unit_rms, x)


def test_zeros_and_types() -> None:
    zeros = torch.zeros(2, 4, requires_grad=True)
    out = unit_rms(zeros)
    out.sum().backward()
    assert zeros.grad is not None
    assert out.isfinite().all()
    assert zeros.grad.isfinite().all()
    for dtype in (torch.bfloat16, torch.float32, torch.float64):
        assert unit_rms(torch.ones(3, 2, dtype=dtype)).dtype == dtype
