"""The numbers that fix a denoiser's shape, and what follows from them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from perigee.errors import ArtifactError
from perigee.settings import Settings

CHUNK = 32
"""Words that the oscillators take as one matrix product. On CPU cores 16, 32 and 64 cost alike."""

QUERY_BLOCK = 64
"""Queries of the attention that share one stretch of keys."""


def band_blocks(length: int, radius: int, block: int = QUERY_BLOCK) -> tuple[int, int]:
    """Queries of a block, and how many keys its stretch has before and after it.

    Scores take O(L (block + radius)): a stretch has ``block + 2 * reach`` keys. Stretches overlap
    and are copied, so that up to 3/2 of one a single block without a copy is no slower.
    """
    reach = min(radius, length - 1)
    if 2 * length <= 3 * (block + 2 * reach):
        return length, 0
    return block, reach


@dataclass(frozen=True)
class DenoiserShape:
    """The shape of a :class:`~perigee.model.denoiser.Denoiser` (design, section 6)."""

    vocabulary_size: int
    """Words and special tokens, V."""
    model_dim: int
    """Width of the residual stream, D."""
    num_heads: int
    """Heads of mixers and attention, H; need not divide ``model_dim``."""
    oscillator_count: int
    """Damped oscillators a head, M."""
    num_layers: int
    """Residual blocks."""
    mamba_repeat: int
    """Oscillator mixers in a block."""
    radius_factor: float
    """Words of attention radius for each doubling of the length."""
    base_radius: int
    """Words added to the attention radius."""
    min_radius: int
    """Smallest attention radius, words."""
    max_radius: int
    """Largest attention radius, words."""
    sequence_length: int
    """Words in a training window: the longest period of the oscillators at the start.
    Any length can be denoised."""

    @property
    def head_dim(self) -> int:
        """Channels a head, P: D / H rounded up to an even number, for the rotary pairs."""
        return 2 * math.ceil(self.model_dim / (2 * self.num_heads))

    @property
    def inner_dim(self) -> int:
        """Channels of all heads, H * P; D where D / H is an even number."""
        return self.num_heads * self.head_dim

    @property
    def feedforward_dim(self) -> int:
        """Hidden channels of a feed-forward: 8/3 of D, rounded up to a multiple of 32."""
        return 32 * math.ceil(8 * self.model_dim / (3 * 32))

    def radius(self, length: int) -> int:
        """Attention radius in words for ``length`` words: a word sees that many on each side."""
        grown = math.ceil(self.radius_factor * math.log2(max(length, 1))) + self.base_radius
        return min(max(grown, self.min_radius), self.max_radius)

    def to_dict(self) -> dict[str, Any]:
        """The fields, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> DenoiserShape:
        """The inverse of :meth:`to_dict`.

        Raises
        ------
        ArtifactError
            If a field is missing or unknown.
        """
        known = {field.name for field in fields(cls)}
        if missing := sorted(known - set(values)):
            raise ArtifactError(f"the model's shape lacks {', '.join(missing)}")
        if unknown := sorted(set(values) - known):
            raise ArtifactError(f"the model's shape has unknown {', '.join(unknown)}")
        return cls(**{name: values[name] for name in known})


def shape_from_settings(settings: Settings, vocabulary_size: int) -> DenoiserShape:
    """The shape that ``[model]`` and the windows' length ask for."""
    model = settings.model
    return DenoiserShape(
        vocabulary_size=vocabulary_size,
        model_dim=model.model_dim,
        num_heads=model.num_heads,
        oscillator_count=model.oscillator_count,
        num_layers=model.num_layers,
        mamba_repeat=model.mamba_repeat,
        radius_factor=model.radius_factor,
        base_radius=model.base_radius,
        min_radius=model.min_radius,
        max_radius=model.max_radius,
        sequence_length=settings.training.sequence_length,
    )
