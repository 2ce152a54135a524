"""What the head costs: loss and gradient of one window of 2,048 words at V = 50,005.

    python benchmarks/head.py                         CPU seconds on one thread
    python benchmarks/head.py --device cuda           seconds on the GPU

Five ways, at the same times t = 1/8, 3/8, 5/8, 7/8 (means are over these), on words whose
frequencies fall as in text (Zipf). CPU seconds of the process are counted, not the clock, and the
ways take turns: a busy machine then changes little.

plain     whole words, PyTorch's cross_entropy on all logits at once
whole     whole words, this project's chunked head
full      residues 29, 41, 43: marginals from a full softmax at every position with a hidden part
residues  the same marginals from strided classes, this project's
digits    digits in base 37 from strided classes
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from torch import Tensor

from perigee.diffusion.absorbing import FIRST_WORD, forbid_
from perigee.diffusion.code import PartCode, digit_code, residue_code
from perigee.diffusion.crossentropy import CHUNK_BYTES, chunk_rows
from perigee.diffusion.forward import Corruption, choose_units, corrupt
from perigee.diffusion.terms import cross_entropies
from perigee.diffusion.times import draw_noise

TIMES = (1 / 8, 3 / 8, 5 / 8, 7 / 8)
CHANNELS = 128


@dataclass(frozen=True)
class Head:
    """A denoiser of which only the head does any work."""

    states: Tensor
    output_weight: Tensor
    output_bias: Tensor

    def hidden(
        self, token_ids: Tensor, is_padding: Tensor | None = None, residues: Tensor | None = None
    ) -> Tensor:
        return self.states

    def logits(self, hidden: Tensor) -> Tensor:
        return hidden @ self.output_weight.T + self.output_bias

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return (self.states, self.output_weight, self.output_bias)


@dataclass(frozen=True)
class Case:
    """A window, masked."""

    head: Head
    token_ids: Tensor
    corruption: Corruption
    code: PartCode | None

    def ours(self) -> tuple[Tensor, ...]:
        is_padding = torch.zeros_like(self.token_ids, dtype=torch.bool)
        weights = torch.ones(1, dtype=torch.float64)
        terms = cross_entropies(
            self.head, self.token_ids, is_padding, self.corruption, weights, self.code
        )
        return torch.autograd.grad(terms.total, self.head.tensors)

    def masked(self) -> tuple[Tensor, Tensor]:
        places = self.corruption.is_masked[0].nonzero().squeeze(1)
        return places, self.token_ids[0, places].to(self.head.states.device)

    def plain(self) -> tuple[Tensor, ...]:
        places, targets = self.masked()
        logits = self.head.logits(self.head.states[0, places.to(targets.device)]).float()
        loss = torch.nn.functional.cross_entropy(forbid_(logits), targets, reduction="sum")
        return torch.autograd.grad(loss, self.head.tensors)

    def full(self) -> tuple[Tensor, ...]:
        assert self.code is not None
        assert self.corruption.is_hidden is not None
        places, targets = self.masked()
        device = targets.device
        parts = self.code.parts(torch.arange(self.code.vocabulary_size, device=device))
        is_hidden = self.corruption.is_hidden[0, places].to(device)
        sums = [torch.zeros_like(tensor) for tensor in self.head.tensors]
        step = chunk_rows(self.code.vocabulary_size, CHUNK_BYTES)
        for chunk in torch.arange(len(places), device=device).split(step):
            logits = forbid_(
                self.head.logits(self.head.states[0, places.to(device)[chunk]]).float()
            )
            same = parts == parts[targets[chunk]][:, None]
            agrees = (same | is_hidden[chunk, None]).all(-1)
            among = logits.masked_fill(~agrees, -torch.inf)
            loss = (among.logsumexp(-1) * is_hidden[chunk].sum(-1)).sum()
            for part in range(len(self.code)):
                rows = is_hidden[chunk, part]
                own = among[rows].masked_fill(~same[rows][..., part], -torch.inf)
                loss = loss - own.logsumexp(-1).sum()
            for total, grad in zip(sums, torch.autograd.grad(loss, self.head.tensors), strict=True):
                total += grad
        return tuple(sums)


def make_case(head: Head, token_ids: Tensor, time_: float, code: PartCode | None) -> Case:
    length = token_ids.shape[1]
    parts = len(code) if code is not None else 0
    draws = draw_noise(0, epoch=0, step=0, positions=[0], batch_size=1, length=length, parts=parts)
    is_padding = torch.zeros_like(token_ids, dtype=torch.bool)
    units = choose_units(is_padding, draws, code, 1.0)
    share = torch.tensor([time_], dtype=torch.float64)
    return Case(head, token_ids, corrupt(token_ids, units, share, code), code)


def seconds(run: Callable[[], object], device: str) -> float:
    clock = time.process_time if device == "cpu" else time.perf_counter
    if device != "cpu":
        torch.cuda.synchronize()
    start = clock()
    run()
    if device != "cpu":
        torch.cuda.synchronize()
    return clock() - start


def zipf_ids(vocabulary_size: int, length: int) -> Tensor:
    ranks = np.arange(1, vocabulary_size - FIRST_WORD + 1)
    weights = 1.0 / (ranks + 2.7)
    numbers = np.random.default_rng(0)
    chosen = numbers.choice(len(ranks), size=(1, length), p=weights / weights.sum())
    return torch.from_numpy(chosen + FIRST_WORD)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--vocabulary", type=int, default=50_005)
    parser.add_argument("--length", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, help="write the figures here too, as JSON")
    options = parser.parse_args()
    torch.set_num_threads(1)
    source = torch.Generator().manual_seed(0)
    shapes = ((1, options.length, CHANNELS), (options.vocabulary, CHANNELS), (options.vocabulary,))
    tensors = [
        (torch.randn(shape, generator=source) * scale).to(options.device).requires_grad_()
        for shape, scale in zip(shapes, (1.0, 0.05, 0.05), strict=True)
    ]
    head, ids = Head(*tensors), zipf_ids(options.vocabulary, options.length)
    residues = residue_code((29, 41, 43), options.vocabulary)
    digits = digit_code((37, 37, 37), options.vocabulary)
    runs: dict[str, list[Callable[[], object]]] = {}
    for moment in TIMES:
        words, parts = make_case(head, ids, moment, None), make_case(head, ids, moment, residues)
        runs.setdefault("plain", []).append(words.plain)
        runs.setdefault("whole", []).append(words.ours)
        runs.setdefault("full", []).append(parts.full)
        runs.setdefault("residues", []).append(parts.ours)
        runs.setdefault("digits", []).append(make_case(head, ids, moment, digits).ours)
    figures = {name: [[] for _ in TIMES] for name in runs}
    for turn in range(options.rounds + 1):
        for name, cases in runs.items():
            for place, run in enumerate(cases):
                taken = seconds(run, options.device)
                if turn:  # The first round warms up.
                    figures[name][place].append(taken)
    medians = {name: [statistics.median(t) for t in rows] for name, rows in figures.items()}
    means = {name: statistics.mean(row) for name, row in medians.items()}
    print(f"{'':10}" + "".join(f"{f't={t:g}':>10}" for t in TIMES) + f"{'mean':>10}{'ratio':>8}")
    for name, row in medians.items():
        cells = "".join(f"{1e3 * t:10.1f}" for t in row)
        print(f"{name:10}{cells}{1e3 * means[name]:10.1f}{means[name] / means['whole']:8.2f}")
    print(f"milliseconds, medians of {options.rounds}; ratio of means to whole words, chunked")
    if options.output:
        document = {"device": options.device, "times": TIMES, "seconds": medians, "mean": means}
        options.output.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
