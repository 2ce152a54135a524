"""The learning rate as a pure function of the step."""

from __future__ import annotations

import math

from perigee.config import TrainingSettings


def learning_rate(training: TrainingSettings, step: int, total_steps: int) -> float:
    """Learning rate of optimiser step ``step`` (0, 1, ...) of a training of ``total_steps``.

    ``constant``, ``cosine`` and ``warmup_stable_decay`` rise linearly in ``warmup_steps``: the
    first step has 1 / warmup_steps of the full rate. ``cosine`` then descends to ``minimum`` in
    ``period`` steps and starts again (Loshchilov and Hutter, SGDR, arXiv 1608.03983);
    ``triangle`` rises from ``minimum`` and falls back within each period (Smith, arXiv
    1506.01186), read in the middle of each step so that none is spent at zero;
    ``warmup_stable_decay`` keeps the full rate and goes down linearly in the last
    ``decay_fraction`` of the training (Hu et al., MiniCPM, arXiv 2404.06395).
    """
    schedule = training.lr_schedule
    low, high = schedule.minimum, training.learning_rate
    if schedule.type == "triangle":
        period = schedule.period or total_steps
        phase = ((step % period) + 0.5) / period
        return low + (high - low) * (1.0 - abs(2.0 * phase - 1.0))
    if step < schedule.warmup_steps:
        return high * (step + 1) / schedule.warmup_steps
    match schedule.type:
        case "constant":
            return high
        case "cosine":
            period = schedule.period or max(1, total_steps - schedule.warmup_steps)
            phase = ((step - schedule.warmup_steps) % period) / period
            return low + (high - low) * 0.5 * (1.0 + math.cos(math.pi * phase))
        case "warmup_stable_decay":
            decay = round(schedule.decay_fraction * total_steps)
            remaining = max(0, total_steps - step)
            return high if remaining >= decay else low + (high - low) * remaining / decay


def depends_on_length(training: TrainingSettings) -> bool:
    """Whether the schedule needs the number of epochs: if so, changing it changes every step."""
    schedule = training.lr_schedule
    match schedule.type:
        case "constant":
            return False
        case "warmup_stable_decay":
            return True
        case "cosine" | "triangle":
            return schedule.period == 0
