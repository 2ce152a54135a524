"""Initial values: one table, a pure function of the seed and of each parameter's name."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from perigee.model.shape import DenoiserShape
from perigee.randomness import stream_key

FASTEST_PERIOD = 2.0
"""Words: half a turn a word is the most that a sequence can show."""

TURNS_REMEMBERED = 1.0
"""Turns of its slowest oscillator in which a head's amplitude falls to 1/e."""

FIRST_STEP = 1.0
"""Clock step at the start: the clock counts words."""


@torch.no_grad()
def initialise(module: nn.Module, shape: DenoiserShape, seed: int) -> None:
    """Fill every parameter of a denoiser.

    ==================  =============================================================
    embedding           normal, 1 / sqrt(D); scaled by sqrt(D) where words enter
    *.project.weight    normal, 1 / sqrt(fan-in): inputs of unit variance stay so
    *.merge.weight      normal, 1 / sqrt(fan-in * branches): the residual stream of
                        all branches together grows by the variance of one, at any depth
    clock rows          a quarter of that of project: clocks start near FIRST_STEP
    final_gain          1
    output_bias         0
    log_frequency       log-spaced from one turn a window to half a turn a word,
                        a band for each head
    log_damping         amplitude falls to 1/e in TURNS_REMEMBERED turns of a head's
                        slowest oscillator
    ==================  =============================================================
    """
    for name, parameter in module.named_parameters():
        parameter.copy_(_value(name, parameter, shape, seed))


def _value(name: str, parameter: Tensor, shape: DenoiserShape, seed: int) -> Tensor:
    leaf = name.rpartition(".")[2]
    match leaf:
        case "log_frequency":
            return _frequencies(shape).log()
        case "log_damping":
            return _dampings(shape).log()
        case "clock_bias":
            return torch.full_like(parameter, math.log(math.expm1(FIRST_STEP)))
        case "output_bias":
            return torch.zeros_like(parameter)
        case "final_gain":
            return torch.ones_like(parameter)
    fan_in = parameter.shape[1]
    value = _normal(name, parameter, seed) / math.sqrt(fan_in)
    if name.endswith("merge.weight"):
        return value / math.sqrt(shape.num_layers * (shape.mamba_repeat + 2))
    if name.endswith("mixer.project.weight"):
        value[-shape.num_heads :] *= 0.25
    return value


def _normal(name: str, parameter: Tensor, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(stream_key(seed, f"initial:{name}") % 2**63)
    return torch.randn(parameter.shape, generator=generator)


def _frequencies(shape: DenoiserShape) -> Tensor:
    """Radians a word (H, M): head by head from one turn a window to half a turn a word."""
    H, M = shape.num_heads, shape.oscillator_count
    slowest = max(float(shape.sequence_length), FASTEST_PERIOD)
    share = torch.linspace(0.0, 1.0, H * M).view(H, M)
    period = slowest * (FASTEST_PERIOD / slowest) ** share
    return 2 * math.pi / period


def _dampings(shape: DenoiserShape) -> Tensor:
    """Damping for a clock step of 1 (H): by a head's slowest oscillator."""
    return _frequencies(shape)[:, 0] / (2 * math.pi * TURNS_REMEMBERED)
