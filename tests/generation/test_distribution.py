from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from perigee.errors import GenerationError
from perigee.generation.distribution import certainty, draw, sharpen


def slow_sharpen(p: np.ndarray, temperature: float, top_k: int, top_p: float) -> np.ndarray:
    p = p ** (1 / temperature)
    p = p / p.sum()
    order = sorted(range(len(p)), key=lambda i: -p[i])
    if top_k:
        order = order[:top_k]
    total = sum(p[i] for i in order)
    kept, mass = [], 0.0
    for i in order:
        if mass >= top_p:
            break
        kept.append(i)
        mass += p[i] / total
    out = np.zeros_like(p)
    out[kept] = p[kept] / sum(p[i] for i in kept)
    return out


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10_000),
    st.sampled_from([0.3, 1.0, 2.5]),
    st.sampled_from([0, 1, 3, 40]),
    st.sampled_from([0.05, 0.5, 0.93, 1.0]),
)
def test_sharpening(seed: int, temperature: float, top_k: int, top_p: float) -> None:
    p = np.random.default_rng(seed).dirichlet(np.full(7, 0.7))
    found = sharpen(
        torch.from_numpy(p)[None].log(), temperature=temperature, top_k=top_k, top_p=top_p
    )
    np.testing.assert_allclose(
        found[0].numpy(), slow_sharpen(p, temperature, top_k, top_p), rtol=1e-9, atol=1e-12
    )


def test_nothing_asked_nothing_changed() -> None:
    log_p = torch.randn(3, 9, dtype=torch.float64).log_softmax(-1)
    assert torch.equal(sharpen(log_p, temperature=1.0, top_k=0, top_p=1.0), log_p.exp())


def test_a_draw_inverts_the_distribution_function() -> None:
    p = torch.tensor([[0.0, 0.25, 0.0, 0.5, 0.25, 0.0]], dtype=torch.float64)
    uniforms = torch.tensor([0.0, 0.2499, 0.25, 0.7499, 0.75, 1 - 2**-53], dtype=torch.float64)
    assert draw(p.expand(6, -1), uniforms).tolist() == [1, 1, 3, 3, 4, 4]


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10_000))
def test_the_largest_uniform_number_stays_inside(seed: int) -> None:
    p = np.random.default_rng(seed).dirichlet(np.full(11, 0.3))
    p[[0, 7, 8, 9, 10]] = 0.0
    largest = torch.tensor([1 - 2**-53], dtype=torch.float64)
    word = draw(torch.from_numpy(p / p.sum())[None], largest).item()
    assert p[int(word)] > 0


def test_a_draw_keeps_what_float32_would_lose() -> None:
    # A word of probability 1e-9 at the end: in float32 its cumulated probability is that before it.
    p = torch.tensor([[1 - 1e-9, 1e-9]], dtype=torch.float64)
    assert draw(p, torch.tensor([1 - 5e-10], dtype=torch.float64)).item() == 1


def test_a_diverged_model_is_an_error() -> None:
    with pytest.raises(GenerationError, match="not finite"):
        draw(torch.full((1, 3), torch.nan, dtype=torch.float64), torch.tensor([0.5]))


@pytest.mark.parametrize("kind", ["probability", "entropy", "margin"])
def test_certainty(kind: str) -> None:
    p = np.array([[0.5, 0.3, 0.2, 0.0], [0.4, 0.4, 0.1, 0.1], [1.0, 0.0, 0.0, 0.0]])
    with np.errstate(divide="ignore"):
        found = certainty(torch.from_numpy(np.log(p)), kind).numpy()
    slow = {
        "probability": np.log([0.5, 0.4, 1.0]),
        "entropy": [sum(x * np.log(x) for x in row if x > 0) for row in p],
        "margin": [np.log(0.2), -np.inf, 0.0],
    }[kind]
    np.testing.assert_allclose(found, slow, atol=1e-12)
