"""The training loss against a plain computation, and its bound against the entropy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from toy_sources import ExactDenoiser, linear_denoiser, random_source

from perigee.diffusion.absorbing import MASK, PAD
from perigee.diffusion.objective import Objective, make_objective
from perigee.diffusion.schedule import CosineSchedule, LinearSchedule, Schedule
from perigee.diffusion.times import Draws, draw_noise, warp
from perigee.diffusion.weights import SNR_LIMIT, WeightName

SCHEDULES: list[Schedule] = [LinearSchedule(), CosineSchedule()]
VOCABULARY, LENGTH, ROWS = 17, 6, 8


def _batch(step: int = 0, rows: int = ROWS) -> tuple[torch.Tensor, Draws]:
    source = torch.Generator().manual_seed(step)
    windows = torch.randint(2, VOCABULARY, (rows, LENGTH), generator=source)
    windows[0, 4:] = PAD
    draws = draw_noise(9, epoch=0, step=step, positions=range(rows), batch_size=rows, length=LENGTH)
    return windows, draws


def _expected_weight(name: WeightName, cosine: bool, t: float, m: float) -> float:
    """Written out by hand, apart from the library's formulas."""
    alpha = np.cos(np.pi * t / 2) if cosine else 1 - t
    slope = np.pi / 2 * np.sin(np.pi * t / 2) if cosine else 1.0
    k = (1 - m) / m
    p = t ** (1 / k - 1) / k
    if name == "bound":
        return slope / (1 - alpha) / p
    if name == "min_snr":
        return slope * (min(alpha / (1 - alpha), SNR_LIMIT) + 1) / p
    u = (np.arange(100_000) + 0.5) / 100_000
    return 1 / np.mean(1 - np.cos(np.pi * u**k / 2) if cosine else u**k)


@pytest.mark.parametrize("name", ["bound", "flat", "min_snr"])
@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
@pytest.mark.parametrize("mask_fraction", [0.5, 0.4])
def test_the_loss_and_its_gradients_are_those_of_a_plain_computation(
    name: WeightName, schedule: Schedule, mask_fraction: float
) -> None:
    denoiser = linear_denoiser(
        2, vocabulary_size=VOCABULARY, length=LENGTH, tensor_type=torch.float64
    )
    windows, draws = _batch()
    cosine = isinstance(schedule, CosineSchedule)
    total, plain, bound, masked = torch.zeros(()).double(), 0.0, 0.0, 0
    for row, window in enumerate(windows):
        t = draws.times[row].item() ** ((1 - mask_fraction) / mask_fraction)
        alpha = np.cos(np.pi * t / 2) if cosine else 1 - t
        hidden_words = [
            i for i in range(LENGTH) if window[i] != PAD and draws.words[row, i] < 1 - alpha
        ]
        seen = window.clone()
        seen[hidden_words] = MASK
        logits = denoiser.logits(denoiser.hidden(seen[None])[0])
        for i in hidden_words:
            loss = torch.logsumexp(logits[i, 2:], 0) - logits[i, window[i]]
            total = total + _expected_weight(name, cosine, t, mask_fraction) * loss
            bound += _expected_weight("bound", cosine, t, mask_fraction) * loss.item()
            plain += loss.item()
            masked += 1
    words = int((windows != PAD).sum())
    expected = torch.autograd.grad(total / words, denoiser.parameters)

    objective = Objective(schedule=schedule, weight=name, mask_fraction=mask_fraction)
    report = objective.training_loss(denoiser, windows, windows == PAD, draws)
    # The flat weight's constant is an integral by the midpoint rule, 4,096 nodes.
    close = 1e-6 if name == "flat" else 1e-9
    assert report.loss.item() == pytest.approx(total.item() / words, rel=close)
    assert (report.words, report.masked_words, report.masked_units) == (words, masked, masked)
    assert report.nelbo_per_word == pytest.approx(bound / words, rel=1e-8)
    assert report.cross_entropy == pytest.approx(plain / masked, rel=1e-10)
    found = torch.autograd.grad(report.loss, denoiser.parameters)
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-6 * close, rtol=2 * close)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
@pytest.mark.parametrize("mask_fraction", [0.5, 0.35])
def test_the_training_bound_is_unbiased_for_every_mask_fraction(
    schedule: Schedule, mask_fraction: float
) -> None:
    source = random_source(21, 3, 4)
    chosen = np.random.default_rng(0).choice(64, size=15_000, p=source.probabilities.numpy())
    windows = source.windows[chosen]
    draws = draw_noise(1, epoch=0, step=0, positions=range(15_000), batch_size=15_000, length=3)
    objective = Objective(schedule=schedule, mask_fraction=mask_fraction)
    report = objective.training_loss(ExactDenoiser(source), windows, windows == PAD, draws)
    # Independent masks have a heavy tail near t = 0: hence the wide margin (seeded, not flaky).
    assert report.nelbo_per_word == pytest.approx(source.entropy / 3, rel=0.03)
    assert report.loss.item() == pytest.approx(report.nelbo_per_word)


def test_losses_of_pieces_add_up_to_the_batchs() -> None:
    denoiser = linear_denoiser(
        2, vocabulary_size=VOCABULARY, length=LENGTH, tensor_type=torch.float64
    )
    windows, draws = _batch()
    objective = Objective()
    whole = objective.training_loss(denoiser, windows, windows == PAD, draws)
    total = 0.0
    for rows in ([0, 1, 2], [3], [4, 5, 6, 7]):
        own = draw_noise(9, epoch=0, step=0, positions=rows, batch_size=ROWS, length=LENGTH)
        piece = windows[rows]
        report = objective.training_loss(denoiser, piece, piece == PAD, own, words=whole.words)
        total += report.loss.item()
    assert total == pytest.approx(whole.loss.item(), rel=1e-12)


def test_a_batch_with_nothing_masked_has_a_loss_of_zero_and_a_gradient() -> None:
    denoiser = linear_denoiser(
        2, vocabulary_size=VOCABULARY, length=LENGTH, tensor_type=torch.float64
    )
    windows, draws = _batch()
    still = Draws(torch.full((ROWS,), 1e-300, dtype=torch.float64), draws.words)
    for mask_fraction in (0.5, 0.01):
        objective = Objective(mask_fraction=mask_fraction)
        report = objective.training_loss(denoiser, windows, windows == PAD, still)
        assert report.loss.item() == 0.0
        assert report.nelbo_per_word == 0.0
        assert report.cross_entropy == 0.0
        report.loss.backward()


def test_settings_values_make_an_objective() -> None:
    plain = make_objective(schedule="cosine", weight="min_snr", mask_fraction=0.3)
    assert plain == Objective(CosineSchedule(), "min_snr", None, 0.3, 0.0)
    assert plain.parts == 0
    coded = make_objective(moduli=(3, 7), vocabulary_size=VOCABULARY, unmask_fraction=0.2)
    assert coded.parts == 2
    assert make_objective(moduli=(3, 7), vocabulary_size=VOCABULARY).parts == 0


def test_small_fractions_draw_small_times() -> None:
    uniforms = torch.tensor([0.5], dtype=torch.float64)
    assert warp(uniforms, 0.25).item() == 0.125
