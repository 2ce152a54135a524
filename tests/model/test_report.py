from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import Tensor

from perigee.model.denoiser import Denoiser
from perigee.model.report import FLOAT_BYTES, report_model
from perigee.model.shape import DenoiserShape

SHAPES = [
    DenoiserShape(300, 32, 4, 4, 2, 2, 1.0, 2, 2, 64, 128),
    DenoiserShape(300, 40, 6, 3, 3, 1, 4.0, 24, 24, 64, 64),
    DenoiserShape(300, 24, 2, 5, 1, 0, 4.0, 24, 24, 64, 24),
]


@pytest.mark.parametrize("shape", SHAPES)
def test_parameters_are_the_models(shape: DenoiserShape) -> None:
    report = report_model(shape, batch=1, glimpse_moduli=(5, 8))
    counted = Denoiser(shape, glimpse_moduli=(5, 8)).parameters_by_part()
    assert {part.name: part.parameters for part in report.parts} == counted


@pytest.mark.parametrize("shape", SHAPES)
def test_kept_activations_are_near_what_autograd_keeps(shape: DenoiserShape) -> None:
    kept: dict[int, Tensor] = {}

    def pack(x: Tensor) -> Tensor:
        kept[x.untyped_storage().data_ptr()] = x
        return x

    denoiser = Denoiser(shape)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        hidden = denoiser.hidden(torch.ones(3, shape.sequence_length, dtype=torch.long))
    own = {p.untyped_storage().data_ptr() for p in denoiser.parameters()}
    real = sum(x.untyped_storage().nbytes() for key, x in kept.items() if key not in own)
    assert hidden.requires_grad
    estimate = report_model(shape, batch=3).memory["activations"]
    assert estimate == pytest.approx(real, rel=0.15)


def test_flops_are_those_of_the_products() -> None:
    # One word sees itself only: scores and states vanish, six operations a weight remain.
    shape = DenoiserShape(300, 32, 4, 4, 2, 2, 1.0, 2, 2, 64, 1)
    report = report_model(shape, batch=7, masked_share=1.0)
    weights = sum(p.numel() for p in Denoiser(shape).parameters() if p.dim() == 2)
    weights -= 4 * 4 * 4  # frequencies
    scores = 3 * (4 * 2 * 4 * (2 * 4 + 8) + 2 * 4 * 32)
    assert report.flops_per_word == 6 * weights + scores
    assert report.flops_per_step == 7 * report.flops_per_word


def test_flops_are_linear_in_the_length() -> None:
    shape = DenoiserShape(300, 32, 4, 4, 2, 2, 0.0, 24, 24, 64, 2048)
    short = report_model(shape, batch=1).flops_per_step
    assert report_model(shape, batch=1, length=16_384).flops_per_step == 8 * short


def test_table_tells_all() -> None:
    report = report_model(SHAPES[0], batch=2)
    table = report.table()
    for word in ("oscillator mixers", "feed-forward", f"{report.parameters:,}", "MiB", "GFLOP"):
        assert word in table
    assert sum(report.memory.values()) > FLOAT_BYTES * report.parameters


def test_needs_no_torch() -> None:
    code = "import sys, perigee.model.report; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
