"""Words a second of the samplers, against the straightforward one and an autoregressive peer.

    python benchmarks/generation.py                         lengths 256 and 2,048, batches 1 and 8
    python benchmarks/generation.py --lengths 256 --vocabulary 8005

Weights are untrained: speed does not depend on them ([EOS] is never drawn). Whole texts are
written from no prompt. Measurements take turns, so that a busy machine slows all of them; figures
are medians over rounds. On a machine that others use, ``--clock processor`` with OMP_NUM_THREADS=1
counts this process's own seconds.

plain        the straightforward sampler (the papers' listings): in each step, logits at all
             positions, float64 Gumbel noise for every word of the vocabulary, the posterior's coin.
             All its steps cost the same, so ``--plain-steps`` of them are timed and scaled up. One
             text after the other, or eight of 2,048 words would take 40 GB.
plain 32     the same with float32 noise, which draws at a lower temperature than asked for
ancestral    the same distribution by perigee: logits and one number where a word is decided
confidence   perigee's deterministic order: logits at masked positions
peer         transformers' generate with a key-value cache, a Llama of as many weights outside the
             embedding, batch and length the same (only where transformers is installed)
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from perigee.config import load_settings
from perigee.generation.request import Request, SamplerName
from perigee.generation.sampler import NEVER_DRAWN, sample
from perigee.model.denoiser import Denoiser
from perigee.settings import Settings
from perigee.tokenizer.prime import EOS, MASK, SPECIAL_TOKENS, PrimeTokenizer
from perigee.training.learner import build_denoiser

Row = dict[str, float | int]
Job = tuple[str, int]
"""A kind, and its number of steps where its cost is not simply in proportion to them."""
SAMPLERS: tuple[SamplerName, ...] = ("ancestral", "confidence")
PLAIN = {"plain": torch.float64, "plain 32": torch.float32}
KINDS = (*PLAIN, *SAMPLERS, "peer")
CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}


def plain_steps(
    denoiser: Denoiser, length: int, batch: int, steps: int, dtype: torch.dtype
) -> torch.Tensor:
    """The first ``steps`` steps of 128 of the straightforward ancestral sampler."""
    device = denoiser.output_weight.device
    generator = torch.Generator(device).manual_seed(0)
    ids = torch.full((batch, length), MASK, device=device)
    with torch.inference_mode():
        for step in range(steps):
            hidden = denoiser.hidden(ids)
            for text, states in zip(ids, hidden, strict=True):
                logits = denoiser.logits(states).to(dtype)
                logits[:, [*NEVER_DRAWN, EOS]] = -torch.inf
                noise = torch.rand(logits.shape, generator=generator, dtype=dtype, device=device)
                words = (logits.log_softmax(-1) - (-noise.log()).log()).argmax(-1)
                coins = torch.rand(text.shape, generator=generator, device=device)
                is_decided = (text == MASK) & (coins < 1 / (128 - step))
                text.copy_(torch.where(is_decided, words, text))
    return ids


def ours(
    denoiser: Denoiser,
    tokenizer: PrimeTokenizer,
    sampler: SamplerName,
    length: int,
    batch: int,
    steps: int,
) -> None:
    """Whole texts by one of perigee's samplers."""
    request = Request("", steps, length, batch, sampler=sampler, can_end=False)
    sample(denoiser, tokenizer, request, window=length)


def peer_model(settings: Settings, vocabulary: int, weights: int, length: int) -> torch.nn.Module:
    """A Llama with about ``weights`` weights outside its embedding and the same width."""
    from transformers import LlamaConfig, LlamaForCausalLM

    width = settings.model.model_dim
    heads = max(h for h in (1, 2, 4, 6, 8, 12) if width % h == 0 and width // h % 2 == 0)
    inner = 8 * width // 3
    layers = max(1, round(weights / (4 * width * width + 3 * width * inner)))
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        max_position_embeddings=length + 1,
        tie_word_embeddings=True,
        bos_token_id=3,
        eos_token_id=None,
        pad_token_id=0,
    )
    return LlamaForCausalLM(config).eval()


def peer_words(model: torch.nn.Module, length: int, batch: int) -> None:
    """Draw ``length`` words."""
    start = torch.full((batch, 1), 3, device=next(model.parameters()).device)
    with torch.inference_mode():
        out = model.generate(
            start,
            attention_mask=torch.ones_like(start),
            max_new_tokens=length,
            min_new_tokens=length,
            do_sample=True,
            top_k=0,
        )
    assert out.shape == (batch, length + 1)


def seconds(work: Callable[[], object], clock: Callable[[], float]) -> float:
    """Seconds of ``work``."""
    started = clock()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return clock() - started


def measure(arguments: argparse.Namespace) -> list[Row]:
    """Every kind at every size."""
    settings = load_settings(arguments.config, {})
    words = tuple(f"w{i}" for i in range(arguments.vocabulary - len(SPECIAL_TOKENS)))
    tokenizer = PrimeTokenizer((*SPECIAL_TOKENS, *words))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    denoiser = build_denoiser(settings, len(tokenizer)).to(device).eval()
    inside = sum(p.numel() for p in denoiser.parameters()) - denoiser.output_weight.numel()
    results: list[Row] = []
    for length, batch in itertools.product(arguments.lengths, arguments.batches):
        jobs: dict[Job, Callable[[], object]] = {}
        for kind, dtype in PLAIN.items():
            if kind in arguments.kinds:
                timed = arguments.plain_steps
                jobs[kind, 0] = partial(plain_steps, denoiser, length, batch, timed, dtype)
        if find_spec("transformers") and "peer" in arguments.kinds:
            peer = peer_model(settings, len(tokenizer), inside, length).to(device)
            jobs["peer", 0] = partial(peer_words, peer, length, batch)
        for sampler, steps in itertools.product(SAMPLERS, arguments.steps):
            if sampler in arguments.kinds:
                work = partial(ours, denoiser, tokenizer, sampler, length, batch, steps)
                jobs[sampler, steps] = work
        taken: dict[Job, list[float]] = {job: [] for job in jobs}
        for _ in range(arguments.rounds):
            for job, work in jobs.items():
                taken[job].append(seconds(work, CLOCKS[arguments.clock]))
        middle = {job: statistics.median(found) for job, found in taken.items()}
        for steps in arguments.steps:
            row: Row = {"length": length, "batch": batch, "steps": steps}
            for kind in arguments.kinds:
                if (time_taken := middle.get((kind, steps), middle.get((kind, 0)))) is not None:
                    scale = steps / arguments.plain_steps if kind in PLAIN else 1.0
                    row[f"{kind}_words_per_second"] = length * batch / (time_taken * scale)
            results.append(row)
            print(line(row), flush=True)
    return results


def line(row: Row) -> str:
    """A row of the table."""
    parts = [f"{row['length']:>7} {row['batch']:>5} {row['steps']:>5}"]
    plain = float(row.get("plain_words_per_second", "nan"))
    for kind in KINDS:
        rate = row.get(f"{kind}_words_per_second")
        parts.append(f"{float(rate):>9,.0f} ({float(rate) / plain:5.1f})" if rate else f"{'-':>17}")
    return "  ".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--config", default="configs/perigee_sample.toml", help="the model's shape")
    parser.add_argument("--vocabulary", type=int, default=50_005)
    parser.add_argument("--lengths", type=int, nargs="+", default=[256, 2048])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--steps", type=int, nargs="+", default=[6, 32, 128])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clock", default="wall", choices=CLOCKS)
    parser.add_argument("--plain-steps", type=int, default=2)
    parser.add_argument("--kinds", nargs="+", default=KINDS, choices=KINDS)
    parser.add_argument("--output", type=Path, default=Path("artifacts/benchmarks/generation.json"))
    arguments = parser.parse_args()
    print("words a second (in brackets: times the plain sampler)")
    kinds = (f"{k:>17}" for k in KINDS)
    print(f"{'length':>7} {'batch':>5} {'steps':>5}  " + "  ".join(kinds))
    results = measure(arguments)
    document = {
        "config": arguments.config,
        "vocabulary": arguments.vocabulary,
        "rounds": arguments.rounds,
        "clock": arguments.clock,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "machine": platform.processor() or platform.machine(),
        "cuda": torch.cuda.is_available(),
        "results": results,
    }
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(document, indent=2) + "\n")
    print(f"written: {arguments.output}")


if __name__ == "__main__":
    main()
