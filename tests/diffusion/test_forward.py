"""The forward process: what is masked, how often, and what the denoiser gets to see."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from perigee.diffusion.absorbing import MASK, PAD
from perigee.diffusion.code import HIDDEN, residue_code
from perigee.diffusion.forward import choose_units, corrupt, count_units, threshold_of_count
from perigee.diffusion.times import Draws, draw_noise

CODE = residue_code((3, 4), 12)


def _windows() -> torch.Tensor:
    windows = torch.tensor([[2, 3, 4, 5, 6, 7, 8, 9], [11, 10, 2, 2, 3, PAD, PAD, PAD]])
    return windows.repeat(500, 1)


def _draws(windows: torch.Tensor, parts: int = 0) -> Draws:
    rows, length = windows.shape
    return draw_noise(
        3, epoch=0, step=0, positions=range(rows), batch_size=rows, length=length, parts=parts
    )


def test_words_are_masked_independently_with_the_rows_probability() -> None:
    windows = _windows()
    units = choose_units(windows == PAD, _draws(windows), None, 0.0)
    corruption = corrupt(windows, units, torch.full((len(windows),), 0.3, dtype=torch.float64))
    is_word = windows != PAD
    share = corruption.is_whole[is_word].double().mean().item()
    assert share == pytest.approx(0.3, abs=4 * np.sqrt(0.21 / int(is_word.sum())))
    both = (corruption.is_whole[:, 0] & corruption.is_whole[:, 1]).double().mean().item()
    assert both == pytest.approx(0.09, abs=4 * np.sqrt(0.09 / len(windows)))
    assert (corruption.token_ids == windows.where(~corruption.is_whole, MASK)).all()
    assert not (corruption.is_whole & ~is_word).any()
    assert corruption.residues is None


def test_nothing_is_masked_at_zero_and_everything_but_padding_at_one() -> None:
    windows = _windows()
    for fraction in (0.0, 0.5, 1.0):
        units = choose_units(windows == PAD, _draws(windows, 2), CODE, fraction)
        ends = [corrupt(windows, units, torch.full((len(windows),), t), CODE) for t in (0.0, 1.0)]
        assert torch.equal(ends[0].token_ids, windows)
        assert torch.equal(ends[1].token_ids, windows.where(windows == PAD, MASK))


def test_coins_choose_how_a_word_is_masked_apart_from_time() -> None:
    windows = _windows()
    is_word = windows != PAD
    units = choose_units(~is_word, _draws(windows, 2), CODE, 0.4)
    assert units.parts is not None
    is_split = units.parts.isfinite().all(-1)
    assert torch.equal(is_split, units.parts.isfinite().any(-1))
    assert torch.equal(is_split, is_word & ~units.words.isfinite())
    assert is_split[is_word].double().mean().item() == pytest.approx(0.4, abs=0.03)
    words = is_word.sum(1) + is_split.sum(1)
    assert torch.equal(count_units(units), words)


def test_the_denoiser_sees_only_the_visible_parts_of_words_masked_in_part() -> None:
    windows = _windows()
    units = choose_units(windows == PAD, _draws(windows, 2), CODE, 0.7)
    threshold = torch.full((len(windows),), 0.5, dtype=torch.float64)
    corruption = corrupt(windows, units, threshold, CODE)
    assert corruption.residues is not None
    assert corruption.is_hidden is not None
    is_partial = corruption.is_hidden.any(-1)
    seen = corruption.residues != HIDDEN
    assert torch.equal(seen, is_partial.unsqueeze(-1) & ~corruption.is_hidden)
    assert torch.equal(corruption.residues[seen], CODE.parts(windows)[seen])
    assert not (is_partial & corruption.is_whole).any()
    assert torch.equal(corruption.is_masked, corruption.token_ids == MASK)
    patterns = corruption.is_hidden[is_partial].double().mean(0)
    # Given that something is hidden, each of two parts is with probability (1/2) / (3/4).
    torch.testing.assert_close(patterns, torch.full((2,), 2 / 3).double(), atol=0.05, rtol=0)


def test_exactly_the_asked_number_of_units_is_masked_each_equally_often() -> None:
    windows = torch.tensor([[2, 3, 4, PAD]]).repeat(3000, 1)
    units = choose_units(windows == PAD, _draws(windows, 2), CODE, 0.0)
    for count in (0, 1, 2, 3):
        counts = torch.full((len(windows),), count)
        corruption = corrupt(windows, units, threshold_of_count(units, counts))
        assert (corruption.is_whole.sum(1) == count).all()
        shares = corruption.is_whole.double().mean(0)
        expected = torch.tensor([count / 3] * 3 + [0.0]).double()
        torch.testing.assert_close(shares, expected, atol=0.04, rtol=0)


def test_parts_and_words_count_alike_as_units() -> None:
    windows = _windows()
    units = choose_units(windows == PAD, _draws(windows, 2), CODE, 0.5)
    total = count_units(units)
    for counts in (torch.ones_like(total), total // 2, total):
        corruption = corrupt(windows, units, threshold_of_count(units, counts), CODE)
        assert corruption.is_hidden is not None
        found = corruption.is_whole.sum(1) + corruption.is_hidden.sum((1, 2))
        assert torch.equal(found, counts)
