"""The update rule, its parameter groups, and its state as named tensors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from perigee.config import TrainingSettings
from perigee.errors import CheckpointError

SEPARATOR = "|"


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


def build_optimizer(
    module: nn.Module, training: TrainingSettings, device: torch.device
) -> torch.optim.Optimizer:
    """AdamW (decoupled weight decay) or Adam (the decay added to the gradient, as L2 penalty).

    The learning rate is set at each step and belongs to no saved state. Fused on CUDA and on
    the CPU: one kernel for all parameters, instead of a dozen small ones for each.
    """
    decayed = decayed_names(module)
    named = list(module.named_parameters())
    groups = [
        {"params": [p for n, p in named if n in decayed], "weight_decay": training.weight_decay},
        {"params": [p for n, p in named if n not in decayed], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    rate, fused = training.learning_rate, device.type in ("cuda", "cpu")
    match training.optimizer:
        case "adamw":
            return torch.optim.AdamW(groups, lr=rate, fused=fused)
        case "adam":
            return torch.optim.Adam(groups, lr=rate, fused=fused)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of the next update."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def optimizer_tensors(optimizer: torch.optim.Optimizer, module: nn.Module) -> dict[str, Tensor]:
    """The optimiser's state, each tensor named ``<parameter>|<quantity>``."""
    names: dict[Tensor, str] = {parameter: name for name, parameter in module.named_parameters()}
    return {
        f"{names[parameter]}{SEPARATOR}{quantity}": value
        for parameter, state in optimizer.state.items()
        for quantity, value in state.items()
    }


def restore_optimizer(
    optimizer: torch.optim.Optimizer, module: nn.Module, tensors: Mapping[str, Tensor], place: Path
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
    kinds = {frozenset(state) for state in states.values()}
    if len(kinds) > 1:
        raise CheckpointError("does not hold the same quantities for every parameter", place=place)
    names = {parameter: name for name, parameter in module.named_parameters()}
    document: dict[str, Any] = optimizer.state_dict()
    flat = [p for group in optimizer.param_groups for p in group["params"]]
    for parameter in flat:
        for quantity, value in states[names[parameter]].items():
            if value.dim() and value.shape != parameter.shape:
                raise CheckpointError(
                    f"tensor {names[parameter]}{SEPARATOR}{quantity} has shape {list(value.shape)}",
                    place=place,
                    expected=str(list(parameter.shape)),
                )
    document["state"] = {
        index: states[names[parameter]]
        for index, parameter in enumerate(flat)
        if states[names[parameter]]
    }
    optimizer.load_state_dict(document)
