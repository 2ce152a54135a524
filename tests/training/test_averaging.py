from __future__ import annotations

import pytest
import torch
from torch import nn

from perigee.training.averaging import Average


def test_average_is_the_ramped_recursion() -> None:
    """The oracle: a <- d a + (1 - d) w in Python floats, d = min(decay, (1 + n) / (10 + n))."""
    torch.manual_seed(0)
    module = nn.Linear(3, 2)
    average = Average(module, 0.3)
    expected = module.weight.detach().double().clone()
    for n in range(12):
        with torch.no_grad():
            module.weight.add_(torch.randn(2, 3))
        average.update(n)
        d = min(0.3, (1 + n) / (10 + n))
        expected = d * expected + (1 - d) * module.weight.detach().double()
    torch.testing.assert_close(average.values["weight"].double(), expected, rtol=1e-6, atol=1e-6)
    assert average.decay_at(0) == pytest.approx(0.1)
    assert average.decay_at(10**6) == 0.3


def test_applied_gives_the_weights_back_bit_for_bit() -> None:
    module = nn.Linear(4, 4)
    average = Average(module, 0.9)
    with torch.no_grad():
        module.weight.mul_(1.7)
    own = module.weight.detach().clone()
    with pytest.raises(ValueError, match="inside"), average.applied():
        assert torch.equal(module.weight, average.values["weight"])
        raise ValueError("inside")
    assert torch.equal(module.weight, own)


def test_average_is_float32_for_bfloat16_weights() -> None:
    module = nn.Linear(2, 2).bfloat16()
    average = Average(module, 0.999)
    with torch.no_grad():
        module.weight.fill_(1.0)
    average.values["weight"].zero_()
    for n in range(10_000, 10_003):
        average.update(n)
    assert average.values["weight"].dtype == torch.float32
    torch.testing.assert_close(average.values["weight"], torch.full((2, 2), 1 - 0.999**3))
