"""Times and noise: spread evenly, unbiased, and functions of the place in the global batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from perigee.diffusion.times import Draws, density, draw_evaluation, draw_noise, spread, warp


def _draws(positions: range | list[int], parts: int = 0, step: int = 3, seed: int = 7) -> Draws:
    return draw_noise(
        seed, epoch=1, step=step, positions=positions, batch_size=8, length=5, parts=parts
    )


def test_the_numbers_of_a_row_do_not_depend_on_who_else_is_drawn() -> None:
    whole = _draws(range(8), parts=3)
    for positions in ([5], [2, 3], [7, 0]):
        some = _draws(positions, parts=3)
        for name in ("times", "words", "coins", "parts"):
            torch.testing.assert_close(
                getattr(some, name), getattr(whole, name)[positions], atol=0, rtol=0
            )


def test_the_words_numbers_are_the_same_with_and_without_a_code() -> None:
    plain, coded = _draws(range(8)), _draws(range(8), parts=2)
    torch.testing.assert_close(plain.words, coded.words, atol=0, rtol=0)
    assert plain.coins is None
    assert plain.parts is None
    assert coded.parts is not None
    assert coded.parts.shape == (8, 5, 2)


def test_steps_epochs_and_seeds_have_numbers_of_their_own() -> None:
    first = _draws(range(8)).words
    others = [_draws(range(8), step=4).words, _draws(range(8), seed=8).words]
    others.append(draw_noise(7, epoch=2, step=3, positions=range(8), batch_size=8, length=5).words)
    assert all(not torch.equal(first, other) for other in others)
    assert len(torch.unique(first)) == first.numel()


def test_a_batch_holds_one_time_in_each_stratum() -> None:
    for step in range(20):
        times = _draws(range(8), step=step).times
        assert ((times > 0) & (times <= 1)).all()
        assert sorted(torch.ceil(times * 8).long().tolist()) == list(range(1, 9))


def test_two_rows_are_antithetic_half_a_turn_apart() -> None:
    first, second = spread(0.3, [0, 1], 2).tolist()
    assert abs(first - second) == pytest.approx(0.5)


def test_a_time_is_never_zero() -> None:
    assert spread(0.0, [0], 4).item() == 1.0
    assert spread(0.75, [1], 4).item() == 1.0


def test_every_position_has_uniform_times_over_the_steps() -> None:
    times = torch.stack([_draws([5], step=step).times for step in range(2000)]).flatten()
    assert float(times.mean()) == pytest.approx(0.5, abs=4 / np.sqrt(12 * 2000))
    assert float(times.square().mean()) == pytest.approx(1 / 3, abs=0.03)


@pytest.mark.parametrize("mask_fraction", [0.25, 0.5, 0.7])
def test_the_density_is_that_of_the_warped_times(mask_fraction: float) -> None:
    uniforms = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000
    times = warp(uniforms, mask_fraction)
    assert float(times.mean()) == pytest.approx(mask_fraction, rel=1e-3)
    weights = 1.0 / density(times, mask_fraction)
    # E over the warped times of f / density is the integral of f.
    for power in (1, 2, 3):
        value = float((weights * times**power).mean())
        assert value == pytest.approx(1 / (power + 1), rel=1e-3)


def test_an_evaluations_rows_are_stratified_and_functions_of_window_and_stratum() -> None:
    rows = [(window, stratum) for window in range(3) for stratum in range(4)]
    all_rows = draw_evaluation(5, rows=rows, strata=4, length=6)
    expected = [4 - stratum for _, stratum in rows]
    assert torch.ceil(all_rows.times * 4).long().tolist() == expected
    assert ((all_rows.times > 0) & (all_rows.times <= 1)).all()
    alone = draw_evaluation(5, rows=[(2, 1)], strata=4, length=6)
    torch.testing.assert_close(alone.times[0], all_rows.times[9], atol=0, rtol=0)
    torch.testing.assert_close(alone.words[0], all_rows.words[9], atol=0, rtol=0)
