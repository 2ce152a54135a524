"""Exponential moving average of the weights, for evaluation and generation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Average:
    """Averaged parameters in float32: a <- d a + (1 - d) w after each optimiser step.

    The decay of the n-th update (n = 0, 1, ...) is min(decay, (1 + n) / (10 + n)), so that the
    initial weights are forgotten at the start (Tensorflow's ``ExponentialMovingAverage`` with
    ``num_updates``).

    Parameters
    ----------
    module:
        Whose parameters are averaged; read at each :meth:`update`.
    decay:
        Decay in the long run, in [0, 1).
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self._module = module
        self.values: dict[str, Tensor] = {
            name: parameter.detach().clone().float()
            for name, parameter in module.named_parameters()
        }

    def decay_at(self, update: int) -> float:
        """Decay of update ``update`` (0, 1, ...)."""
        return min(self.decay, (1 + update) / (10 + update))

    @torch.no_grad()
    def update(self, update: int) -> None:
        """Move the average towards the module's present weights; ``update`` counts from 0."""
        weights = [parameter.detach().float() for parameter in self._module.parameters()]
        torch._foreach_lerp_(list(self.values.values()), weights, 1.0 - self.decay_at(update))

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Put the averaged weights into the module; give it its own back, bit for bit."""
        own = [parameter.detach().clone() for parameter in self._module.parameters()]
        self._copy(list(self.values.values()))
        try:
            yield
        finally:
            self._copy(own)

    @torch.no_grad()
    def _copy(self, values: list[Tensor]) -> None:
        for parameter, value in zip(self._module.parameters(), values, strict=True):
            parameter.copy_(value)
