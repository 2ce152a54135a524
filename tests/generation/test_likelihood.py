from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from generation_toys import (
    FIRST,
    ExactDenoiser,
    TableDenoiser,
    coin_distribution,
    confidence_path,
    random_source,
    toy_tokenizer,
)

from perigee.generation.likelihood import (
    NEVER_IN_WINDOWS,
    ancestral_bound,
    log_likelihood,
    sampler_likelihood,
)
from perigee.generation.request import Request
from perigee.generation.sampler import NEVER_DRAWN, sample
from perigee.tokenizer.prime import EOS, MASK, PAD, UNK

SIZE = FIRST + 3
EVERY = [w for w in range(SIZE) if w not in NEVER_IN_WINDOWS]
KEYS = {
    "probability": lambda p: p.max(),
    "entropy": lambda p: (p[p > 0] * np.log(p[p > 0])).sum(),
    "margin": lambda p: np.sort(p)[-1] - np.sort(p)[-2],
}


@pytest.mark.parametrize("certainty", ["probability", "entropy", "margin"])
@pytest.mark.parametrize("steps", [1, 2, 3, 5])
def test_it_is_the_product_along_the_path_and_sums_to_one(steps: int, certainty: str) -> None:
    denoiser = TableDenoiser(SIZE, 3, seed=9)
    texts = np.array(list(itertools.product(EVERY, repeat=3)))
    found = log_likelihood(denoiser, texts, steps=steps, certainty=certainty)
    slow = [
        np.log(confidence_path(denoiser, tuple(t), steps, NEVER_IN_WINDOWS, KEYS[certainty])).sum()
        for t in texts.tolist()
    ]
    np.testing.assert_allclose(found, slow, rtol=1e-9)
    assert np.exp(found).sum() == pytest.approx(1.0, abs=1e-9)


def test_an_order_by_the_drawn_word_would_not_sum_to_one() -> None:
    # The mistake that the deterministic order avoids: rank positions by the text's own words.
    denoiser = TableDenoiser(SIZE, 3, seed=9)

    def by_own_word(text: tuple[int, ...]) -> float:
        state, total = [1] * 3, 1.0
        while 1 in state:
            weights = np.exp(denoiser.table(tuple(state)))
            weights[:, list(NEVER_IN_WINDOWS)] = 0.0
            p = weights / weights.sum(axis=1, keepdims=True)
            best = max((i for i in range(3) if state[i] == 1), key=lambda i: p[i, text[i]])
            total *= p[best, text[best]]
            state[best] = text[best]
        return total

    total = sum(by_own_word(text) for text in itertools.product(EVERY, repeat=3))
    assert abs(total - 1.0) > 0.05


def test_the_exact_denoiser_one_word_at_a_time_gives_the_source() -> None:
    source = random_source(range(FIRST, SIZE), 3, seed=1)
    denoiser = ExactDenoiser(SIZE, source)
    texts = np.array(list(source))
    found = log_likelihood(denoiser, texts, steps=3)
    np.testing.assert_allclose(np.exp(found), list(source.values()), rtol=1e-9)
    entropy = -sum(p * math.log(p) for p in source.values())
    one_step = -float(np.array(list(source.values())) @ log_likelihood(denoiser, texts, steps=1))
    assert one_step > entropy + 0.01


@pytest.mark.parametrize("steps", [2, 4, 7])
def test_a_sample_carries_its_own_likelihood(steps: int) -> None:
    denoiser = TableDenoiser(SIZE, 6, seed=2)
    request = Request("a [MASK] b", steps, length=6, batch=20, seed=steps)
    trajectory = sample(denoiser, toy_tokenizer("a", "b", "c"), request, window=6)
    assert trajectory.log_likelihood is not None
    last = trajectory.frames[-1]
    given = np.broadcast_to(trajectory.wording.is_prompt, last.token_ids.shape)
    again = log_likelihood(
        denoiser,
        # What was never decided, behind an [EOS], may be anything.
        np.where(last.is_masked, UNK, last.token_ids),
        steps=steps,
        is_given=given,
        forbidden=NEVER_DRAWN,
        ends=True,
        end_from=3,
    )
    np.testing.assert_allclose(trajectory.log_likelihood, again, rtol=1e-9)
    assert (last.token_ids == EOS).any()


@pytest.mark.parametrize(
    "change",
    [
        {"temperature": 0.9},
        {"top_p": 0.9},
        {"top_k": 5},
        {"no_repeat": 1},
        {"order_noise": 0.1},
        {"sampler": "ancestral"},
        {"sampler": "remasking"},
    ],
)
def test_where_there_is_no_exact_likelihood_none_is_given(change: dict) -> None:
    base = {"prompt": "a", "steps": 3, "length": 6}
    tokenizer = toy_tokenizer("a", "b", "c")
    exact = sample(TableDenoiser(SIZE, 6), tokenizer, Request(**base), window=6)
    assert exact.log_likelihood is not None
    other = sample(TableDenoiser(SIZE, 6), tokenizer, Request(**base, **change), window=6)
    assert other.log_likelihood is None


@pytest.mark.parametrize("steps", [1, 2, 6])
def test_the_ancestral_bound_is_below_the_enumerated_likelihood(steps: int) -> None:
    denoiser = TableDenoiser(SIZE, 3, seed=4)
    decide = [1 / (steps - i) for i in range(steps)]
    law = coin_distribution(denoiser, (MASK,) * 3, decide, [0.0] * steps, NEVER_IN_WINDOWS)
    for text in ((5, 6, 7), (7, 5, 5)):
        # Rows of a batch have coins of their own: each is a draw.
        draws = ancestral_bound(denoiser, np.array([text] * 400), steps=steps, seed=1)
        error = draws.std() / 20
        exact = math.log(law[text])
        if steps == 1:  # one way to fall
            np.testing.assert_allclose(draws, exact, rtol=1e-9)
        else:
            assert draws.mean() - 3 * error < exact
            assert np.exp(draws).mean() == pytest.approx(math.exp(exact), rel=0.2)
            assert error > 0


def test_padding_is_shown_as_such_and_not_scored() -> None:
    seen = []

    class Watching(TableDenoiser):
        def hidden(self, token_ids, is_padding=None, residues=None):
            seen.append(None if is_padding is None else is_padding.tolist())
            return super().hidden(token_ids, is_padding, residues)

    denoiser = Watching(SIZE, 4)
    found = log_likelihood(denoiser, np.array([[5, 6, PAD, PAD]]), steps=2)
    assert seen[0] == [[False, False, True, True]]
    assert np.isfinite(found).all()
    total = sum(
        np.exp(log_likelihood(denoiser, np.array([[a, b, PAD, PAD]]), steps=2)).item()
        for a in EVERY
        for b in EVERY
    )
    assert total == pytest.approx(1.0)


def test_a_forbidden_word_has_probability_zero() -> None:
    found = log_likelihood(
        TableDenoiser(SIZE, 3), np.array([[5, UNK, 6]]), steps=3, forbidden=NEVER_DRAWN
    )
    assert found == -np.inf


def test_the_mean_over_windows_and_its_error() -> None:
    denoiser = TableDenoiser(SIZE, 4, seed=5)
    rng = np.random.default_rng(0)
    windows = rng.integers(FIRST, SIZE, size=(7, 4)).astype(np.uint16)
    windows[-1, 2:] = PAD
    two, four = sampler_likelihood(denoiser, windows, steps=(2, 4), batch_size=3)
    nats = np.array([-log_likelihood(denoiser, w[None], steps=2).item() for w in windows])
    assert two.nats_per_word == pytest.approx(nats.sum() / 26)
    assert (two.words, two.windows, two.steps, four.steps) == (26, 7, 2, 4)
    assert two.perplexity == pytest.approx(math.exp(nats.sum() / 26))
    # The jackknife agrees about the error.
    left_out = [np.delete(nats, i).sum() / (26 - n) for i, n in enumerate([4] * 6 + [2])]
    jackknife = math.sqrt(6 / 7 * ((np.array(left_out) - np.mean(left_out)) ** 2).sum())
    assert two.standard_error == pytest.approx(jackknife, rel=0.1)
    residuals = nats - two.nats_per_word * np.array([4] * 6 + [2])
    assert two.standard_error == pytest.approx(math.sqrt(7 / 6 * (residuals**2).sum()) / 26)
