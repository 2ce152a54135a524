"""An evaluation as Markdown tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

SOURCES = {"pg19": "books (PG-19)", "openwebtext2": "web (OpenWebText2)"}
"""What a reader calls the sources; another one goes by its own name."""
STATISTICS = {
    "texts": "texts",
    "words": "words",
    "distinct_1": "distinct-1",
    "distinct_2": "distinct-2",
    "distinct_3": "distinct-3",
    "repetition": "repetition",
    "entropy": "entropy",
    "special_share": "special tokens",
}
HEAD = (
    "| figure | kind | nats per word | standard error | perplexity | words | windows |\n"
    "|---|---|---:|---:|---:|---:|---:|"
)


def as_markdown(report: Mapping[str, Any]) -> str:
    """The figures of an evaluation, each with its kind, error, words and windows."""
    checkpoint, bound = report["checkpoint"], report["bound"]
    parts = [
        f"# Evaluation of {checkpoint['path']}",
        "\n".join([HEAD, *_rows(report)]),
        f"{report['words']:,} words (every id but [PAD]) in {report['windows']:,} test windows, "
        f"{100.0 * report['unknown_share']:.2f} % of them [UNK]"
        f"{''.join(_unknown_shares(report))}. {checkpoint['steps']:,} optimiser "
        f"steps, {checkpoint['weights']} weights, {bound['times_per_window']} times a window, "
        f"seed {report['seed']}. Standard errors are over windows.",
        *_open_vocabulary(report),
        *_texts(report),
    ]
    return "\n\n".join(parts) + "\n"


def _rows(report: Mapping[str, Any]) -> Iterator[str]:
    sources = [(SOURCES.get(name, name), own) for name, own in report["sources"].items()]
    bound = report["bound"]
    yield _row("bound (NELBO)", "upper bound", bound)
    for name, own in sources:
        yield _row(f"bound, {name}", "upper bound", own["bound"])
    if report["whole_words"] is not None:
        yield _row("bound, whole words masked", "upper bound", report["whole_words"])
    for one in report["sampler"]:
        yield _row(f"sampler, {one['steps']} steps", "exact", one)
    unigram = "unigram of the training windows"
    yield _row(unigram, "exact", {**report["unigram"], "windows": report["windows"]})
    for name, own in sources:
        figures = {**own["unigram"], "windows": own["bound"]["windows"]}
        yield _row(f"{unigram}, {name}", "exact", figures)


def _row(name: str, kind: str, figures: Mapping[str, Any]) -> str:
    cells = (
        name,
        kind,
        f"{figures['nats_per_word']:.4f}",
        _error(figures),
        f"{figures['perplexity']:.2f}",
        f"{figures['words']:,}",
        f"{figures['windows']:,}",
    )
    return f"| {' | '.join(cells)} |"


def _error(figures: Mapping[str, Any]) -> str:
    error = figures["standard_error"]
    return "" if error is None else f"{error:.4f}"


def _unknown_shares(report: Mapping[str, Any]) -> Iterator[str]:
    if report["sources"]:
        shares = (
            f"{SOURCES.get(name, name)} {100.0 * own['unknown_share']:.2f} %"
            for name, own in report["sources"].items()
        )
        yield f" ({', '.join(shares)})"


def _open_vocabulary(report: Mapping[str, Any]) -> Iterator[str]:
    if report["open_vocabulary"] is None:
        return
    yield (
        "Open vocabulary, per whitespace word, every [UNK] charged its spelling by a character "
        "model of the training split's unknown words (an upper bound; case and white space are "
        "not charged):"
    )
    rows = [
        "| text | nats per whitespace word | standard error of the bound | perplexity "
        "| whitespace words | [UNK] spelled | nats a spelling |",
        "|---|---:|---:|---:|---:|---:|---:|",
        _open_row("all", report),
    ]
    rows += [_open_row(SOURCES.get(name, name), own) for name, own in report["sources"].items()]
    yield "\n".join(row for row in rows if row)


def _open_row(name: str, own: Mapping[str, Any]) -> str:
    figures = own["open_vocabulary"]
    if figures is None:
        return ""
    unknown = figures["unknown_words"]
    cells = (
        name,
        f"{figures['nats_per_word']:.4f}",
        _error(figures),
        f"{figures['perplexity']:.2f}",
        f"{figures['whitespace_words']:,}",
        f"{unknown:,}",
        f"{figures['spelling_nats'] / unknown:.2f}" if unknown else "",
    )
    return f"| {' | '.join(cells)} |"


def _texts(report: Mapping[str, Any]) -> Iterator[str]:
    texts = report["texts"]
    if texts is None:
        return
    request = texts["request"]
    yield (
        f"Texts of {request['length']} words, drawn without a prompt ({request['sampler']}, "
        f"{request['steps']} steps, temperature {request['temperature']:g}, top-p "
        f"{request['top_p']:g}, seed {request['seed']}), beside beginnings of test windows:"
    )
    yield "\n".join(
        [
            f"| | {' | '.join(STATISTICS.values())} |",
            f"|---|{'---:|' * len(STATISTICS)}",
            *(f"| {name} | {' | '.join(_cells(texts[name]))} |" for name in ("drawn", "real")),
        ]
    )


def _cells(statistics: Mapping[str, Any]) -> Iterator[str]:
    for key in STATISTICS:
        value = statistics[key]
        if value is None:
            yield ""
        else:
            yield f"{value:,}" if isinstance(value, int) else f"{value:.3f}"
