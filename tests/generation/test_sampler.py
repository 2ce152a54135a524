from __future__ import annotations

import itertools
from collections import Counter, defaultdict

import numpy as np
import pytest
from generation_toys import (
    FIRST,
    ExactDenoiser,
    TableDenoiser,
    Text,
    chi_squared,
    chi_squared_limit,
    coin_distribution,
    random_source,
    toy_tokenizer,
)

from perigee.errors import GenerationError
from perigee.generation.order import known_share, remasking_schedule
from perigee.generation.request import Remasking, Request
from perigee.generation.sampler import sample
from perigee.generation.trajectory import Trajectory
from perigee.observer import ListObserver
from perigee.tokenizer.prime import BOS, EOS, MASK, PAD, UNK

WORDS = ("a", "b", "c")
SIZE = FIRST + len(WORDS)
FIXED_END = (PAD, MASK, UNK, BOS, EOS)


def run(denoiser: TableDenoiser, request: Request, **more) -> Trajectory:
    return sample(denoiser, toy_tokenizer(*WORDS), request, window=denoiser.length, **more)


def counts(trajectory: Trajectory) -> Counter:
    return Counter(tuple(row) for row in trajectory.frames[-1].token_ids.tolist())


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_ancestral_matches_enumeration(steps: int) -> None:
    denoiser = TableDenoiser(SIZE, 3)
    request = Request(
        "", steps, length=3, batch=4000, sampler="ancestral", can_end=False, seed=steps
    )
    # By hand: at linear times t = 1 - i / n, a masked word is decided with probability 1 / (n - i).
    decide = [1 / (steps - i) for i in range(steps)]
    expected = coin_distribution(denoiser, (MASK,) * 3, decide, [0.0] * steps, FIXED_END)
    statistic, freedom = chi_squared(counts(run(denoiser, request)), expected)
    assert statistic < chi_squared_limit(freedom)


def test_the_test_of_distributions_can_fail() -> None:
    one, two = TableDenoiser(SIZE, 3), TableDenoiser(SIZE, 3)
    request = Request("", 1, length=3, batch=4000, sampler="ancestral", can_end=False)
    expected = coin_distribution(two, (MASK,) * 3, [0.5, 1.0], [0.0] * 2, FIXED_END)
    statistic, freedom = chi_squared(counts(run(one, request)), expected)
    assert statistic > 2 * chi_squared_limit(freedom)


@pytest.mark.parametrize("kind", ["cap", "rescale", "loop"])
def test_remasking_matches_enumeration(kind: str) -> None:
    denoiser = TableDenoiser(SIZE, 3)
    remasking = Remasking(kind, strength=0.4, loop_masked=0.4)
    request = Request(
        "", 5, length=3, batch=4000, sampler="remasking", remasking=remasking, can_end=False
    )
    alpha, sigma = remasking_schedule(known_share("linear", 5), remasking)
    assert sigma.max() > 0.1
    decide = [
        (alpha[i + 1] - (1 - sigma[i]) * alpha[i]) / (1 - alpha[i]) for i in range(len(sigma))
    ]
    expected = coin_distribution(denoiser, (MASK,) * 3, decide, sigma.tolist(), FIXED_END)
    statistic, freedom = chi_squared(counts(run(denoiser, request)), expected)
    assert statistic < chi_squared_limit(freedom)


@pytest.mark.parametrize("sampler", ["ancestral", "remasking"])
def test_many_steps_reach_the_source(sampler: str) -> None:
    source = random_source(range(FIRST, SIZE), 2, seed=3)
    request = Request(
        "",
        40,
        length=2,
        batch=900,
        sampler=sampler,
        can_end=False,
        remasking=Remasking("cap", 0.05),
    )
    statistic, freedom = chi_squared(counts(run(ExactDenoiser(SIZE, source), request)), source)
    assert statistic < chi_squared_limit(freedom)


def forward_law(source: dict[Text, float], alpha: float) -> dict[Text, float]:
    """What texts of the source look like when each word is visible with probability alpha."""
    law: dict[Text, float] = defaultdict(float)
    for text, probability in source.items():
        for seen in itertools.product((True, False), repeat=len(text)):
            state = tuple(w if s else MASK for w, s in zip(text, seen, strict=True))
            law[state] += probability * alpha ** sum(seen) * (1 - alpha) ** (len(text) - sum(seen))
    return dict(law)


def test_remasking_keeps_its_stationary_distribution() -> None:
    source = random_source(range(FIRST, SIZE), 2, seed=5, shape=0.7)
    remasking = Remasking("loop", strength=0.1, loop_masked=0.3)
    request = Request(
        "", 120, length=2, batch=400, sampler="remasking", remasking=remasking, can_end=False
    )
    frames = run(ExactDenoiser(SIZE, source), request).frames
    expected = forward_law(source, alpha=0.7)
    for step in (30, 50, 70, 90):  # as the loop begins, and after 20, 40, 60 rounds
        seen = Counter(tuple(row) for row in frames[step].token_ids.tolist())
        statistic, freedom = chi_squared(seen, expected)
        assert statistic < chi_squared_limit(freedom)
    # It does move: nearly every text has lost a word and drawn it again.
    has_lost = np.any([(f.is_masked & f.is_changed).any(axis=1) for f in frames[31:91]], axis=0)
    assert has_lost.mean() > 0.98
    statistic, freedom = chi_squared(Counter(map(tuple, frames[-1].token_ids.tolist())), source)
    assert statistic < chi_squared_limit(freedom)


def test_one_word_at_a_time_by_confidence_is_the_source() -> None:
    source = random_source(range(FIRST, SIZE), 3, seed=4)
    request = Request("", 3, length=3, batch=3000, can_end=False)
    statistic, freedom = chi_squared(counts(run(ExactDenoiser(SIZE, source), request)), source)
    assert statistic < chi_squared_limit(freedom)


@pytest.mark.parametrize("sampler", ["ancestral", "confidence", "remasking"])
def test_the_seed_decides_and_a_row_does_not_know_its_batch(sampler: str) -> None:
    denoiser = TableDenoiser(SIZE, 8)
    base = Request("a [MASK:3] b", 5, length=8, sampler=sampler, seed=5)
    many = run(denoiser, Request(**{**vars(base), "batch": 6}))
    again = run(denoiser, Request(**{**vars(base), "batch": 6}))
    one = run(denoiser, base)
    assert many.texts == again.texts
    assert one.texts == many.texts[:1]
    assert len(set(many.texts)) > 1
    assert run(denoiser, Request(**{**vars(base), "batch": 6, "seed": 6})).texts != many.texts


@pytest.mark.parametrize("sampler", ["ancestral", "confidence", "remasking"])
def test_the_prompt_stays_and_no_special_word_is_drawn(sampler: str) -> None:
    denoiser = TableDenoiser(SIZE, 9, scale=6.0)
    trajectory = run(
        denoiser,
        Request("a b [MASK:2] c", 6, length=9, batch=40, sampler=sampler, temperature=2.0),
    )
    for frame in trajectory.frames:
        ids = frame.token_ids
        assert (ids[:, [0, 1, 4]] == [FIRST, FIRST + 1, FIRST + 2]).all()
        assert not np.isin(ids, (PAD, UNK, BOS)).any()
        assert not (ids[:, :5] == EOS).any()
    last = trajectory.frames[-1].token_ids
    behind = (last == EOS).cumsum(axis=1) > 0
    assert (last[~behind] != MASK).all()
    assert behind.any()
    assert all("[EOS]" not in text and "[???]" not in text for text in trajectory.texts)


def test_without_ends_every_text_has_its_length() -> None:
    trajectory = run(TableDenoiser(SIZE, 6), Request("a", 4, length=6, batch=20, can_end=False))
    assert {len(ids) for ids in trajectory.word_ids} == {6}


def test_ancestral_asks_only_about_positions_it_decides() -> None:
    denoiser = TableDenoiser(SIZE, 6)
    trajectory = run(denoiser, Request("a", 50, length=6, sampler="ancestral", can_end=False))
    assert denoiser.positions_asked == 5
    changing = sum(bool(frame.is_changed.any()) for frame in trajectory.frames)
    assert denoiser.rows_seen == changing < 6


def test_confidence_asks_about_masked_positions_of_changing_steps_only() -> None:
    denoiser = TableDenoiser(SIZE, 6)
    trajectory = run(denoiser, Request("a", 40, length=6, can_end=False))
    assert denoiser.rows_seen == 5
    # All masked ones for the ranking (the last needs none), and each once for its draw.
    assert denoiser.positions_asked == (5 + 4 + 3 + 2) + 5
    assert sum(bool(frame.is_changed.any()) for frame in trajectory.frames) == 5


class EndingDenoiser(TableDenoiser):
    """Sure of [EOS] at one position."""

    def table(self, state: tuple[int, ...]) -> np.ndarray:
        logits = super().table(state)
        logits[2] = np.where(np.arange(self.vocabulary_size) == EOS, 60.0, -60.0)
        return logits


@pytest.mark.parametrize("sampler", ["confidence", "ancestral"])
def test_a_finished_text_costs_nothing_more(sampler: str) -> None:
    denoiser = EndingDenoiser(SIZE, 12)
    trajectory = run(denoiser, Request("a b", 5, length=12, batch=30, sampler=sampler))
    assert trajectory.texts == ["a b"] * 30
    last = trajectory.frames[-1]
    ended = np.array([(frame.token_ids == EOS)[:, 2] for frame in trajectory.frames])
    # A row is looked at in the steps up to the one that ends it, and in no step after.
    assert denoiser.rows_seen <= (~ended).sum()
    if sampler == "confidence":
        assert last.step == 1
        assert denoiser.rows_seen == 30


def test_confidence_chooses_by_the_distribution_not_by_the_word() -> None:
    # Position 1 is nearly certain, position 0 even: position 1 comes first whatever is drawn.
    source = {(FIRST, FIRST): 0.49, (FIRST + 1, FIRST): 0.49, (FIRST, FIRST + 1): 0.02}
    trajectory = run(
        ExactDenoiser(SIZE, source), Request("", 2, length=2, batch=200, can_end=False)
    )
    assert trajectory.frames[1].is_changed[:, 1].all()
    assert not trajectory.frames[1].is_changed[:, 0].any()
    assert len(set(trajectory.texts)) == 3


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (Request("a " * 5), "the prompt has 5 words"),
        (Request("a b", length=2), "nothing to write"),
        (Request("", steps=0), "steps is 0"),
        (Request("", temperature=0.0), "temperature is 0.0"),
        (Request("", top_p=1.5), "top_p is 1.5"),
        (Request("", order_noise=1.0, sampler="ancestral"), "order_noise 1.0"),
        (Request("", partial_fraction=0.5, sampler="ancestral"), "no glimpses"),
        (Request("", length=40, steps=3), "3 steps for 20 blocks"),
        (Request("", length=40, block_length=9), "block length 9"),
    ],
)
def test_what_cannot_be_asked(request_: Request, said: str) -> None:
    with pytest.raises(GenerationError, match=said):
        run(TableDenoiser(SIZE, 4), request_)


def test_unknown_words_stay_as_written_with_a_warning() -> None:
    observer = ListObserver()
    trajectory = sample(
        TableDenoiser(SIZE, 6),
        toy_tokenizer(*WORDS),
        Request("a Zebra b", 2, length=6),
        observer,
        window=6,
    )
    assert trajectory.texts[0].startswith("a Zebra b")
    assert trajectory.frames[0].token_ids[0, 1] == UNK
    assert [level for level, _ in observer.messages] == ["warning"]
    assert "'Zebra'" in observer.messages[0][1]


def test_infilling_alone_keeps_the_prompts_length() -> None:
    trajectory = run(TableDenoiser(SIZE, 9), Request("a [MASK:3] b", 3))
    assert trajectory.frames[0].token_ids.shape == (1, 5)
    assert len(trajectory.word_ids[0]) == 5


def test_texts_longer_than_the_window_are_written_in_blocks() -> None:
    denoiser = TableDenoiser(SIZE, 4)
    trajectory = run(denoiser, Request("a", 12, length=11, batch=2, can_end=False))
    assert {len(state) for state in denoiser.states} == {4}
    assert [len(ids) for ids in trajectory.word_ids] == [11, 11]
    first_known = [(~frame.is_masked[0]).cumprod().sum() for frame in trajectory.frames]
    assert first_known == sorted(first_known)
    assert trajectory.frames[-1].step == 12


def test_a_text_that_ends_in_its_first_block_is_finished() -> None:
    denoiser = EndingDenoiser(SIZE, 4)
    trajectory = run(denoiser, Request("a b", 20, length=12, block_length=2))
    assert trajectory.texts == ["a b"]
    assert trajectory.frames[-1].step < 4  # the first of five blocks has four steps


def test_frames_are_shown_as_they_come() -> None:
    seen: list[int] = []
    trajectory = run(
        TableDenoiser(SIZE, 6),
        Request("a", 4, length=6, can_end=False),
        on_frame=lambda frame, wording: seen.append(frame.step),
    )
    assert seen == [0, 1, 2, 3, 4] == [frame.step for frame in trajectory.frames]


def test_the_guard_keeps_neighbours_different() -> None:
    request = Request("", 3, length=9, batch=60, can_end=False, no_repeat=1)
    ids = run(TableDenoiser(SIZE, 9), request).frames[-1].token_ids
    assert (ids[:, 1:] != ids[:, :-1]).all()
    without = run(TableDenoiser(SIZE, 9), Request(**{**vars(request), "no_repeat": 0}))
    ids = without.frames[-1].token_ids
    assert (ids[:, 1:] == ids[:, :-1]).any()


def test_order_noise_changes_the_order() -> None:
    denoiser = TableDenoiser(SIZE, 6)
    base = Request("", 6, length=6, batch=30, can_end=False)
    plain = run(denoiser, base).frames[1].is_changed
    noisy = run(denoiser, Request(**{**vars(base), "order_noise": 3.0})).frames[1].is_changed
    assert len(np.unique(plain, axis=0)) == 1
    assert len(np.unique(noisy, axis=0)) > 1
