from __future__ import annotations

import pytest
import torch
from model_oracles import both_directions
from torch import Tensor

from perigee.model.scan import CHUNK, LARGEST_DECAY, Bank, oscillate

H, M, P = 3, 4, 6


def draw(B: int, L: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> tuple[Tensor, ...]:
    g = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64).to(dtype)

    steps = torch.rand(B, L, H, generator=g, dtype=torch.float64).to(dtype) * 3
    return steps, normal(B, L, H, M, 2), normal(B, L, H, M, 2), normal(B, L, H, P)


def draw_bank(dtype: torch.dtype = torch.float64, largest: float = 0.7) -> Bank:
    g = torch.Generator().manual_seed(99)
    damping = torch.logspace(-3, 0, H * M, dtype=torch.float64).view(H, M) * largest
    frequency = torch.rand(H, M, generator=g, dtype=torch.float64) * 3
    gain = torch.randn(2, H, M, 2, generator=g, dtype=torch.float64)
    return Bank(damping.to(dtype), frequency.to(dtype), gain.to(dtype))


LENGTHS = [1, 2, 3, 13, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 131, 2048]


@pytest.mark.parametrize("length", LENGTHS)
def test_equals_the_recurrence_in_float64(length: int) -> None:
    inputs, bank = draw(2, length), draw_bank()
    torch.testing.assert_close(
        oscillate(*inputs, bank), both_directions(*inputs, bank), rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize("length", [1, CHUNK + 1, 2048])
def test_equals_the_recurrence_in_float32(length: int) -> None:
    inputs, bank = draw(2, length, dtype=torch.float32), draw_bank(torch.float32)
    expected = both_directions(*inputs, bank)
    error = (oscillate(*inputs, bank).double() - expected).abs().max() / expected.std()
    # Phases reach thousands of radians here; float32 resolves them to about 1e-4.
    assert error < 5e-4


@pytest.mark.parametrize("chunk", [1, 2, 5, 16])
def test_any_chunk_gives_the_same(chunk: int) -> None:
    inputs, bank = draw(1, 37), draw_bank()
    torch.testing.assert_close(
        oscillate(*inputs, bank, chunk=chunk), oscillate(*inputs, bank), rtol=1e-9, atol=1e-9
    )


def test_reversed_words_with_exchanged_gains_give_the_reversed_readout() -> None:
    inputs, bank = draw(2, 77), draw_bank()
    exchanged = Bank(bank.damping, bank.frequency, bank.gain.flip(0))
    mirrored = oscillate(*(x.flip(1) for x in inputs), exchanged).flip(1)
    torch.testing.assert_close(mirrored, oscillate(*inputs, bank), rtol=1e-9, atol=1e-9)


def test_a_word_reaches_both_ends() -> None:
    steps, drive, readout, values = draw(1, 150)
    changed = values.clone()
    changed[0, 75] += 1.0
    bank = draw_bank()
    difference = oscillate(steps, drive, readout, changed, bank) - oscillate(
        steps, drive, readout, values, bank
    )
    assert (difference.abs().amax((0, 2, 3)) > 1e-6).all()


def test_gradients_by_finite_differences() -> None:
    small = tuple(x[:, :7, :1].requires_grad_() for x in draw(1, 7))
    bank = draw_bank()
    constants = tuple(
        x.clone().requires_grad_() for x in (bank.damping[:1], bank.frequency[:1], bank.gain[:, :1])
    )

    def run(*tensors: Tensor) -> Tensor:
        return oscillate(*tensors[:4], Bank(*tensors[4:]), chunk=3)

    assert torch.autograd.gradcheck(run, (*small, *constants), fast_mode=True)


@pytest.mark.parametrize("length", [31, 70])
def test_gradients_equal_those_of_the_recurrence(length: int) -> None:
    def gradients(function: object) -> list[Tensor]:
        inputs = [x.requires_grad_() for x in draw(2, length)]
        bank = Bank(*(x.requires_grad_() for x in draw_bank()))
        weight = torch.linspace(-1, 1, P, dtype=torch.float64)
        out = (function(*inputs, bank) * weight).sin().sum()
        return list(torch.autograd.grad(out, [*inputs, *bank]))

    for ours, theirs in zip(gradients(oscillate), gradients(both_directions), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("level", [0.0, 1e-30, 1.0])
@pytest.mark.parametrize("size", [0.0, 1e5])
def test_extreme_steps_and_inputs_stay_finite(level: float, size: float) -> None:
    steps, drive, readout, values = draw(2, 200, dtype=torch.float32)
    steps = torch.full_like(steps, level).requires_grad_()
    bank = draw_bank(torch.float32)
    bank = bank._replace(damping=torch.full_like(bank.damping, LARGEST_DECAY))
    values = (values * size).requires_grad_()
    out = oscillate(steps, drive, readout, values, bank)
    gradients = torch.autograd.grad(out.sum(), (steps, values))
    assert all(x.isfinite().all() for x in (out, *gradients))
