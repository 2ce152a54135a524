"""The update rule, its parameter groups, and its state as named tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from perigee.config import TrainingSettings
from perigee.errors import CheckpointError, SettingsError

SEPARATOR = "|"

OTHERS_RATE = 3.0
"""With Muon: AdamW's learning rate for what is no matrix, as a multiple of Muon's. Measured on the
embedded sample, 400 steps: bounds of 5.27, 5.16 nats a word at factors of 1, 3."""

OTHERS_BETAS = (0.9, 0.98)
"""With Muon: AdamW's decay rates; rare words' second moments are not those of 1,000 steps ago."""


def decayed_names(module: nn.Module) -> frozenset[str]:
    """Names of the parameters that weight decay applies to: the matrices of linear maps.

    Gains, biases, embeddings and the oscillators' rates and frequencies are left alone: for
    them zero is not a neutral value.
    """
    return frozenset(
        f"{prefix}.weight" if prefix else "weight"
        for prefix, part in module.named_modules()
        if isinstance(part, nn.Linear)
    )


@dataclass(frozen=True)
class Part:
    """An update rule and the parameters that are its own."""

    rule: torch.optim.Optimizer
    rate_factor: float = 1.0
    """Its learning rate, as a multiple of the settings'."""


class Updater:
    """One or several update rules that share out a model's parameters."""

    def __init__(self, *parts: Part) -> None:
        self.parts = parts

    def step(self) -> None:
        """Update every parameter from its gradient."""
        for part in self.parts:
            part.rule.step()

    def zero_grad(self, *, set_to_none: bool = True) -> None:
        """Forget every gradient."""
        for part in self.parts:
            part.rule.zero_grad(set_to_none)


def build_optimizer(module: nn.Module, training: TrainingSettings, device: torch.device) -> Updater:
    """AdamW (decoupled weight decay), Adam (the decay added to the gradient), or Muon.

    Muon orthogonalises the momentum of the matrices of linear maps (Jordan et al. 2024); its
    updates have the size of AdamW's (arXiv 2502.16982, equation 4). All other parameters,
    the embeddings among them, go by AdamW at :data:`OTHERS_RATE` times the learning rate.

    The learning rate is set at each step and belongs to no saved state. Adam is fused on CUDA and
    on the CPU: one kernel for all parameters, instead of a dozen small ones for each.
    """
    decayed = decayed_names(module)
    named = list(module.named_parameters())
    matrices = [p for n, p in named if n in decayed]
    others = [p for n, p in named if n not in decayed]
    groups = [
        {"params": matrices, "weight_decay": training.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    rate, decay = training.learning_rate, training.weight_decay
    fused = device.type in ("cuda", "cpu")
    match training.optimizer:
        case "adamw":
            return Updater(Part(torch.optim.AdamW(groups, lr=rate, fused=fused)))
        case "adam":
            return Updater(Part(torch.optim.Adam(groups, lr=rate, fused=fused)))
        case "muon":
            if not hasattr(torch.optim, "Muon"):
                raise SettingsError(
                    f"[training] optimizer is 'muon', which PyTorch {torch.__version__} has not",
                    remedy="install PyTorch 2.9 or newer, or take adamw",
                )
            muon = torch.optim.Muon(
                matrices, lr=rate, weight_decay=decay, adjust_lr_fn="match_rms_adamw"
            )
            rest = torch.optim.AdamW(
                others, lr=rate, betas=OTHERS_BETAS, weight_decay=0.0, fused=fused
            )
            return Updater(Part(muon), Part(rest, OTHERS_RATE))


def set_rate(optimizer: Updater, rate: float) -> None:
    """Set the learning rate of the next update."""
    for part in optimizer.parts:
        for group in part.rule.param_groups:
            group["lr"] = rate * part.rate_factor


def optimizer_tensors(optimizer: Updater, module: nn.Module) -> dict[str, Tensor]:
    """The optimiser's state, each tensor named ``<parameter>|<quantity>``."""
    names: dict[Tensor, str] = {parameter: name for name, parameter in module.named_parameters()}
    return {
        f"{names[parameter]}{SEPARATOR}{quantity}": value
        for part in optimizer.parts
        for parameter, state in part.rule.state.items()
        for quantity, value in state.items()
    }


def restore_optimizer(
    optimizer: Updater, module: nn.Module, tensors: Mapping[str, Tensor], place: Path
) -> None:
    """Put the state of :func:`optimizer_tensors` back.

    Raises
    ------
    CheckpointError
        If a tensor belongs to no parameter, a parameter has none, or a shape differs.
    """
    states: dict[str, dict[str, Tensor]] = {name: {} for name, _ in module.named_parameters()}
    for key, value in tensors.items():
        name, separator, quantity = key.rpartition(SEPARATOR)
        if not separator or name not in states:
            raise CheckpointError(f"tensor {key} belongs to no parameter", place=place)
        states[name][quantity] = value
    names: dict[Tensor, str] = {p: name for name, p in module.named_parameters()}
    for part in optimizer.parts:
        _restore(part.rule, names, states, place)


def _restore(
    rule: torch.optim.Optimizer,
    names: Mapping[Tensor, str],
    states: Mapping[str, dict[str, Tensor]],
    place: Path,
) -> None:
    own = [names[p] for group in rule.param_groups for p in group["params"]]
    if len({frozenset(states[name]) for name in own}) > 1:
        raise CheckpointError("does not hold the same quantities for every parameter", place=place)
    shapes = {name: parameter.shape for parameter, name in names.items()}
    for name in own:
        for quantity, value in states[name].items():
            if value.dim() and value.shape != shapes[name]:
                raise CheckpointError(
                    f"tensor {name}{SEPARATOR}{quantity} has shape {list(value.shape)}",
                    place=place,
                    expected=str(list(shapes[name])),
                )
    document: dict[str, Any] = rule.state_dict()
    document["state"] = {index: states[name] for index, name in enumerate(own) if states[name]}
    rule.load_state_dict(document)
