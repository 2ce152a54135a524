"""What steps and samplers do to the texts: exact perplexity, variety, and known word pairs.

    python benchmarks/sampling.py artifacts/perigee/checkpoints/perigee_epoch8 \
        --test artifacts/perigee/windows/perigee.test.arrow \
        --train artifacts/perigee/windows/perigee.train.arrow --plot docs/sampling.svg

perplexity    of the sampler itself at that many steps, on windows of the test split (nats a word
              with their standard error): the price of deciding several words at once. Exact for
              the deterministic orders; of the ancestral sampler an upper bound.
distinct-n    share of the sampled texts' n-grams that differ from each other; beside it that of
              windows of the test split, which is what to aim at
known pairs   share of the sampled texts' word pairs that stand somewhere in the training windows;
              beside it that of the test windows. Varied nonsense has few, "the the the" has many.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import numpy.typing as npt

from perigee.generation.likelihood import ancestral_bound, mean_likelihood, sampler_likelihood
from perigee.generation.request import CertaintyName, Remasking, Request
from perigee.generation.session import Session, open_session
from perigee.observer import SILENT
from perigee.tokenizer.prime import PAD
from perigee.tokenizer.windows import Windows

Texts = Sequence[npt.NDArray[np.integer]]
Row = dict[str, float | str]
BATCH = 16
"""Windows scored at once."""
ORDERS: dict[str, CertaintyName] = {
    "confidence": "probability",
    "entropy": "entropy",
    "margin": "margin",
}
"""Samplers that decide positions without a draw, and what by."""
SAMPLERS: dict[str, Request] = {
    "ancestral": Request(sampler="ancestral"),
    "ancestral top-p 0.9": Request(sampler="ancestral", top_p=0.9),
    "confidence": Request(sampler="confidence"),
    "confidence, noise 4": Request(sampler="confidence", order_noise=4.0),
    "entropy": Request(sampler="confidence", certainty="entropy"),
    "margin": Request(sampler="confidence", certainty="margin"),
    "remasking": Request(sampler="remasking", remasking=Remasking("cap", 0.05)),
    "remasking top-p 0.9": Request(
        sampler="remasking", top_p=0.9, remasking=Remasking("cap", 0.05)
    ),
}


def ngrams(texts: Texts, n: int) -> list[tuple[int, ...]]:
    """All runs of n words inside the texts."""
    return [tuple(text[i : i + n].tolist()) for text in texts for i in range(len(text) - n + 1)]


def distinct(texts: Texts, n: int) -> float:
    """Share of different n-grams."""
    found = ngrams(texts, n)
    return len(set(found)) / max(1, len(found))


def pair_codes(windows: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """Every pair of neighbours in the windows as one number, sorted, once each."""
    left, right = windows[:, :-1].astype(np.int64), windows[:, 1:].astype(np.int64)
    return np.unique(left * 65_536 + right)


def known(texts: Texts, pairs: npt.NDArray[np.int64]) -> float:
    """Share of the texts' pairs that are among ``pairs``."""
    found = np.concatenate([t[:-1].astype(np.int64) * 65_536 + t[1:] for t in texts])
    return float(np.isin(found, pairs).mean())


def sampled(session: Session, request: Request, steps: int, length: int, batch: int) -> Texts:
    """Texts of the same length, from no prompt."""
    asked = replace(request, steps=steps, length=length, batch=batch, can_end=False)
    return session.sample(asked, SILENT).word_ids


def likelihoods(
    session: Session, windows: npt.NDArray[np.integer], all_steps: Sequence[int]
) -> list[Row]:
    """What each sampler's own distribution says of the windows, at each number of steps."""
    denoiser = session.checkpoint.denoiser
    rows: list[Row] = []
    print(f"{'sampler':<22} steps   nats a word          perplexity")
    for name, steps in itertools.product(("ancestral", *ORDERS), all_steps):
        if name == "ancestral":
            parts = np.split(windows, range(BATCH, len(windows), BATCH))
            draws = [
                ancestral_bound(denoiser, part, steps=steps, seed=number)
                for number, part in enumerate(parts)
            ]
            words = (windows != PAD).sum(axis=1)
            found = mean_likelihood(steps, -np.concatenate(draws), words)
        else:
            (found,) = sampler_likelihood(
                denoiser, windows, steps=[steps], batch_size=BATCH, certainty=ORDERS[name]
            )
        kind = "bound" if name == "ancestral" else "exact"
        print(
            f"{name:<22} {steps:>5}   {found.nats_per_word:.4f} ± {found.standard_error:.4f}"
            f" {kind}  {found.perplexity:8.2f}",
            flush=True,
        )
        rows.append(
            {"sampler": name, "kind": kind, **asdict(found), "perplexity": found.perplexity}
        )
    return rows


def variety(
    session: Session,
    test: npt.NDArray[np.integer],
    pairs: npt.NDArray[np.int64],
    all_steps: Sequence[int],
    texts: int,
) -> list[Row]:
    """Distinct-n and known pairs of each sampler's texts, and of the test windows."""
    jobs = [("test windows", session.window)]
    jobs += itertools.product(SAMPLERS, all_steps)
    rows: list[Row] = []
    print(f"{'sampler':<22} steps  distinct-1  distinct-2  distinct-3  known pairs")
    for name, steps in jobs:
        if name in SAMPLERS:
            found = sampled(session, SAMPLERS[name], steps, session.window, texts)
        else:
            found = list(test[:texts])
        row: Row = {"sampler": name, "steps": steps}
        row |= {f"distinct_{n}": distinct(found, n) for n in (1, 2, 3)}
        row["known_pairs"] = known(found, pairs)
        rows.append(row)
        shown = (f"{row[f'distinct_{n}']:10.3f}" for n in (1, 2, 3))
        print(f"{name:<22} {steps:>5}  {'  '.join(shown)}  {row['known_pairs']:11.3f}", flush=True)
    return rows


def plot(path: Path, scores: list[Row], rows: list[Row], about: str) -> None:
    """Perplexity, distinct-n and known pairs over the steps."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import FixedLocator, NullLocator

    mpl.rcParams.update({"svg.hashsalt": "perigee", "font.size": 9})
    figure, axes = pyplot.subplots(2, 2, figsize=(10, 7), layout="constrained")
    all_steps = sorted({int(row["steps"]) for row in scores})
    panels = [("perplexity", "perplexity of the sampler (exact; dashed: bound)", axes[0, 0])]
    panels += [
        ("distinct_1", "distinct words", axes[0, 1]),
        ("distinct_2", "distinct pairs", axes[1, 0]),
        ("known_pairs", "pairs seen in training", axes[1, 1]),
    ]
    colours = {name: f"C{i}" for i, name in enumerate(SAMPLERS)}
    for key, title, axis in panels:
        found = scores if key == "perplexity" else rows
        for name, colour in colours.items():
            chosen = [row for row in found if row["sampler"] == name]
            style = "o--" if any(row.get("kind") == "bound" for row in chosen) else "o-"
            if chosen:
                values = [row[key] for row in chosen]
                axis.plot([r["steps"] for r in chosen], values, style, color=colour, label=name)
        if key != "perplexity":
            real = next(float(row[key]) for row in rows if row["sampler"] == "test windows")
            axis.axhline(real, color="black", ls=":", label="test windows")
        axis.set(title=title, xlabel="steps", xscale="log")
        axis.xaxis.set_major_locator(FixedLocator(all_steps))
        axis.xaxis.set_minor_locator(NullLocator())
        axis.xaxis.set_major_formatter(lambda value, _: f"{value:.0f}")
        axis.grid(alpha=0.3)
    names = axes[0, 1].get_legend_handles_labels()
    figure.legend(*names, loc="outside lower center", ncols=5, fontsize=8)
    figure.suptitle(about, fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, metadata={"Date": None} if path.suffix == ".svg" else None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--steps", type=int, nargs="+", default=[2, 6, 16, 64])
    parser.add_argument("--windows", type=int, default=32, help="scored, for each step count")
    parser.add_argument("--texts", type=int, default=32, help="sampled, for each sampler")
    parser.add_argument("--output", type=Path, default=Path("artifacts/benchmarks/sampling.json"))
    parser.add_argument("--plot", type=Path, help="beside the output unless named")
    arguments = parser.parse_args()
    session = open_session(arguments.checkpoint)
    test = Windows.open(arguments.test).tokens
    test = test[(test != PAD).all(axis=1)][: arguments.windows]
    all_steps = sorted({*arguments.steps, session.window})

    scores = likelihoods(session, test, all_steps)
    pairs = pair_codes(Windows.open(arguments.train).tokens)
    rows = variety(session, test, pairs, all_steps, arguments.texts)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    document = {
        "checkpoint": session.checkpoint.manifest.version,
        "texts": arguments.texts,
        "windows": len(test),
        "length": session.window,
        "likelihood": scores,
        "samples": rows,
    }
    arguments.output.write_text(json.dumps(document, indent=2) + "\n")
    picture = arguments.plot or arguments.output.with_suffix(".png")
    about = (
        f"{arguments.texts} texts of {session.window} words a point from no prompt; "
        f"perplexity on {len(test)} test windows"
    )
    plot(picture, scores, rows, about)
    print(f"written: {arguments.output}, {picture}")


if __name__ == "__main__":
    main()
