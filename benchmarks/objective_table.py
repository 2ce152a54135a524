"""The runs of objective.py as a table and plots in docs/objective.md.

    python benchmarks/objective_table.py                   from artifacts/benchmarks/objective
    python benchmarks/objective_table.py --length 512      those on longer windows: docs/denoiser.md

Runs of one name and several seeds are one row: their mean over seeds. An error is over test
windows, of the seeds' mean; where there are several seeds, their standard deviation stands in
brackets. Differences are to whole words of the same seeds on the same windows, and so is their
error.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from numpy.typing import NDArray

from benchmarks.objective_runs import LENGTH, results_of

PAGE, LONG_PAGE = Path("docs/objective.md"), Path("docs/denoiser.md")
BEGIN, END = "<!-- results -->\n", "<!-- end of results -->\n"
BASE = "whole"
NAMES = {
    "whole": "whole words",
    "residues-3-u0.3": "residues of 3 moduli, u = 0.3",
    "residues-3-u0.6": "residues of 3 moduli, u = 0.6",
    "residues-3-u1.0": "residues of 3 moduli, u = 1",
    "residues-2-u1.0": "residues of 2 moduli, u = 1",
    "residues-4-u1.0": "residues of 4 moduli, u = 1",
    "digits-3-u1.0": "3 digits of base 21, u = 1",
    "digits-3-u0.3": "3 digits of base 21, u = 0.3",
    "whole-bound": "whole words, weight of the bound",
    "whole-min-snr": "whole words, weight min-SNR",
    "residues-3-u1.0-bound": "residues of 3 moduli, u = 1, weight of the bound",
    "transformer": "transformer, whole words",
    "autoregressive": "transformer, autoregressive (exact)",
    "no-oscillators": "without oscillators",
    "no-attention": "without attention",
    "fixed-clock": "fixed clock",
    "one-direction": "one direction",
}
"""In the order of the table."""
PANELS = {
    "objectives": (
        "whole",
        "residues-3-u0.3",
        "residues-3-u0.6",
        "residues-3-u1.0",
        "digits-3-u1.0",
        "whole-bound",
        "whole-min-snr",
    ),
    "models": (
        "whole",
        "transformer",
        "autoregressive",
        "no-oscillators",
        "no-attention",
        "fixed-clock",
        "one-direction",
    ),
}
"""Pictures, and the runs in each."""


@dataclass(frozen=True)
class Row:
    """The runs of one name, by seed."""

    name: str
    results: Mapping[int, Mapping[str, Any]]

    def has(self, kind: str) -> bool:
        return all(_figures(result, kind) is not None for result in self.results.values())

    def windows(self, kind: str, seeds: Sequence[int]) -> NDArray[np.float64]:
        """Nats a word, (seeds, windows)."""
        rows = [_figures(self.results[seed], kind) for seed in seeds]
        return np.array([row["nats_per_word_of_windows"] for row in rows if row is not None])


def _figures(result: Mapping[str, Any], kind: str) -> Mapping[str, Any] | None:
    test = result["test"]
    return test.get(kind) if not kind.isdigit() else test.get("sampler", {}).get(kind)


def read_rows(folder: Path) -> tuple[dict[str, Row], Mapping[str, Any]]:
    """All results, which must be of one setup, and that setup."""
    found: defaultdict[str, dict[int, Mapping[str, Any]]] = defaultdict(dict)
    setups = []
    for path in sorted(folder.glob("*.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        found[result["run"]["name"]][result["run"]["seed"]] = result
        setups.append(result["setup"])
    if not setups:
        raise SystemExit(f"{folder} holds no results; make some with benchmarks/objective.py")
    if any(setup != setups[0] for setup in setups):
        raise SystemExit(f"{folder} holds results of different setups, which cannot be compared")
    known = [name for name in NAMES if name in found]
    return {name: Row(name, dict(sorted(found[name].items()))) for name in known}, setups[0]


def estimate(values: NDArray[np.float64]) -> str:
    """Mean ± error over windows of (seeds, windows), and in brackets the seeds' deviation."""
    mean = values.mean(axis=0)
    error = mean.std(ddof=1) / math.sqrt(len(mean))
    spread = f" [{values.mean(axis=1).std(ddof=1):.3f}]" if len(values) > 1 else ""
    return f"{mean.mean():.3f} ± {error:.3f}{spread}"


def cells(row: Row, base: Row, sampler_steps: Sequence[str]) -> Iterator[str]:
    yield NAMES[row.name]
    seeds = list(row.results)
    yield ", ".join(map(str, seeds))
    for kind in ("own", "whole"):
        yield estimate(row.windows(kind, seeds)) if row.has(kind) else ""
    shared = [seed for seed in seeds if seed in base.results]
    kind = "whole" if row.has("whole") else "own"
    if row is base or not shared:
        yield ""
    else:
        yield estimate(row.windows(kind, shared) - base.windows("whole", shared))
    whole = row.windows(kind, seeds).mean()
    yield f"{math.exp(whole):.0f}"
    for steps in sampler_steps:
        yield f"{math.exp(row.windows(steps, seeds).mean()):.0f}" if row.has(steps) else ""
    seconds = [result["processor_seconds"]["training"] for result in row.results.values()]
    yield f"{np.mean(seconds):.0f}"


def table(rows: Mapping[str, Row], setup: Mapping[str, Any]) -> str:
    """Every row's figures, all of the test split."""
    steps = list(setup["sampler_windows"])
    head = [
        "trained on",
        "seeds",
        "own bound",
        "whole-word bound",
        "difference to whole words",
        "perplexity",
        *(f"sampler, {count} steps" for count in steps),
        "training, s",
    ]
    lines = [f"| {' | '.join(head)} |", f"|---|---|{'---:|' * (len(head) - 2)}"]
    lines += [f"| {' | '.join(cells(row, rows[BASE], steps))} |" for row in rows.values()]
    words = setup["sampler_windows"]
    lines += [
        "",
        f"Nats a word of {setup['test_windows']} windows of {setup['length']} words, evenly from "
        f"the test split, {setup['test_times']} times each. `perplexity` is that of the whole-word "
        "bound (the autoregressive model's is exact); the sampler's are exact, on "
        f"{', '.join(f'{count} windows at {s} steps' for s, count in words.items())}. "
        f"{setup['steps']} steps of {setup['batch']} windows; processor seconds on one thread.",
    ]
    return "\n".join(lines) + "\n"


def plot(rows: Mapping[str, Row], setup: Mapping[str, Any], folder: Path) -> list[Path]:
    """Validation figures by step and by processor time, all seeds."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "perigee"
    from matplotlib import pyplot

    paths = []
    is_short = setup["length"] == LENGTH
    panels = PANELS if is_short else {f"models_{setup['length']}": PANELS["models"]}
    for panel, names in panels.items():
        figure, axes = pyplot.subplots(1, 2, figsize=(12, 4.5), sharey=True, layout="constrained")
        for colour, name in enumerate(name for name in names if name in rows):
            for place, result in enumerate(rows[name].results.values()):
                curve = result["curve"]
                nats = [point.get("whole", point["own"]) for point in curve]
                for axis, key in zip(axes, ("step", "processor_seconds"), strict=True):
                    along = [point[key] for point in curve]
                    label = None if place else NAMES[name]
                    axis.plot(along, nats, ".-", color=f"C{colour}", label=label, alpha=0.8, lw=1)
        axes[0].set(xlabel="step", ylabel="whole-word bound, nats a word (validation)")
        axes[1].set(xlabel="processor seconds of training")
        axes[1].legend(fontsize=8)
        for axis in axes:
            axis.grid(alpha=0.3)
        paths.append(folder / f"objective_{panel}.svg")
        figure.savefig(paths[-1], metadata={"Date": None})
        pyplot.close(figure)
    return paths


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--length", type=int, default=LENGTH, help="words of a window")
    parser.add_argument("--results", type=Path)
    parser.add_argument("--page", type=Path)
    options = parser.parse_args()
    results = options.results or results_of(options.length)
    page = options.page or (PAGE if options.length == LENGTH else LONG_PAGE)
    if not list(results.glob("*.json")):
        print(f"{results}: no results yet; benchmarks/objective.py makes them")
        return
    rows, setup = read_rows(results)
    text = table(rows, setup)
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    assert begin, f"{page} lacks {BEGIN.strip()}"
    pictures = "".join(
        f"\n![{path.stem.replace('_', ' ')}]({path.name})\n"
        for path in plot(rows, setup, page.parent)
    )
    after = rest.partition(END)[2]
    page.write_text(before + BEGIN + text + pictures + END + after, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
