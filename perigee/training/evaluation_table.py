"""An evaluation as a Markdown table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def as_markdown(report: Mapping[str, Any]) -> str:
    """The figures of an evaluation, each with its kind, error and number of windows."""
    bound, unigram = report["bound"], report["unigram"]
    rows = [
        _row("bound (NELBO)", "upper bound", bound),
        *(_row(f"sampler, {one['steps']} steps", "exact", one) for one in report["sampler"]),
        _row("unigram of the training windows", "exact", {**unigram, "windows": report["windows"]}),
    ]
    checkpoint = report["checkpoint"]
    lines = [
        f"# Evaluation of {checkpoint['path']}",
        "",
        "| model | kind | nats per word | standard error | perplexity | windows |",
        "|---|---|---:|---:|---:|---:|",
        *rows,
        "",
        f"{report['words']:,} words (every id but [PAD]) in {report['windows']:,} test windows, "
        f"{100.0 * report['unknown_share']:.2f} % of them [UNK]. {checkpoint['steps']:,} optimiser "
        f"steps, {checkpoint['weights']} weights, {bound['times_per_window']} times a window, "
        f"seed {report['seed']}.",
        "",
    ]
    return "\n".join(lines)


def _row(name: str, kind: str, figures: Mapping[str, Any]) -> str:
    error = figures["standard_error"]
    cells = (
        name,
        kind,
        f"{figures['nats_per_word']:.4f}",
        "" if error is None else f"{error:.4f}",
        f"{figures['perplexity']:.2f}",
        f"{figures['windows']:,}",
    )
    return f"| {' | '.join(cells)} |"
