"""Noise schedules: the share alpha_t of what is still visible at time t, and its derivative.

t = 0 is clean, t = 1 fully masked. Functions work elementwise, on times of any shape.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

ScheduleName = Literal["linear", "cosine"]


@runtime_checkable
class Schedule(Protocol):
    """A decreasing alpha with alpha_0 = 1 and alpha_1 = 0."""

    def alpha(self, times: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Probability that a word is visible."""

    def masked_share(self, times: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Probability 1 - alpha that it is masked, without cancellation near t = 0."""

    def derivative(self, times: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """The derivative of alpha; nowhere positive."""


@dataclass(frozen=True)
class LinearSchedule:
    """alpha_t = 1 - t."""

    def alpha(self, times: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Probability that a word is visible."""
        return 1.0 - times

    def masked_share(self, times: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Probability that it is masked."""
        return times

    def derivative(self, times: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """The derivative of alpha: -1."""
        return torch.full_like(times, -1.0)


@dataclass(frozen=True)
class CosineSchedule:
    """alpha_t = cos(pi t / 2)."""

    def alpha(self, times: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Probability that a word is visible."""
        return torch.cos(0.5 * math.pi * times)

    def masked_share(self, times: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Probability that it is masked: 1 - cos(pi t / 2) = 2 sin^2(pi t / 4)."""
        return 2.0 * torch.sin(0.25 * math.pi * times).square()

    def derivative(self, times: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """The derivative of alpha: -(pi / 2) sin(pi t / 2)."""
        return -0.5 * math.pi * torch.sin(0.5 * math.pi * times)


def schedule_named(name: ScheduleName) -> Schedule:
    """The schedule that ``[diffusion] schedule`` names."""
    match name:
        case "linear":
            return LinearSchedule()
        case "cosine":
            return CosineSchedule()
