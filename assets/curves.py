"""Small pictures for the UI: PNGs inside Markdown, since that is what it can show."""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

MOST_POINTS = 400


def thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most :data:`MOST_POINTS` of them, the last one included."""
    every = max(1, -(-len(points) // MOST_POINTS))
    return list(points[::-1][::every][::-1])


def curve_png(
    series: Sequence[tuple[str, Sequence[tuple[float, float]]]], x_label: str, y_label: str
) -> bytes:
    """A PNG, under 40 kB, of named series of (x, y) points."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 3.5), dpi=90, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(xlabel=x_label, ylabel=y_label)
    for name, points in series:
        if points:
            axes.plot(*zip(*thinned(points), strict=True), label=name, linewidth=1.2, marker=".")
    axes.grid(alpha=0.3)
    if any(points for _, points in series):
        axes.legend()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def as_markdown(image: bytes, alt: str, kind: str = "png") -> dg.MarkdownMetadataValue:
    """An image that the UI shows inside its Markdown dialog; it lives in the event log."""
    data = base64.b64encode(image).decode()
    return dg.MetadataValue.md(f"![{alt}](data:image/{kind};base64,{data})")


def training_curve(records: Sequence[Mapping[str, Any]], epoch: int) -> dg.MarkdownMetadataValue:
    """Training loss and validation bound up to the end of ``epoch``, from the training log."""

    def points(event: str, value: str) -> list[tuple[float, float]]:
        return [
            (r["step"], r[value])
            for r in records
            if r["event"] == event and r["epoch"] <= epoch and value in r
        ]

    series = [
        ("training loss", points("step", "loss")),
        ("validation bound", points("validation", "nats_per_word")),
    ]
    return as_markdown(curve_png(series, "optimiser step", "nats a word"), "loss so far")
