"""Chunked cross-entropy against the plain one, values and gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from perigee.diffusion.absorbing import FIRST_WORD, MASK, PAD, word_log_probabilities
from perigee.diffusion.crossentropy import chunk_rows, weighted_cross_entropy


def _inputs(tensor_type: torch.dtype = torch.float64) -> tuple[Tensor, ...]:
    source = torch.Generator().manual_seed(1)
    hidden = torch.randn(23, 6, generator=source, dtype=torch.float64)
    weight = torch.randn(31, 6, generator=source, dtype=torch.float64)
    bias = torch.randn(31, generator=source, dtype=torch.float64)
    targets = torch.randint(FIRST_WORD, 31, (23,), generator=source)
    weights = torch.rand(23, generator=source, dtype=torch.float64) * 3
    floats = [t.to(tensor_type).requires_grad_() for t in (hidden, weight, bias)]
    return (*floats, targets, weights)


def _plain(hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    logits = hidden @ weight.T + bias
    keep = torch.ones(logits.shape[1], dtype=torch.bool)
    keep[[PAD, MASK]] = False
    allowed = logits[:, keep]
    return torch.nn.functional.cross_entropy(allowed, targets - FIRST_WORD, reduction="none")


@pytest.mark.parametrize("rows", [1, 5, 23, 100])
def test_values_and_gradients_are_those_of_the_plain_loss(rows: int) -> None:
    hidden, weight, bias, targets, weights = _inputs()
    plain = _plain(hidden, weight, bias, targets)
    expected = torch.autograd.grad(2.5 * (plain @ weights), (hidden, weight, bias))
    total, losses = weighted_cross_entropy(
        hidden, weight, bias, targets, weights, chunk_bytes=rows * 31 * 4
    )
    torch.testing.assert_close(losses, plain.detach())
    torch.testing.assert_close(total, plain @ weights)
    found = torch.autograd.grad(2.5 * total, (hidden, weight, bias))
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-12, rtol=1e-10)


def test_the_gradient_agrees_with_finite_differences() -> None:
    hidden, weight, bias, targets, weights = _inputs()

    def total(*tensors: Tensor) -> Tensor:
        return weighted_cross_entropy(*tensors, targets, weights, chunk_bytes=4 * 31 * 4)[0]

    assert torch.autograd.gradcheck(total, (hidden, weight, bias))


def test_without_gradients_the_values_are_the_same() -> None:
    hidden, weight, bias, targets, weights = _inputs()
    with_gradient, _ = weighted_cross_entropy(hidden, weight, bias, targets, weights)
    with torch.no_grad():
        without, _ = weighted_cross_entropy(hidden, weight, bias, targets, weights)
    assert with_gradient.requires_grad
    assert not without.requires_grad
    torch.testing.assert_close(with_gradient.detach(), without, atol=0, rtol=0)


def test_half_precision_states_keep_float32_sums() -> None:
    hidden, weight, bias, targets, weights = _inputs(torch.float32)
    exact, _ = weighted_cross_entropy(hidden, weight, bias, targets, weights)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        total, losses = weighted_cross_entropy(hidden, weight, bias, targets, weights)
    assert losses.dtype == total.dtype == torch.float32
    torch.testing.assert_close(total.double(), losses.double() @ weights, rtol=1e-6, atol=0)
    assert 0 < abs((total - exact).item()) < 0.02 * abs(exact.item())
    gradients = torch.autograd.grad(total, (hidden, weight, bias))
    assert all(gradient.dtype == torch.float32 for gradient in gradients)


def test_no_rows_give_zero_and_zero_gradients() -> None:
    hidden, weight, bias, targets, weights = _inputs()
    total, losses = weighted_cross_entropy(hidden[:0], weight, bias, targets[:0], weights[:0])
    assert total.item() == 0.0
    assert len(losses) == 0
    (gradient,) = torch.autograd.grad(total, (weight,))
    assert float(gradient.abs().sum()) == 0.0


def test_logits_far_apart_stay_finite() -> None:
    hidden = torch.tensor([[1e4]], requires_grad=True)
    weight = torch.tensor([[0.0], [0.0], [1.0], [-1.0]])
    total, _ = weighted_cross_entropy(
        hidden, weight, torch.zeros(4), torch.tensor([3]), torch.ones(1)
    )
    assert total.item() == pytest.approx(2e4)


def test_pad_and_mask_have_no_probability_and_the_input_is_left_alone() -> None:
    logits = torch.full((2, 5), 9.0)
    log_probabilities = word_log_probabilities(logits)
    assert log_probabilities[:, [PAD, MASK]].exp().sum() == 0
    torch.testing.assert_close(log_probabilities[:, FIRST_WORD:].exp(), torch.full((2, 3), 1 / 3))
    assert (logits == 9.0).all()


def test_a_chunk_keeps_to_its_budget_and_is_never_empty() -> None:
    assert chunk_rows(50_005, 32 * 2**20) * 50_005 * 4 <= 32 * 2**20
    assert chunk_rows(50_005, 1) == 1
