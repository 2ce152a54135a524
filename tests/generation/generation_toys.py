"""Denoisers small enough to enumerate, and slow, obvious oracles of the samplers."""

from __future__ import annotations

import itertools
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from perigee.config import parse_settings
from perigee.settings import Settings
from perigee.tokenizer.prime import MASK, SPECIAL_TOKENS, PrimeTokenizer

FIRST = len(SPECIAL_TOKENS)
Text = tuple[int, ...]


def toy_tokenizer(*words: str) -> PrimeTokenizer:
    return PrimeTokenizer((*SPECIAL_TOKENS, *words))


class TableDenoiser:
    """Any function of what is visible: the states are the logits themselves; counts its work."""

    def __init__(
        self, vocabulary_size: int, length: int, seed: int = 0, scale: float = 1.5
    ) -> None:
        self.vocabulary_size, self.length = vocabulary_size, length
        self.output_weight = torch.eye(vocabulary_size)
        self.output_bias = torch.zeros(vocabulary_size)
        self.seed, self.scale = seed, scale
        self.rows_seen = 0
        self.positions_asked = 0
        self.states: list[Text] = []

    def table(self, state: Text) -> np.ndarray:
        """(L, V) logits given a state."""
        rng = np.random.default_rng([self.seed, *state])
        return self.scale * rng.standard_normal((len(state), self.vocabulary_size))

    def hidden(
        self, token_ids: Tensor, is_padding: Tensor | None = None, residues: Tensor | None = None
    ) -> Tensor:
        states = [tuple(row) for row in token_ids.tolist()]
        self.rows_seen += len(states)
        self.states += states
        known = {state: self.table(state) for state in set(states)}
        return torch.from_numpy(np.stack([known[state] for state in states]))

    def logits(self, hidden: Tensor) -> Tensor:
        self.positions_asked += len(hidden)
        return hidden + self.output_bias  # the identity matrix would make NaN of minus infinity


class ExactDenoiser(TableDenoiser):
    """The true conditional marginals of a source given what is visible."""

    def __init__(self, vocabulary_size: int, source: dict[Text, float]) -> None:
        super().__init__(vocabulary_size, len(next(iter(source))))
        self.source = source

    def table(self, state: Text) -> np.ndarray:
        marginals = np.zeros((len(state), self.vocabulary_size))
        for text, probability in self.source.items():
            if all(seen in (MASK, word) for seen, word in zip(state, text, strict=True)):
                marginals[np.arange(len(text)), list(text)] += probability
        if not marginals.any():  # what the source never shows; any answer is right
            marginals += 1.0
        with np.errstate(divide="ignore"):
            return np.log(marginals / marginals.sum(axis=1, keepdims=True))


def random_source(words: range, length: int, seed: int, shape: float = 2.0) -> dict[Text, float]:
    """A random distribution over all texts of ``words``; the smaller ``shape``, the less even."""
    texts = list(itertools.product(words, repeat=length))
    weights = np.random.default_rng(seed).gamma(shape, size=len(texts))
    return dict(zip(texts, (weights / weights.sum()).tolist(), strict=True))


def word_probabilities(
    denoiser: TableDenoiser, state: Text, forbidden: tuple[int, ...]
) -> np.ndarray:
    """(L, V) probabilities by hand."""
    weights = np.exp(denoiser.table(state))
    weights[:, list(forbidden)] = 0.0
    return weights / weights.sum(axis=1, keepdims=True)


def coin_distribution(
    denoiser: TableDenoiser,
    start: Text,
    decide: list[float],
    remask: list[float],
    forbidden: tuple[int, ...],
) -> dict[Text, float]:
    """Distribution of the final texts of a sampler that throws coins, by enumerating all states."""
    states: dict[Text, float] = {start: 1.0}
    given = [word != MASK for word in start]
    for q, sigma in zip(decide, remask, strict=True):
        after: dict[Text, float] = defaultdict(float)
        for state, mass in states.items():
            words = word_probabilities(denoiser, state, forbidden)
            options: list[list[tuple[int, float]]] = []
            for i, word in enumerate(state):
                if given[i]:
                    options.append([(word, 1.0)])
                elif word == MASK:
                    drawn = [(w, q * p) for w, p in enumerate(words[i]) if q * p > 0]
                    options.append([(MASK, 1 - q), *drawn] if q < 1 else drawn)
                else:
                    options.append([(word, 1 - sigma), (MASK, sigma)] if sigma else [(word, 1.0)])
            for combination in itertools.product(*options):
                weight = mass * float(np.prod([p for _, p in combination]))
                after[tuple(w for w, _ in combination)] += weight
        states = dict(after)
    return states


def confidence_path(
    denoiser: TableDenoiser, text: Text, steps: int, forbidden: tuple[int, ...], key
) -> list[float]:
    """The conditionals along the path on which the deterministic order reaches ``text``."""
    state = [MASK] * len(text)
    conditionals = []
    for step in range(steps):
        masked = [i for i, word in enumerate(state) if word == MASK]
        staying = int(np.floor(len(masked) * (steps - step - 1) / (steps - step) + 0.5))
        words = word_probabilities(denoiser, tuple(state), forbidden)
        ranked = sorted(masked, key=lambda i: (-key(words[i]), i))
        chosen = ranked[: len(masked) - staying]
        conditionals += [float(words[i, text[i]]) for i in chosen]
        for i in chosen:
            state[i] = text[i]
    assert MASK not in state
    return conditionals


def chi_squared(counts: dict[Text, int], expected: dict[Text, float]) -> tuple[float, int]:
    """Statistic and degrees of freedom; cells expected below 5 are pooled."""
    total = sum(counts.values())
    assert set(counts) <= {text for text, p in expected.items() if p > 0}
    large = {text for text, p in expected.items() if p * total >= 5}
    cells = [(counts.get(text, 0), expected[text] * total) for text in large]
    rest = total - sum(want for _, want in cells)
    if rest >= 5:
        cells.append((total - sum(got for got, _ in cells), rest))
    return sum((got - want) ** 2 / want for got, want in cells), len(cells) - 1


def chi_squared_limit(freedom: int, sigmas: float = 3.7) -> float:
    """Quantile by Wilson and Hilferty; 3.7 sigmas: once in 10,000 true hypotheses."""
    return freedom * (1 - 2 / (9 * freedom) + sigmas * (2 / (9 * freedom)) ** 0.5) ** 3


SMALL_WORDS = ("moon", "earth", "orbit", "tide", "the", "of", "and", "near", ",", ".", "gallia")


def small_settings(root: Path, **generation: object) -> Settings:
    """Settings of a model of a few thousand weights whose files are below ``root``."""
    document = {
        "model": {
            "num_layers": 1,
            "model_dim": 16,
            "num_heads": 2,
            "oscillator_count": 2,
            "mamba_repeat": 1,
            "max_radius": 24,
        },
        "training": {
            "sequence_length": 48,
            "use_gpu": False,
            "epochs": 2,
            "checkpoint_dir": str(root / "checkpoints"),
        },
        "generation": {"steps": 4, "length": 12, "batch": 2, **generation},
    }
    return parse_settings(document, "test", {})
