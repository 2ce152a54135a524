"""The loss curve of a training log, as PNG."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from perigee.errors import ArtifactError
from perigee.files import atomic_file
from perigee.training.log import read_log

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TRAINING, VALIDATION, RATE = "#4477aa", "#cc3311", "#999933"


def curve_path(log: Path) -> Path:
    """The picture that belongs to ``log``: beside it, ending in .png."""
    return log.with_suffix(".png")


def draw_curve(log: Path, picture: Path | None = None) -> Path:
    """Draw training loss and validation bound over the optimiser's steps.

    The bytes are a function of the log alone. Returns the picture's path, :func:`curve_path` by
    default.

    Raises
    ------
    ArtifactError
        If the log is missing or holds no record.
    """
    # Matplotlib takes half a second to import, and needs no display this way.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    records = read_log(log)
    if not records:
        raise ArtifactError("holds no record to draw", place=log, remedy="train first")
    picture = curve_path(log) if picture is None else picture
    figure = Figure(figsize=(8.0, 5.0), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    _draw_losses(upper, records)
    _draw_rate(lower, [record for record in records if record["event"] == "step"])
    with atomic_file(picture) as aside:
        figure.savefig(aside, format="png", metadata={"Software": None})
    return picture


def _draw_losses(axes: Axes, records: list[dict[str, Any]]) -> None:
    steps = [r for r in records if r["event"] == "step"]
    validations = [r for r in records if r["event"] == "validation" and r["nats_per_word"]]
    axes.plot(
        [r["step"] for r in steps],
        [r["loss"] for r in steps],
        color=TRAINING,
        linewidth=1.0,
        marker="." if len(steps) < 40 else "",
        label="training loss",
    )
    axes.errorbar(
        [r["step"] for r in validations],
        [r["nats_per_word"] for r in validations],
        yerr=[r["standard_error"] or 0.0 for r in validations],
        color=VALIDATION,
        marker="o",
        capsize=3.0,
        label="validation bound",
    )
    axes.set_ylabel("nats per word")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_rate(axes: Axes, steps: list[dict[str, Any]]) -> None:
    axes.plot([r["step"] for r in steps], [r["learning_rate"] for r in steps], color=RATE)
    axes.set_ylabel("learning rate")
    axes.set_xlabel("optimiser steps")
    axes.set_ylim(bottom=0.0)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
