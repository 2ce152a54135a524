from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
from generation_toys import (
    FIRST,
    TableDenoiser,
    chi_squared,
    chi_squared_limit,
    small_settings,
    toy_tokenizer,
)

from perigee.generation.request import Request
from perigee.generation.sampler import NEVER_DRAWN, sample
from perigee.generation.session import open_session
from perigee.tokenizer.prime import EOS, MASK

WORDS = ("a", "b", "c", "d")
SIZE = FIRST + len(WORDS)
MODULI = (2, 5)
ALLOWED = range(FIRST, SIZE)
Seen = tuple[int, ...]


class GlimpsingDenoiser(TableDenoiser):
    """Any function of the words and residues that are seen."""

    def hidden(self, token_ids, is_padding=None, residues=None):
        assert residues is not None
        # Residues of whole words, visible or masked, are hidden: what the model was trained on.
        assert (residues[token_ids != MASK] == -1).all()
        self.rows_seen += len(token_ids)
        rows = []
        for words, parts in zip(token_ids.tolist(), residues.tolist(), strict=True):
            rows.append(self.table_of([(w, *p) for w, p in zip(words, parts, strict=True)]))
        return torch.from_numpy(np.stack(rows))

    def table_of(self, positions: list[Seen]) -> np.ndarray:
        return self.table(tuple(value + 1 for position in positions for value in position))[
            : len(positions)
        ]


def enumerate_states(denoiser: GlimpsingDenoiser, length: int, decide: list[float]) -> dict:
    """Final texts when every position is unmasked in parts, by enumerating all partial states."""
    hidden = (-1,) * len(MODULI)
    states: dict[tuple[Seen, ...], float] = {(hidden,) * length: 1.0}
    for q in decide:
        after: dict[tuple[Seen, ...], float] = defaultdict(float)
        for state, mass in states.items():
            looks = [
                (whole(parts), *hidden) if -1 not in parts else (MASK, *parts) for parts in state
            ]
            logits = denoiser.table_of(looks)
            options = [moves(parts, np.exp(logits[i]), q) for i, parts in enumerate(state)]
            for combination in itertools.product(*options):
                weight = mass * float(np.prod([p for _, p in combination]))
                after[tuple(parts for parts, _ in combination)] += weight
        states = after
    return {tuple(whole(parts) for parts in state): mass for state, mass in states.items()}


def whole(parts: Seen) -> int:
    (word,) = (w for w in range(SIZE) if tuple(w % p for p in MODULI) == parts)
    return word


def moves(parts: Seen, weights: np.ndarray, q: float) -> list[tuple[Seen, float]]:
    """Where a position can go in a step, with probabilities."""
    if -1 not in parts:
        return [(parts, 1.0)]
    agreeing = [
        w
        for w in ALLOWED
        if all(seen in (-1, w % p) for seen, p in zip(parts, MODULI, strict=True))
    ]
    total = sum(weights[w] for w in agreeing)
    found: dict[Seen, float] = defaultdict(float)
    unseen = [j for j, seen in enumerate(parts) if seen < 0]
    for coins in itertools.product([False, True], repeat=len(unseen)):
        chance = float(np.prod([q if coin else 1 - q for coin in coins]))
        shown = {j for j, coin in zip(unseen, coins, strict=True) if coin}
        for w in agreeing:
            new = tuple(w % p if j in shown else parts[j] for j, p in enumerate(MODULI))
            found[new] += chance * weights[w] / total
    return [(new, p) for new, p in found.items() if p > 0]


@pytest.mark.parametrize("steps", [2, 3])
def test_partial_unmasking_matches_enumeration(steps: int) -> None:
    denoiser = GlimpsingDenoiser(SIZE, 2, seed=3)
    tokenizer = toy_tokenizer(*WORDS)
    request = Request(
        "", steps, length=2, batch=3000, sampler="ancestral", can_end=False, partial_fraction=1.0
    )
    trajectory = sample(denoiser, tokenizer, request, window=2, code=tokenizer.code(MODULI))
    expected = enumerate_states(denoiser, 2, [1 / (steps - i) for i in range(steps)])
    assert sum(expected.values()) == pytest.approx(1.0)
    found = Counter(tuple(row) for row in trajectory.frames[-1].token_ids.tolist())
    statistic, freedom = chi_squared(found, expected)
    assert statistic < chi_squared_limit(freedom)


def test_glimpses_agree_with_the_word_they_become() -> None:
    tokenizer = toy_tokenizer(*WORDS)
    code = tokenizer.code(MODULI)
    request = Request("a", 12, length=9, batch=8, sampler="ancestral", partial_fraction=0.5)
    trajectory = sample(GlimpsingDenoiser(SIZE, 9), tokenizer, request, window=9, code=code)
    last = trajectory.frames[-1]
    glimpses = 0
    for frame in trajectory.frames:
        seen = frame.residues >= 0
        partly = seen.any(axis=-1)
        assert frame.is_masked[partly].all()
        settled = partly & ~last.is_masked
        true = code.residues(last.token_ids)
        assert (frame.residues[settled] == true[settled])[seen[settled]].all()
        glimpses += int(partly.sum())
        for row in range(8):
            shown = [s for s in trajectory.wording.slots(frame, row) if s.kind == "glimpse"]
            assert all(len(slot.text) == 4 and "?" in slot.text for slot in shown)
    assert glimpses > 20
    # About half of the positions are unmasked in parts.
    kinds = np.array([f.residues.max(axis=-1) >= 0 for f in trajectory.frames]).any(axis=0)
    assert 0.2 < kinds[:, 1:].mean() < 0.6
    assert not np.isin(last.token_ids, [w for w in NEVER_DRAWN if w != MASK]).any()
    assert not (last.residues >= 0).any() or (last.token_ids == EOS).any()


def test_a_model_with_glimpses_uses_them(tmp_path: Path, make_checkpoint) -> None:
    settings = small_settings(tmp_path)
    training = settings.training.model_copy(update={"unmask_fraction": 1.0})
    settings = settings.model_copy(update={"training": training})
    session = open_session(make_checkpoint(settings), use_gpu=False)
    assert session.code is not None
    request = Request("the moon", steps=12, length=20, sampler="ancestral", can_end=False)
    trajectory = session.sample(request)
    assert any((frame.residues >= 0).any() for frame in trajectory.frames)
    assert "[???]" not in trajectory.texts[0]
    whole_words = session.sample(Request("the moon", steps=5, length=20))
    assert whole_words.frames[-1].residues is None
