"""The objective on the project's own denoiser: the head's shortcut is the model's own head."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from perigee.diffusion.absorbing import PAD
from perigee.diffusion.bound import evaluate_bound
from perigee.diffusion.code import residue_code
from perigee.diffusion.objective import Objective
from perigee.diffusion.times import draw_noise
from perigee.model.denoiser import Denoiser
from perigee.model.shape import DenoiserShape

MODULI = (3, 5, 7)
SHAPE = DenoiserShape(
    vocabulary_size=101,
    model_dim=16,
    num_heads=2,
    oscillator_count=2,
    num_layers=1,
    mamba_repeat=1,
    radius_factor=1.0,
    base_radius=2,
    min_radius=2,
    max_radius=8,
    sequence_length=24,
)


def _windows() -> torch.Tensor:
    windows = torch.randint(2, 101, (4, 24), generator=torch.Generator().manual_seed(0))
    windows[3, 10:] = PAD
    return windows


@pytest.mark.parametrize("unmask_fraction", [0.0, 0.5, 1.0])
def test_a_step_of_descent_lowers_the_loss_on_its_own_noise(unmask_fraction: float) -> None:
    denoiser = Denoiser(SHAPE, seed=1, glimpse_moduli=MODULI if unmask_fraction else ())
    objective = Objective(code=residue_code(MODULI, 101), unmask_fraction=unmask_fraction)
    windows = _windows()
    draws = draw_noise(
        0, epoch=0, step=0, positions=range(4), batch_size=4, length=24, parts=objective.parts
    )

    def loss() -> torch.Tensor:
        return objective.training_loss(denoiser, windows, windows == PAD, draws).loss

    before = loss()
    before.backward()
    missing = [name for name, p in denoiser.named_parameters() if p.grad is None]
    assert missing == []
    with torch.no_grad():
        for parameter in denoiser.parameters():
            parameter.sub_(parameter.grad, alpha=0.02)
        after = loss()
    assert after.item() < before.item() - 0.01


def test_the_head_of_the_loss_is_the_models_own() -> None:
    denoiser = Denoiser(SHAPE, seed=1)
    states = torch.randn(3, 16, generator=torch.Generator().manual_seed(0))
    ours = states @ denoiser.output_weight.T + denoiser.output_bias
    torch.testing.assert_close(denoiser.logits(states), ours)


def test_states_that_show_no_part_are_states_without_a_code() -> None:
    denoiser = Denoiser(SHAPE, seed=1, glimpse_moduli=MODULI)
    windows = _windows()
    hidden = torch.full((*windows.shape, 3), -1)
    plain = denoiser.hidden(windows, windows == PAD)
    torch.testing.assert_close(denoiser.hidden(windows, windows == PAD, hidden), plain)


def test_an_untrained_models_bound_is_a_little_worse_than_guessing() -> None:
    report = evaluate_bound(
        Denoiser(SHAPE, seed=1),
        _windows().numpy().astype(np.uint16),
        objective=Objective(),
        times_per_window=4,
        seed=0,
        batch_size=3,
    )
    assert report.words == 82
    assert np.log(99) < report.nats_per_word < np.log(99) + 1.0
