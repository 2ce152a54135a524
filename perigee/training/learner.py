"""The one value that a training carries from step to step."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from perigee.diffusion.objective import Objective, make_objective
from perigee.model.denoiser import Denoiser
from perigee.model.shape import shape_from_settings
from perigee.settings import Settings
from perigee.tokenizer.residues import choose_moduli
from perigee.training.averaging import Average
from perigee.training.optimizer import Updater, build_optimizer
from perigee.training.progress import Progress


@dataclass
class Learner:
    """Everything that a resume has to bring back; all else is a function of the settings."""

    denoiser: Denoiser
    average: Average | None
    """Averaged weights; ``None`` for an ``ema_decay`` of 0."""
    optimizer: Updater
    progress: Progress = field(default_factory=Progress)


def build_learner(settings: Settings, vocabulary_size: int, device: torch.device) -> Learner:
    """A learner before its first step: a function of the settings and of their seed."""
    denoiser = build_denoiser(settings, vocabulary_size).to(device)
    training = settings.training
    average = Average(denoiser, training.ema_decay) if training.ema_decay > 0.0 else None
    return Learner(denoiser, average, build_optimizer(denoiser, training, device))


def build_denoiser(settings: Settings, vocabulary_size: int) -> Denoiser:
    """A denoiser of the settings' shape with its initial values."""
    training = settings.training
    shape = shape_from_settings(settings, vocabulary_size)
    moduli = code_moduli(settings, vocabulary_size) if training.unmask_fraction > 0.0 else ()
    return Denoiser(shape, seed=training.seed, glimpse_moduli=moduli)


def build_objective(settings: Settings, vocabulary_size: int) -> Objective:
    """The objective of the settings."""
    training, diffusion = settings.training, settings.diffusion
    return make_objective(
        schedule=diffusion.schedule,
        weight=diffusion.weight,
        code=diffusion.code,
        moduli=code_moduli(settings, vocabulary_size) if training.unmask_fraction > 0.0 else (),
        vocabulary_size=vocabulary_size,
        mask_fraction=training.mask_fraction,
        unmask_fraction=training.unmask_fraction,
    )


def code_moduli(settings: Settings, vocabulary_size: int) -> tuple[int, ...]:
    """Moduli or bases of the code: the settings', or else those that suit the vocabulary."""
    diffusion = settings.diffusion
    if diffusion.moduli:
        return diffusion.moduli
    if diffusion.code == "residues":
        return choose_moduli(vocabulary_size)
    base = 2
    while base**3 < vocabulary_size:
        base += 1
    return (base, base, base)
