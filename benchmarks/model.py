"""What a training step costs, against ModernBERT of the same width, depth, heads and words.

    python benchmarks/model.py                      perigee_train.toml's model, batch 1 x 2,048
    python benchmarks/model.py --rounds 3 --layers 8 --skip scaling

A step is the forward pass, logits and cross-entropy at half of the positions, the backward pass
and the update by AdamW, in float32 on all cores, and once more under bfloat16 autocast, with the
allocator set as Perigee sets it. The kinds take turns, so that a busy machine slows all of them;
figures are medians. FLOPs are those of `perigee model`: products only.

step      words a second: Perigee, and `transformers` ModernBertForMaskedLM with SDPA and its local
          attention on (left out, and said so, where transformers is not installed), the peer also
          as it runs by itself, in a process whose allocator is as it comes; the share of the rate
          of a large float32 product, measured in the same run
parts     each kind of layer by itself, forward and backward, times its number in a step
scaling   seconds and peak memory of a step from 2,048 to 16,384 words, a process each; as control,
          the same stack with full attention
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor, nn

from perigee.allocator import keep_freed_memory
from perigee.diffusion.crossentropy import weighted_cross_entropy
from perigee.model.attention import make_band
from perigee.model.denoiser import Denoiser
from perigee.model.norm import unit_rms
from perigee.model.report import report_model
from perigee.model.scan import oscillate
from perigee.model.shape import DenoiserShape
from perigee.settings import Settings

LENGTHS = (2048, 4096, 8192, 16_384)
VOCABULARY_SIZE = 50_005
AT_LEAST_TIMES_PEER, AT_LEAST_SHARE, AT_MOST_GROWTH = 2.0, 0.45, 8.8

Step = Callable[[], object]


def train_shape(layers: int | None) -> DenoiserShape:
    model = Settings().model
    return DenoiserShape(
        vocabulary_size=VOCABULARY_SIZE,
        model_dim=model.model_dim,
        num_heads=model.num_heads,
        oscillator_count=model.oscillator_count,
        num_layers=layers or model.num_layers,
        mamba_repeat=model.mamba_repeat,
        radius_factor=model.radius_factor,
        base_radius=model.base_radius,
        min_radius=model.min_radius,
        max_radius=model.max_radius,
        sequence_length=2048,
    )


def precision(bfloat16: bool) -> Any:
    return torch.autocast("cpu", torch.bfloat16) if bfloat16 else nullcontext()


def optimizer_of(module: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(module.parameters(), lr=1e-4, fused=True)


def words_and_mask(batch: int, length: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(5, VOCABULARY_SIZE, (batch, length), generator=generator)
    return ids, torch.rand(batch, length, generator=generator) < 0.5


def perigee_step(shape: DenoiserShape, batch: int, length: int, bfloat16: bool = False) -> Step:
    denoiser = Denoiser(shape)
    optimizer = optimizer_of(denoiser)
    ids, is_masked = words_and_mask(batch, length)
    noisy, targets = ids.masked_fill(is_masked, 1), ids[is_masked]
    weights = torch.full(targets.shape, 1 / len(targets))

    def step() -> None:
        with precision(bfloat16):
            hidden = denoiser.hidden(noisy)[is_masked]
            loss, _ = weighted_cross_entropy(
                hidden, denoiser.output_weight, denoiser.output_bias, targets, weights
            )
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def peer_step(
    shape: DenoiserShape, batch: int, length: int, bfloat16: bool = False
) -> tuple[Step, int] | None:
    """ModernBERT's step and parameters; None where transformers is not installed."""
    try:
        from transformers import ModernBertConfig, ModernBertForMaskedLM
    except ImportError:
        return None
    config = ModernBertConfig(
        vocab_size=VOCABULARY_SIZE,
        hidden_size=shape.model_dim,
        intermediate_size=3 * shape.model_dim // 2,
        num_hidden_layers=shape.num_layers,
        num_attention_heads=shape.num_heads,
        max_position_embeddings=length,
        sparse_prediction=True,
        pad_token_id=0,
        bos_token_id=3,
        eos_token_id=4,
        cls_token_id=3,
        sep_token_id=4,
        attn_implementation="sdpa",
    )
    model = ModernBertForMaskedLM(config).train()
    optimizer = optimizer_of(model)
    ids, is_masked = words_and_mask(batch, length)
    noisy, labels = ids.masked_fill(is_masked, 1), ids.masked_fill(~is_masked, -100)

    def step() -> None:
        with precision(bfloat16):
            loss = model(input_ids=noisy, labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step, sum(p.numel() for p in model.parameters())


class PeerAsItComes:
    """ModernBERT in a process of its own, in which nothing is set."""

    def __init__(self, layers: int) -> None:
        command = [sys.executable, __file__, "--peer", "--layers", str(layers)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._ask("")

    def _ask(self, line: str) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(line, file=self._process.stdin, flush=True)
        assert self._process.stdout.readline() == "done\n", "the peer's process ended"

    def step(self, bfloat16: bool) -> Step:
        return lambda: self._ask("bfloat16" if bfloat16 else "float32")

    def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def answer_as_peer(shape: DenoiserShape) -> None:
    """The other side: a step for every line."""
    steps = {}
    for name in ("float32", "bfloat16"):
        peer = peer_step(shape, 1, shape.sequence_length, bfloat16=name == "bfloat16")
        assert peer is not None
        steps[name] = peer[0]
    for line in sys.stdin:
        if name := line.strip():
            steps[name]()
        print("done", flush=True)


def product_step(size: int = 4096) -> Step:
    x = torch.randn(size, size)
    return lambda: x @ x


def seconds_each(steps: dict[str, Step], rounds: int) -> dict[str, float]:
    """Median seconds of each, taken in turns after one round that does not count."""
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for round_number in range(rounds + 1):
        for name, step in steps.items():
            begin = time.perf_counter()
            step()
            if round_number:
                taken[name].append(time.perf_counter() - begin)
    return {name: statistics.median(times) for name, times in taken.items()}


def bench_step(shape: DenoiserShape, rounds: int) -> dict[str, Any]:
    report = report_model(shape, batch=1)
    steps: dict[str, Step] = {
        "product": product_step(),
        "perigee": perigee_step(shape, 1, shape.sequence_length),
    }
    peer = peer_step(shape, 1, shape.sequence_length)
    if peer is not None:
        steps["modernbert"] = peer[0]
    steps["perigee, bfloat16"] = perigee_step(shape, 1, shape.sequence_length, bfloat16=True)
    alone = None
    if rounded := peer_step(shape, 1, shape.sequence_length, bfloat16=True):
        steps["modernbert, bfloat16"] = rounded[0]
        alone = PeerAsItComes(shape.num_layers)
        steps["modernbert as it comes"] = alone.step(bfloat16=False)
        steps["modernbert as it comes, bfloat16"] = alone.step(bfloat16=True)
    seconds = seconds_each(steps, rounds)
    if alone is not None:
        alone.end()
    product_rate = 2 * 4096**3 / seconds["product"]
    share = report.flops_per_step / seconds["perigee"] / product_rate
    result = {
        "seconds": seconds,
        "words_per_second": {},
        "times": {},
        "parameters": report.parameters,
        "gflop_per_step": report.flops_per_step / 1e9,
        "product_gflops": product_rate / 1e9,
        "share_of_product_rate": share,
    }
    print(f"one step of 1 x {shape.sequence_length} words, {shape.num_layers} layers")
    print(f"{'':34}{'words/s':>8}{'perigee is':>12}")
    for name, taken in seconds.items():
        if name != "product":
            ours = seconds["perigee, bfloat16" if name.endswith("bfloat16") else "perigee"]
            result["words_per_second"][name] = shape.sequence_length / taken
            result["times"][name] = taken / ours
            print(f"{name:34}{shape.sequence_length / taken:8.0f}{taken / ours:11.2f}x")
    if peer is None:
        print("modernbert is left out: transformers is not installed (pip install .[bench])")
    else:
        print(
            f"parameters: {report.parameters:,} and {peer[1]:,}; wanted {AT_LEAST_TIMES_PEER} times"
        )
    print(
        f"{share:.0%} of {product_rate / 1e9:.0f} GFLOP/s, a product of 4,096 squares "
        f"(at least {AT_LEAST_SHARE:.0%})\n"
    )
    return result


def bench_parts(shape: DenoiserShape, rounds: int) -> dict[str, float]:
    denoiser = Denoiser(replace(shape, num_layers=1, mamba_repeat=1))
    block, L = denoiser.blocks[0], shape.sequence_length
    x = torch.randn(1, L, shape.model_dim, requires_grad=True)
    grad = torch.randn(1, L, shape.model_dim)
    per_head = grad.view(1, L, shape.num_heads, shape.head_dim)
    band = make_band(shape, (1, L), None, device=x.device, dtype=x.dtype)
    mixer = block.mixers[0]
    damping, frequency = (tensor.detach().requires_grad_() for tensor in mixer.eigenvalues())
    H, M, P = shape.num_heads, shape.oscillator_count, shape.head_dim
    steps = torch.rand(1, L, H, requires_grad=True)
    pairs = torch.randn(1, L, 2, H, M, 2, requires_grad=True)
    values = torch.randn(1, L, H, P, requires_grad=True)
    targets = torch.randint(5, VOCABULARY_SIZE, (L // 2,))
    whole = Denoiser(shape)
    optimizer = optimizer_of(whole)
    for parameter in whole.parameters():
        parameter.grad = torch.zeros_like(parameter)

    def head() -> None:
        loss, _ = weighted_cross_entropy(
            x[0, : L // 2], denoiser.output_weight, denoiser.output_bias, targets,
            torch.ones(L // 2),
        )  # fmt: skip
        loss.backward()

    mixers = shape.num_layers * shape.mamba_repeat
    parts: dict[str, tuple[int, Step]] = {
        "oscillator mixers": (mixers, lambda: mixer(unit_rms(x)).backward(grad)),
        "  of which scan": (
            mixers,
            lambda: oscillate(steps, pairs, values, damping, frequency).backward(per_head),
        ),
        "log-window attention": (
            shape.num_layers,
            lambda: block.attention(unit_rms(x), band).backward(grad),
        ),
        "feed-forward": (shape.num_layers, lambda: block.feedforward(unit_rms(x)).backward(grad)),
        "head": (1, head),
        "optimiser": (1, optimizer.step),
    }
    each = seconds_each({name: step for name, (_, step) in parts.items()}, 3 * rounds)
    seconds = {name: count * each[name] for name, (count, _) in parts.items()}
    total = sum(value for name, value in seconds.items() if not name.startswith(" "))
    print(f"{'part':22}{'seconds':>9}{'share':>8}")
    for name, value in seconds.items():
        print(f"{name:22}{value:9.3f}{value / total:8.1%}")
    print()
    return seconds


def one_length(length: int, layers: int, full: bool, rounds: int) -> None:
    keep_freed_memory()
    shape = replace(train_shape(layers), sequence_length=length)
    if full:
        shape = replace(shape, min_radius=length, max_radius=length)
    seconds = seconds_each({"step": perigee_step(shape, 1, length)}, rounds)["step"]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "peak_mib": peak}))


def bench_scaling(layers: int, rounds: int) -> dict[str, Any]:
    result: dict[str, Any] = {}
    print(f"{layers} layers{'':12}{'words':>8}{'seconds':>9}{'peak MiB':>10}")
    for name in ("log-window", "full attention"):
        rows = []
        for length in LENGTHS:
            command = [sys.executable, __file__, "--length", str(length), "--layers", str(layers)]
            command += ["--rounds", str(rounds), *(["--full"] if name != "log-window" else [])]
            run = subprocess.run(command, capture_output=True, text=True, check=True)
            rows.append({"length": length, **json.loads(run.stdout)})
            print(f"{name:20}{length:8}{rows[-1]['seconds']:9.2f}{rows[-1]['peak_mib']:10.0f}")
        growth = rows[-1]["seconds"] / rows[0]["seconds"]
        result[name] = {"rows": rows, "time_growth": growth}
        limit = f" (at most {AT_MOST_GROWTH})" if name == "log-window" else ""
        print(f"{name}: {growth:.1f} times the seconds for 8 times the words{limit}\n")
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--layers", type=int, help="instead of perigee_train.toml's")
    parser.add_argument("--skip", nargs="*", default=[], choices=["step", "parts", "scaling"])
    parser.add_argument("--output", type=Path, default=Path("artifacts/benchmarks/model.json"))
    parser.add_argument("--length", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--full", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--peer", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.length:
        one_length(arguments.length, arguments.layers, arguments.full, arguments.rounds)
        return
    torch.manual_seed(0)
    if arguments.peer:
        answer_as_peer(train_shape(arguments.layers))
        return
    keep_freed_memory()
    shape, result = train_shape(arguments.layers), {}
    if "step" not in arguments.skip:
        result["step"] = bench_step(shape, arguments.rounds)
    if "parts" not in arguments.skip:
        result["parts"] = bench_parts(shape, arguments.rounds)
    if "scaling" not in arguments.skip:
        result["scaling"] = bench_scaling(min(shape.num_layers, 4), min(arguments.rounds, 3))
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
