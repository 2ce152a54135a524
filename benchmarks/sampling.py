"""What steps and samplers do to the texts: exact perplexity, variety, and known word pairs.

    python benchmarks/sampling.py artifacts/perigee/checkpoints/perigee_epoch8 \
        --test artifacts/perigee/windows/perigee.test.arrow \
        --train artifacts/perigee/windows/perigee.train.arrow

perplexity    exact, of the deterministic-order sampler, on windows of the test split (nats a word
              with their standard error): the price of deciding several words at once
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

from perigee.generation.likelihood import sampler_likelihood
from perigee.generation.request import Remasking, Request
from perigee.generation.session import Session, open_session
from perigee.observer import SILENT
from perigee.tokenizer.prime import PAD
from perigee.tokenizer.windows import Windows

Texts = Sequence[npt.NDArray[np.integer]]
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


def plot(
    path: Path, rows: list[dict[str, float | str]], likelihoods: list[dict[str, float]]
) -> None:
    """Perplexity, distinct-2 and known pairs over the steps."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 3, figsize=(14, 4), layout="constrained")
    steps = [row["steps"] for row in likelihoods]
    axes[0].plot(steps, [row["perplexity"] for row in likelihoods], "o-")
    axes[0].set(title="exact perplexity, confidence order", xlabel="steps", xscale="log")
    for axis, key in ((axes[1], "distinct_2"), (axes[2], "known_pairs")):
        for name in SAMPLERS:
            chosen = [row for row in rows if row["sampler"] == name]
            axis.plot([r["steps"] for r in chosen], [r[key] for r in chosen], "o-", label=name)
        axis.axhline(next(float(r[key]) for r in rows if r["sampler"] == "test windows"), ls="--")
        axis.set(title=key.replace("_", " "), xlabel="steps", xscale="log")
    axes[1].legend(fontsize=7)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--steps", type=int, nargs="+", default=[2, 6, 16, 64])
    parser.add_argument("--windows", type=int, default=16, help="scored, for each step count")
    parser.add_argument("--texts", type=int, default=16, help="sampled, for each sampler")
    parser.add_argument("--output", type=Path, default=Path("artifacts/benchmarks/sampling.json"))
    arguments = parser.parse_args()
    session = open_session(arguments.checkpoint)
    length = session.window
    test = Windows.open(arguments.test).tokens
    test = test[(test != PAD).all(axis=1)][: arguments.windows]
    pairs = pair_codes(Windows.open(arguments.train).tokens)
    all_steps = sorted({*arguments.steps, length})

    likelihoods = []
    print("steps   exact nats a word   perplexity")
    for one in sampler_likelihood(
        session.checkpoint.denoiser, test, steps=all_steps, batch_size=16
    ):
        print(
            f"{one.steps:>5}   {one.nats_per_word:.4f} ± {one.standard_error:.4f}"
            f"     {one.perplexity:10.2f}"
        )
        likelihoods.append({**asdict(one), "perplexity": one.perplexity})

    rows: list[dict[str, float | str]] = []
    jobs = itertools.chain(
        [("test windows", length, list(test))],
        ((name, steps, None) for name in SAMPLERS for steps in all_steps),
    )
    print(f"{'sampler':<22} steps  distinct-1  distinct-2  known pairs")
    for name, steps, texts in jobs:
        found = texts or sampled(session, SAMPLERS[name], steps, length, arguments.texts)
        row: dict[str, float | str] = {
            "sampler": name,
            "steps": steps,
            "distinct_1": distinct(found, 1),
            "distinct_2": distinct(found, 2),
            "known_pairs": known(found, pairs),
        }
        rows.append(row)
        print(
            f"{name:<22} {steps:>5}  {row['distinct_1']:10.3f}  {row['distinct_2']:10.3f}"
            f"  {row['known_pairs']:11.3f}",
            flush=True,
        )
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    document = {
        "checkpoint": session.checkpoint.manifest.version,
        "texts": arguments.texts,
        "windows": len(test),
        "length": length,
        "likelihood": likelihoods,
        "samples": rows,
    }
    arguments.output.write_text(json.dumps(document, indent=2) + "\n")
    plot(arguments.output.with_suffix(".png"), rows, likelihoods)
    print(f"written: {arguments.output}, {arguments.output.with_suffix('.png')}")


if __name__ == "__main__":
    main()
