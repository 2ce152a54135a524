"""One optimiser step, which is made whole or not at all."""

from __future__ import annotations

import contextlib
import math
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from perigee.diffusion.objective import Objective
from perigee.training.batches import Batch
from perigee.training.device import Device
from perigee.training.learner import Learner
from perigee.training.optimizer import set_rate
from perigee.training.processes import Processes


@dataclass(frozen=True)
class StepRules:
    """How a step is made; the same for all steps of a training."""

    objective: Objective
    device: Device
    precision: Literal["auto", "float32", "bfloat16"]
    gradient_clip: float
    accumulate: int


@dataclass(frozen=True)
class StepReport:
    """What a step measured."""

    loss: float
    """Weighted loss of the global batch, nats a word."""
    gradient_norm: float
    """Global norm of the gradient, before clipping."""

    @property
    def is_finite(self) -> bool:
        """Whether an update may be made of it."""
        return math.isfinite(self.loss) and math.isfinite(self.gradient_norm)


def take_step(
    learner: Learner, batch: Batch, rate: float, rules: StepRules, processes: Processes
) -> StepReport:
    """Compute the gradient of ``batch`` and, if it is finite, update weights and average.

    A loss or gradient that is not finite leaves weights, optimiser, average and progress as they
    were; the report tells.
    """
    parameters = list(learner.denoiser.parameters())
    report = _gradient(learner, batch, rules, processes, parameters)
    if not report.is_finite:
        learner.optimizer.zero_grad(set_to_none=True)
        return report
    set_rate(learner.optimizer, rate)
    learner.optimizer.step()
    learner.optimizer.zero_grad(set_to_none=True)
    if learner.average is not None:
        learner.average.update(learner.progress.step)
    learner.progress = learner.progress.after_step(report.loss, batch.words)
    return report


def _gradient(
    learner: Learner,
    batch: Batch,
    rules: StepRules,
    processes: Processes,
    parameters: list[nn.Parameter],
) -> StepReport:
    loss = torch.zeros((), dtype=torch.float64, device=rules.device.torch_device)
    passes = batch.passes(
        rank=processes.rank, processes=processes.count, accumulate=rules.accumulate
    )
    for part in passes:
        with autocast(rules):
            own = rules.objective.training_loss(
                learner.denoiser, part.token_ids, part.is_padding, part.draws, words=batch.words
            )
        torch.autograd.backward(own.loss)
        loss += own.loss.detach()
    for parameter in parameters:
        if parameter.grad is None:  # a part that nothing in this batch went through
            parameter.grad = torch.zeros_like(parameter)
    processes.add([p.grad for p in parameters if p.grad is not None])
    processes.add([loss])
    limit = rules.gradient_clip or math.inf
    norm = nn.utils.clip_grad_norm_(parameters, limit)
    # One transfer, so that the device is waited for once a step.
    values = torch.stack([loss, norm.double()]).tolist()
    return StepReport(*values)


def autocast(rules: StepRules) -> AbstractContextManager[object]:
    """Bfloat16 matrix products where the settings ask for them or the device has them."""
    device = rules.device
    wanted = rules.precision == "bfloat16" or (rules.precision == "auto" and device.has_bfloat16)
    if not wanted:
        return contextlib.nullcontext()
    return torch.autocast(device.torch_device.type, dtype=torch.bfloat16)
