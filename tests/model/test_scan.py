from __future__ import annotations

import pytest
import torch
from model_oracles import oscillators_step_by_step
from torch import Tensor

from perigee.model.scan import oscillate
from perigee.model.shape import CHUNK

H, M, P = 3, 4, 6


def draw(B: int, L: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> tuple[Tensor, ...]:
    g = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64).to(dtype)

    steps = torch.rand(B, L, H, generator=g, dtype=torch.float64).to(dtype) * 3
    return steps, normal(B, L, 2, H, M, 2), normal(B, L, H, P)


def draw_bank(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(99)
    damping = torch.logspace(-3, 0, H, dtype=torch.float64)
    frequency = torch.rand(H, M, generator=g, dtype=torch.float64) * 3
    return damping.to(dtype), frequency.to(dtype)


LENGTHS = [1, 2, 3, 13, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 131, 2048, 8192]


@pytest.mark.parametrize("length", LENGTHS)
def test_equals_the_recurrence_in_float64(length: int) -> None:
    inputs, bank = draw(2, length), draw_bank()
    torch.testing.assert_close(
        oscillate(*inputs, *bank), oscillators_step_by_step(*inputs, *bank), rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize("length", [1, CHUNK + 1, 2048])
def test_equals_the_recurrence_in_float32(length: int) -> None:
    inputs, bank = draw(2, length, dtype=torch.float32), draw_bank(torch.float32)
    expected = oscillators_step_by_step(*inputs, *bank)
    error = (oscillate(*inputs, *bank).double() - expected).abs().max() / expected.std()
    # Phases reach thousands of radians here; float32 resolves them to about 1e-4.
    assert error < 5e-4


@pytest.mark.parametrize("chunk", [1, 2, 5, 16])
def test_any_chunk_gives_the_same(chunk: int) -> None:
    inputs, bank = draw(1, 37), draw_bank()
    torch.testing.assert_close(
        oscillate(*inputs, *bank, chunk=chunk), oscillate(*inputs, *bank), rtol=1e-9, atol=1e-9
    )


def test_reversed_words_on_the_reversed_clock_give_the_reversed_readout() -> None:
    (steps, drive_readout, values), (damping, frequency) = draw(2, 77), draw_bank()
    # Word t's step leads from word t - 1: on the reversed clock it is the next word's.
    reversed_steps = steps.flip(1).roll(1, 1)
    mirrored = oscillate(reversed_steps, drive_readout.flip(1), values.flip(1), damping, -frequency)
    plain = oscillate(steps, drive_readout, values, damping, frequency)
    torch.testing.assert_close(mirrored.flip(1), plain, rtol=1e-9, atol=1e-9)


def test_left_and_right_differ() -> None:
    steps, drive_readout, values = draw(1, 9)
    same = drive_readout[:, :1].expand_as(drive_readout)
    values = torch.zeros_like(values)
    values[0, 4] = 1.0
    out = oscillate(steps, same, values, *draw_bank())[0]
    assert (out[3] - out[5]).abs().max() > 0.1


def test_a_word_reaches_both_ends() -> None:
    steps, drive_readout, values = draw(1, 150)
    changed = values.clone()
    changed[0, 75] += 1.0
    bank = draw_bank()
    difference = oscillate(steps, drive_readout, changed, *bank) - oscillate(
        steps, drive_readout, values, *bank
    )
    assert (difference.abs().amax((0, 2, 3)) > 1e-6).all()


@pytest.mark.parametrize(("length", "chunk"), [(7, 3), (4, 4), (6, 2)])
def test_gradients_by_finite_differences(length: int, chunk: int) -> None:
    inputs = [x.requires_grad_() for x in (*draw(1, length), *draw_bank())]
    assert torch.autograd.gradcheck(lambda *x: oscillate(*x, chunk=chunk), inputs, fast_mode=True)


@pytest.mark.parametrize("length", [31, 70])
def test_gradients_equal_those_of_the_recurrence(length: int) -> None:
    def gradients(function: object) -> list[Tensor]:
        inputs = [x.requires_grad_() for x in draw(2, length)]
        bank = [x.requires_grad_() for x in draw_bank()]
        weight = torch.linspace(-1, 1, P, dtype=torch.float64)
        out = (function(*inputs, *bank) * weight).sin().sum()
        return list(torch.autograd.grad(out, [*inputs, *bank]))

    for ours, theirs in zip(gradients(oscillate), gradients(oscillators_step_by_step), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("level", [0.0, 1e-30, 1.0, 1e3, 1e20])
@pytest.mark.parametrize("size", [0.0, 1.0, 1e15])
def test_extreme_steps_and_inputs_stay_finite(level: float, size: float) -> None:
    steps, drive_readout, values = draw(2, 200, dtype=torch.float32)
    steps = torch.full_like(steps, level).requires_grad_()
    damping, frequency = draw_bank(torch.float32)
    inputs = (steps, drive_readout, (values * size).requires_grad_(), damping * 10, frequency)
    out = oscillate(*inputs)
    gradients = torch.autograd.grad(out.sum(), (steps, inputs[2]))
    assert all(x.isfinite().all() for x in (out, *gradients))


def test_strong_damping_keeps_its_accuracy() -> None:
    steps, drive_readout, values = draw(2, 200, dtype=torch.float32)
    damping, frequency = draw_bank(torch.float32)
    inputs = (torch.ones_like(steps), drive_readout, values, damping * 5, frequency)
    torch.testing.assert_close(
        oscillate(*inputs).double(), oscillators_step_by_step(*inputs), rtol=1e-4, atol=1e-4
    )
