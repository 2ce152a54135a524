"""The benchmarks' peers: what they are said to be, at as many parameters."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import objective as benchmark
from benchmarks import objective_runs
from benchmarks.controls import (
    Ablation,
    Transformer,
    ablated,
    next_word_losses,
    oscillate_rightwards,
    rightwards_only,
)
from benchmarks.objective_runs import SHAPE, Run, plan_of
from perigee.diffusion.absorbing import word_log_probabilities
from perigee.model.denoiser import Denoiser
from perigee.model.scan import oscillate

SMALL = replace(SHAPE, vocabulary_size=60, model_dim=32, sequence_length=16, max_radius=8)


def words(seed: int, shape: tuple[int, int] = (3, 12)) -> torch.Tensor:
    return torch.randint(5, 60, shape, generator=torch.Generator().manual_seed(seed))


def test_an_autoregressive_word_depends_on_those_before_it_only() -> None:
    model, ids = Transformer(SMALL, causal=True), words(0)
    changed = ids.clone()
    changed[:, 7] = ids[:, 7] % 54 + 6 - (ids[:, 7] == 59).long()
    changed[:, 7] = torch.where(changed[:, 7] == ids[:, 7], 5, changed[:, 7])
    before, after = (next_word_losses(model, w)[1] for w in (ids, changed))
    assert torch.equal(before[:, :7], after[:, :7])
    assert (before[:, 7:] != after[:, 7:]).all()


def test_an_autoregressive_likelihood_sums_to_one_over_all_windows() -> None:
    shape = replace(SMALL, vocabulary_size=6)
    model = Transformer(shape, causal=True, seed=4)
    every = torch.cartesian_prod(*[torch.arange(2, 6)] * 3)
    _, losses = next_word_losses(model, every)
    assert float((-losses.double().sum(1)).exp().sum()) == pytest.approx(1.0, rel=1e-5)
    mean, _ = next_word_losses(model, every)
    assert mean.item() == pytest.approx(losses.mean().item(), rel=1e-6)


def test_a_bidirectional_state_depends_on_every_word_and_its_place() -> None:
    model, ids = Transformer(SMALL), words(1)
    changed = ids.clone()
    changed[:, 7] = torch.where(ids[:, 7] == 9, 10, 9)
    assert ((model.hidden(ids) - model.hidden(changed)).abs().amax(-1) > 0).all()
    same = torch.full((1, 12), 7)
    turned = model.hidden(torch.cat((same[:, :6], words(2, (1, 6))), 1))
    assert (turned[0, 0] - turned[0, 5]).abs().max() > 1e-3  # relative places are seen


def test_the_two_directions_of_the_oscillators_add_up() -> None:
    """Left to right, and the mirror's left to right with the oscillator turning the other way."""
    source = torch.Generator().manual_seed(0)
    B, L, H, M, P = 2, 9, 3, 4, 6
    steps = torch.rand(B, L, H, generator=source)
    pairs = torch.randn(B, L, 2, H, M, 2, generator=source)
    values = torch.randn(B, L, H, P, generator=source)
    damping, frequency = torch.rand(H, generator=source), torch.rand(H, M, generator=source)
    right = oscillate_rightwards(steps, pairs, values, damping, frequency)
    # Mirrored, the step between two words is that of the one on the right: now of the first.
    mirrored = torch.cat((torch.zeros(B, 1, H), steps.flip(1)[:, :-1]), 1)
    left = oscillate_rightwards(mirrored, pairs.flip(1), values.flip(1), damping, -frequency)
    drive, readout = torch.view_as_complex(pairs).unbind(2)
    own = (readout.conj() * drive).real.sum(-1, keepdim=True) * values
    both = oscillate(steps, pairs, values, damping, frequency)
    torch.testing.assert_close(right + left.flip(1) - own, both, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("ablation", ["no oscillators", "no attention", "fixed clock"])
def test_an_ablation_takes_out_what_it_says(ablation: Ablation) -> None:
    model = ablated(SMALL, ablation, seed=0)
    names = [name for name, _ in model.named_parameters()]
    assert any(".mixers." in name for name in names) == (ablation != "no oscillators")
    assert any(".attention." in name for name in names) == (ablation != "no attention")
    mixers = [mixer for block in model.blocks for mixer in block.mixers]
    if ablation == "fixed clock":
        steps = [mixer.clock(torch.randn(2, 5, SMALL.num_heads)) for mixer in mixers]
        assert all(torch.equal(s, s[:1, :1].expand_as(s)) for s in steps)
    assert torch.isfinite(model.hidden(words(3))).all()


def test_to_the_right_alone_only_the_attention_looks_ahead() -> None:
    model = ablated(SMALL, "no attention", seed=0)
    ids = words(5)
    changed = ids.clone()
    changed[:, 7] = torch.where(ids[:, 7] == 9, 10, 9)
    with rightwards_only(True):
        before, after = model.hidden(ids), model.hidden(changed)
    assert torch.equal(before[:, :7], after[:, :7])
    assert not torch.equal(model.hidden(ids)[:, :7], model.hidden(changed)[:, :7])


def test_without_an_ablation_it_is_the_denoiser() -> None:
    one, other = ablated(SMALL, "none", seed=3), Denoiser(SMALL, seed=3)
    assert torch.equal(one.hidden(words(6)), other.hidden(words(6)))


@pytest.mark.parametrize("length", [128, 512])
def test_all_models_of_the_comparison_have_as_many_parameters(length: int) -> None:
    plan = plan_of(length)
    sizes = {run.key: sum(p.numel() for p in run.build().parameters()) for run in plan}
    assert len(sizes) == len(plan)
    layers = {key: size - sizes["whole-1"] for key, size in sizes.items()}
    embedding = SHAPE.vocabulary_size * SHAPE.model_dim
    assert max(map(abs, layers.values())) < 0.03 * (sizes["whole-1"] - embedding)


def test_a_run_from_text_to_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole, with few steps and a small model; what is measured is what a plain sum gives."""
    numbers = np.random.default_rng(0)
    for split in ("train", "valid", "test"):
        lines = [" ".join(f"w{i}" for i in numbers.integers(0, 40, 30)) for _ in range(30)]
        (tmp_path / f"{split}.txt").write_text("\n \n".join([*lines, " = <unk> = w1"]))
    settings = {
        "WORDS": 20,
        "STEPS": 2,
        "CURVE_EVERY": 1,
        "CURVE_WORDS": 3 * 16,
        "TEST_WORDS": 5 * 16,
        "SAMPLER_WORDS": {2: 4 * 16},
    }
    for name, value in settings.items():
        monkeypatch.setattr(benchmark, name, value)
    shape = replace(SMALL, vocabulary_size=25, num_layers=1)
    monkeypatch.setattr(objective_runs, "SHAPE", shape)
    monkeypatch.setattr(objective_runs, "STEP_WORDS", 256)
    windows = benchmark.read_windows(tmp_path, 16)
    assert windows["train"].shape == ((30 * 31 + 5) // 16, 16)
    assert windows["train"].max() == 24
    result = benchmark.perform(Run("whole", length=16), windows)
    assert [point["step"] for point in result["curve"]] == [1, 2]
    assert result["test"]["own"] == result["test"]["whole"]
    assert len(result["test"]["sampler"]["2"]["nats_per_word_of_windows"]) == 4
    control = Run("autoregressive", model="autoregressive", length=16)
    figures = benchmark.perform(control, windows)["test"]["own"]
    test = torch.from_numpy(benchmark.spread(windows["test"], 5).astype(np.int64))
    model, _ = benchmark.train(control, windows)
    with torch.no_grad():
        log_p = word_log_probabilities(model.logits(model.hidden(test)))
    nats = -log_p.gather(-1, test[..., None]).double().mean()
    assert figures["nats_per_word"] == pytest.approx(float(nats), rel=1e-5)
    per_window = figures["nats_per_word_of_windows"]
    assert figures["standard_error"] == pytest.approx(
        np.std(per_window, ddof=1) / math.sqrt(5), rel=1e-3
    )
