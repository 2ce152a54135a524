"""Sources small enough to enumerate, and denoisers that know them exactly."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from torch import Tensor

from perigee.diffusion.absorbing import FIRST_WORD, MASK
from perigee.diffusion.code import HIDDEN, PartCode

NEVER = -300.0
"""Log-probability that stands for zero: finite, so that a head's products stay finite."""


@dataclass(frozen=True)
class Source:
    """A joint distribution over windows of ``length`` words out of ``symbols``."""

    windows: Tensor
    """(N, L) ids, every window that can be."""
    probabilities: Tensor
    """(N,) float64."""
    vocabulary_size: int

    @property
    def entropy(self) -> float:
        """Nats a window."""
        p = self.probabilities
        return float(-(p * p.log()).sum())

    def cross_entropy(self, other: Source) -> float:
        """Nats a window that ``other``'s probabilities cost on this source."""
        return float(-(self.probabilities * other.probabilities.log()).sum())


def random_source(seed: int, length: int, symbols: int, sharpness: float = 1.5) -> Source:
    numbers = np.random.default_rng(seed)
    windows = torch.tensor(list(product(range(FIRST_WORD, FIRST_WORD + symbols), repeat=length)))
    scores = torch.from_numpy(numbers.normal(size=len(windows)) * sharpness)
    return Source(windows, scores.softmax(0), FIRST_WORD + symbols)


@dataclass(frozen=True)
class ExactDenoiser:
    """The posterior of every word of a source, given what is seen: D = V, the head the identity."""

    source: Source
    code: PartCode | None = None

    @property
    def output_weight(self) -> Tensor:
        return torch.eye(self.source.vocabulary_size, dtype=torch.float64)

    @property
    def output_bias(self) -> Tensor:
        return torch.zeros(self.source.vocabulary_size, dtype=torch.float64)

    def hidden(
        self, token_ids: Tensor, is_padding: Tensor | None = None, residues: Tensor | None = None
    ) -> Tensor:
        windows = self.source.windows
        fits = (token_ids[:, None] == MASK) | (token_ids[:, None] == windows)
        if residues is not None:
            assert self.code is not None
            parts = self.code.parts(windows)
            seen = residues[:, None]
            fits &= ((seen == HIDDEN) | (seen == parts)).all(-1)
        joint = fits.all(-1) * self.source.probabilities
        one_hot = torch.nn.functional.one_hot(windows, self.source.vocabulary_size).double()
        posterior = torch.einsum("bn,nlv->blv", joint / joint.sum(1, keepdim=True), one_hot)
        logits = posterior.log().clamp(min=NEVER)
        # What a softmax does not see, and what [PAD] and [MASK] get, must make no difference.
        logits[..., :FIRST_WORD] = 9.0
        return logits + 0.7

    def logits(self, hidden: Tensor) -> Tensor:
        return hidden


@dataclass(frozen=True)
class LinearDenoiser:
    """A trainable one: embeds the window's words and parts, and mixes them; nothing is exact."""

    embedding: Tensor
    mixing: Tensor
    output_weight: Tensor
    output_bias: Tensor

    def hidden(
        self, token_ids: Tensor, is_padding: Tensor | None = None, residues: Tensor | None = None
    ) -> Tensor:
        states = self.embedding[token_ids]
        if residues is not None:
            states = states + (residues + 1).sum(-1, keepdim=True) * 0.01
        return torch.tanh(states + torch.einsum("lm,bmd->bld", self.mixing, states))

    def logits(self, hidden: Tensor) -> Tensor:
        return hidden @ self.output_weight.T + self.output_bias

    @property
    def parameters(self) -> tuple[Tensor, ...]:
        return (self.embedding, self.mixing, self.output_weight, self.output_bias)


def linear_denoiser(
    seed: int, *, vocabulary_size: int, length: int, width: int = 6, tensor_type: torch.dtype
) -> LinearDenoiser:
    source = torch.Generator().manual_seed(seed)

    def parameter(*shape: int) -> Tensor:
        values = torch.randn(shape, generator=source, dtype=torch.float64).to(tensor_type)
        return values.requires_grad_()

    return LinearDenoiser(
        parameter(vocabulary_size, width),
        parameter(length, length),
        parameter(vocabulary_size, width),
        parameter(vocabulary_size),
    )
