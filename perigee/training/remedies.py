"""Errors in the middle of a training: what happened, where, and which setting to change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from perigee.errors import NonFiniteError, TrainingError
from perigee.settings import Settings
from perigee.training.step import StepReport

NAMED_DOCUMENTS = 6
"""Documents that an error's line names; of the others it gives the number."""


def non_finite_error(
    settings: Settings,
    report: StepReport,
    *,
    epoch: int,
    step: int,
    kept: Path | None,
    documents: Sequence[str],
) -> NonFiniteError:
    """The loss or the gradient of ``step`` is not finite; the state before it is in ``kept``."""
    training = settings.training
    what = "loss" if report.loss - report.loss != 0.0 else "gradient norm"
    value = report.loss if what == "loss" else report.gradient_norm
    advice = [f"a lower learning_rate (now {training.learning_rate:g})"]
    if training.lr_schedule.warmup_steps == 0:
        advice.append("warmup_steps in [training.lr_schedule]")
    if training.gradient_clip == 0.0 or training.gradient_clip > 1.0:
        advice.append("gradient_clip = 1.0")
    if training.precision != "float32":
        advice.append('precision = "float32"')
    named = "; ".join(documents[:NAMED_DOCUMENTS])
    more = len(documents) - NAMED_DOCUMENTS
    text = f"; its batch holds {named}" + (f" and {more} more" if more > 0 else "") if named else ""
    return NonFiniteError(
        f"the {what} of step {step} (epoch {epoch}) is {value}: stopped before the update{text}",
        remedy=f"try {', '.join(advice)}, with --fresh"
        + (f"; the state before this step is kept in {kept}" if kept is not None else ""),
    )


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether an allocation failed, on a card or on the CPU."""
    return isinstance(error, torch.OutOfMemoryError) or "not enough memory" in str(error)


def out_of_memory_error(settings: Settings, *, step: int, device: str, share: int) -> TrainingError:
    """A step does not fit into memory: which setting to change, and to what.

    ``share`` is the number of windows that this process has in a step.
    """
    training = settings.training
    rows = -(-share // training.accumulate)
    divisors = [
        d
        for d in range(training.accumulate + 1, training.batch_size + 1)
        if training.batch_size % d == 0 and d >= 2 * training.accumulate
    ]
    if rows > 1 and divisors:
        remedy = (
            f"set [training] accumulate = {divisors[0]} (now {training.accumulate}): "
            f"{-(-share // divisors[0])} windows at a time, the same result to rounding"
        )
    else:
        remedy = (
            f"lower [training] sequence_length to {max(8, training.sequence_length // 2)} "
            f"(now {training.sequence_length}) or [model] num_layers to "
            f"{max(1, settings.model.num_layers // 2)} (now {settings.model.num_layers})"
        )
    return TrainingError(
        f"out of memory on {device} at step {step}, with {rows} windows of "
        f"{training.sequence_length} words at a time",
        remedy=remedy,
    )


@contextmanager
def disk_errors(kept: Path) -> Iterator[None]:
    """Turn a full or failing disk into one line; what was written before stays good.

    Raises
    ------
    TrainingError
        In the place of any ``OSError``.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise TrainingError(
            f"cannot write ({reason})",
            place=error.filename or kept,
            remedy=f"make room, then resume: the last good checkpoint or snapshot is in {kept}",
        ) from error
