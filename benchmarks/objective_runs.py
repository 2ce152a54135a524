"""The runs of objective.py: which models and objectives are compared, and with which seeds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from torch import nn

from benchmarks.controls import Ablation, Transformer, ablated
from perigee.diffusion.code import CodeName
from perigee.diffusion.objective import Objective, make_objective
from perigee.diffusion.weights import WeightName
from perigee.model.shape import DenoiserShape

OUTPUT = Path("artifacts/benchmarks/objective")
SPECIAL = 5
"""Ids before the first word's."""
WORDS = 8_000
LENGTH, STEP_WORDS = 128, 2048
SHAPE = DenoiserShape(
    vocabulary_size=WORDS + SPECIAL,
    model_dim=128,
    num_heads=4,
    oscillator_count=8,
    num_layers=3,
    mamba_repeat=1,
    radius_factor=4.0,
    base_radius=24,
    min_radius=24,
    max_radius=64,
    sequence_length=LENGTH,
)

Model = Literal["perigee", "transformer", "autoregressive"]


@dataclass(frozen=True)
class Run:
    """A model, an objective and a seed."""

    name: str
    seed: int = 1
    model: Model = "perigee"
    ablation: Ablation = "none"
    weight: WeightName = "flat"
    code: CodeName = "residues"
    moduli: tuple[int, ...] = ()
    unmask_fraction: float = 0.0
    length: int = LENGTH

    @property
    def shape(self) -> DenoiserShape:
        return replace(SHAPE, sequence_length=self.length)

    @property
    def batch(self) -> int:
        return STEP_WORDS // self.length

    @property
    def key(self) -> str:
        return f"{self.name}-{self.seed}"

    def objective(self) -> Objective:
        return make_objective(
            weight=self.weight,
            code=self.code,
            moduli=self.moduli,
            vocabulary_size=SHAPE.vocabulary_size,
            unmask_fraction=self.unmask_fraction,
        )

    def build(self) -> nn.Module:
        match self.model:
            case "perigee":
                return ablated(
                    self.shape, self.ablation, seed=self.seed, glimpse_moduli=self.moduli
                )
            case "transformer" | "autoregressive":
                shape = replace(self.shape, num_layers=SHAPE.num_layers + 1)
                return Transformer(shape, causal=self.model == "autoregressive", seed=self.seed)


TWO, THREE, FOUR = (83, 97), (13, 23, 29), (5, 11, 13, 17)
DIGITS = (21, 21, 21)
SPLIT = Run("residues-3-u1.0", moduli=THREE, unmask_fraction=1.0)
SOME_SPLIT = Run("residues-3-u0.3", moduli=THREE, unmask_fraction=0.3)
BIDIRECTIONAL = Run("transformer", model="transformer")
AUTOREGRESSIVE = Run("autoregressive", model="autoregressive")
PLAN = (
    Run("whole"),
    SPLIT,
    SOME_SPLIT,
    BIDIRECTIONAL,
    AUTOREGRESSIVE,
    Run("digits-3-u1.0", code="digits", moduli=DIGITS, unmask_fraction=1.0),
    Run("residues-3-u0.6", moduli=THREE, unmask_fraction=0.6),
    Run("whole-bound", weight="bound"),
    Run("no-oscillators", ablation="no oscillators"),
    Run("fixed-clock", ablation="fixed clock"),
    Run("whole", seed=2),
    replace(BIDIRECTIONAL, seed=2),
    replace(SOME_SPLIT, seed=2),
    Run("residues-2-u1.0", moduli=TWO, unmask_fraction=1.0),
    Run("residues-4-u1.0", moduli=FOUR, unmask_fraction=1.0),
    Run("whole-min-snr", weight="min_snr"),
    Run("no-attention", ablation="no attention"),
    Run("one-direction", ablation="one direction"),
    Run("whole", seed=3),
    replace(BIDIRECTIONAL, seed=3),
    replace(SOME_SPLIT, seed=3),
    replace(AUTOREGRESSIVE, seed=2),
    replace(AUTOREGRESSIVE, seed=3),
    replace(SPLIT, seed=2),
    replace(SPLIT, seed=3),
    replace(SPLIT, name="residues-3-u1.0-bound", weight="bound"),
    Run("digits-3-u0.3", code="digits", moduli=DIGITS, unmask_fraction=0.3),
    Run("fixed-clock", seed=2, ablation="fixed clock"),
    Run("fixed-clock", seed=3, ablation="fixed clock"),
    Run("no-oscillators", seed=2, ablation="no oscillators"),
    Run("no-oscillators", seed=3, ablation="no oscillators"),
    Run("one-direction", seed=2, ablation="one direction"),
    Run("one-direction", seed=3, ablation="one direction"),
    Run("no-attention", seed=2, ablation="no attention"),
    Run("no-attention", seed=3, ablation="no attention"),
)
"""The most telling first."""
LONG_PLAN = tuple(
    Run(name, seed=seed, model=model, ablation=ablation)
    for seed in (1, 2, 3)
    for name, model, ablation in (
        ("whole", "perigee", "none"),
        ("fixed-clock", "perigee", "fixed clock"),
        ("transformer", "transformer", "none"),
        ("no-oscillators", "perigee", "no oscillators"),
        ("one-direction", "perigee", "one direction"),
        ("no-attention", "perigee", "no attention"),
    )
)
"""What longer windows are asked: whether models differ where attention does not reach."""


def plan_of(length: int) -> tuple[Run, ...]:
    """The runs on windows of ``length`` words."""
    plan = PLAN if length == LENGTH else LONG_PLAN
    return tuple(replace(run, length=length) for run in plan)


def results_of(length: int) -> Path:
    """Where they leave their figures."""
    return OUTPUT if length == LENGTH else OUTPUT / f"length-{length}"
