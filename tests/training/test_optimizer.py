from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from perigee.errors import CheckpointError, SettingsError
from perigee.settings import TrainingSettings
from perigee.training.optimizer import (
    build_optimizer,
    decayed_names,
    optimizer_tensors,
    restore_optimizer,
    set_rate,
)
from perigee.training.tensors import read_tensors, write_tensors

CPU = torch.device("cpu")


class Small(nn.Module):
    """A matrix, a gain, an embedding."""

    def __init__(self) -> None:
        super().__init__()
        numbers = torch.Generator().manual_seed(1)
        self.inner = nn.Linear(3, 4)
        self.gain = nn.Parameter(torch.rand(4, generator=numbers))
        self.table = nn.Parameter(torch.rand(5, 3, generator=numbers))
        with torch.no_grad():
            self.inner.weight.copy_(torch.rand(4, 3, generator=numbers))
            self.inner.bias.copy_(torch.rand(4, generator=numbers))

    def forward(self) -> torch.Tensor:
        return (self.inner(self.table).sin() * self.gain).square().sum()


def run(module: Small, optimizer: torch.optim.Optimizer, steps: int) -> None:
    for step in range(steps):
        optimizer.zero_grad()
        module().backward()
        set_rate(optimizer, 0.01 * (step + 1))
        optimizer.step()


def test_only_matrices_decay() -> None:
    assert decayed_names(Small()) == {"inner.weight"}
    assert decayed_names(nn.Linear(2, 2)) == {"weight"}
    module = Small()
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    optimizer = build_optimizer(module, TrainingSettings(weight_decay=0.5), CPU)
    for parameter in module.parameters():
        parameter.grad = torch.zeros_like(parameter)
    set_rate(optimizer, 0.1)
    optimizer.step()
    for name, parameter in module.named_parameters():
        factor = 1 - 0.1 * 0.5 if name == "inner.weight" else 1.0
        torch.testing.assert_close(parameter.detach(), before[name] * factor)


@pytest.mark.parametrize("rule", ["adamw", "adam"])
def test_the_update_is_the_papers(rule: str) -> None:
    """The oracle: Adam's recursion in float64, decay decoupled (adamw) or in the gradient."""
    module, twin = Small(), Small().double()
    optimizer = build_optimizer(module, TrainingSettings(optimizer=rule, weight_decay=0.1), CPU)
    m = {n: torch.zeros_like(p) for n, p in twin.named_parameters()}
    v = {n: torch.zeros_like(p) for n, p in twin.named_parameters()}
    for t in range(1, 6):
        twin.zero_grad()
        twin().backward()
        rate = 0.01 * t
        with torch.no_grad():
            for name, p in twin.named_parameters():
                decay = 0.1 if name == "inner.weight" else 0.0
                g = p.grad + (decay * p if rule == "adam" else 0.0)
                m[name] = 0.9 * m[name] + 0.1 * g
                v[name] = 0.999 * v[name] + 0.001 * g * g
                if rule == "adamw":
                    p.mul_(1 - rate * decay)
                p.sub_(rate * (m[name] / (1 - 0.9**t)) / ((v[name] / (1 - 0.999**t)).sqrt() + 1e-8))
    run(module, optimizer, 5)
    for ours, theirs in zip(module.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-4, atol=1e-6)


def orthogonal(matrix: torch.Tensor) -> torch.Tensor:
    """The nearest matrix with orthonormal rows or columns."""
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    return left @ right


def test_muon_turns_matrices_by_orthogonal_steps_and_leaves_the_rest_to_adamw() -> None:
    training = TrainingSettings(optimizer="muon", weight_decay=0.0)
    module = Small()
    optimizer = build_optimizer(module, training, CPU)
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    module().backward()
    set_rate(optimizer, 0.01)
    optimizer.step()
    moved = {name: p.detach() - before[name] for name, p in module.named_parameters()}
    # The first momentum is the gradient; the size is 0.2 sqrt(larger side): AdamW's (2502.16982).
    expected = -0.01 * 0.2 * 4**0.5 * orthogonal(module.inner.weight.grad)
    singular = torch.linalg.svdvals(moved["inner.weight"]) / (0.01 * 0.2 * 4**0.5)
    # Newton and Schulz's five steps bring the singular values near one, not to it.
    assert ((singular > 0.6) & (singular < 1.3)).all()
    cosine = torch.nn.functional.cosine_similarity(moved["inner.weight"], expected, dim=1)
    assert cosine.min() > 0.9
    # AdamW's first step has the size of its rate, whatever the gradient's.
    for name in ("gain", "table", "inner.bias"):
        grad = dict(module.named_parameters())[name].grad
        torch.testing.assert_close(moved[name], -0.03 * grad.sign(), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("rule", ["adamw", "adam", "muon"])
def test_state_goes_through_a_file_bit_for_bit(rule: str, tmp_path: Path) -> None:
    training = TrainingSettings(optimizer=rule)
    whole, first = Small(), Small()
    run(whole, build_optimizer(whole, training, CPU), 3)
    optimizer = build_optimizer(first, training, CPU)
    run(first, optimizer, 3)
    write_tensors(tmp_path / "o.safetensors", optimizer_tensors(optimizer, first))

    second = Small()
    second.load_state_dict(first.state_dict())
    resumed = build_optimizer(second, training, CPU)
    restore_optimizer(resumed, second, read_tensors(tmp_path / "o.safetensors"), tmp_path)
    run(first, optimizer, 4)
    run(second, resumed, 4)
    assert all(
        torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True)
    )
    a, b = optimizer_tensors(optimizer, first), optimizer_tensors(resumed, second)
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("damage", ["unknown", "missing", "shape"])
def test_state_of_another_model_is_refused(damage: str) -> None:
    module = Small()
    optimizer = build_optimizer(module, TrainingSettings(), CPU)
    run(module, optimizer, 1)
    tensors = optimizer_tensors(optimizer, module)
    match damage:
        case "unknown":
            tensors["other|exp_avg"] = torch.zeros(1)
        case "missing":
            del tensors["gain|exp_avg"]
        case "shape":
            tensors["gain|exp_avg"] = torch.zeros(3)
    with pytest.raises(CheckpointError, match=r"o\.safetensors"):
        restore_optimizer(optimizer, module, tensors, Path("o.safetensors"))


def test_a_pytorch_without_muon_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.optim, "Muon")
    with pytest.raises(SettingsError, match=r"has not; install PyTorch 2\.9 or newer"):
        build_optimizer(Small(), TrainingSettings(optimizer="muon"), CPU)
