"""The denoiser: token states to logits over words."""

from __future__ import annotations

import math
from collections import Counter

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import embedding, linear

from perigee.model.attention import Band, LogWindowAttention, make_band
from perigee.model.feedforward import FeedForward
from perigee.model.initial import initialise
from perigee.model.mixer import OscillatorMixer
from perigee.model.norm import unit_rms
from perigee.model.shape import DenoiserShape


class Block(nn.Module):
    """``mamba_repeat`` oscillator mixers, one log-window attention, one feed-forward; pre-norm."""

    def __init__(self, shape: DenoiserShape) -> None:
        super().__init__()
        self.mixers = nn.ModuleList(OscillatorMixer(shape) for _ in range(shape.mamba_repeat))
        self.attention = LogWindowAttention(shape)
        self.feedforward = FeedForward(shape)

    def forward(
        self, x: Float[Tensor, "B L D"], band: Band, is_padding: Bool[Tensor, "B L"] | None
    ) -> Float[Tensor, "B L D"]:
        """Add every branch to the residual stream."""
        for mixer in self.mixers:
            x = x + mixer(unit_rms(x), is_padding)
        x = x + self.attention(unit_rms(x), band)
        out: Tensor = x + self.feedforward(unit_rms(x))
        return out


class Denoiser(nn.Module):
    """Word ids, some of them [MASK], to a distribution over words at every position.

    It is not told the time: the number of masked words is in what it sees (arXiv 2406.03736).

    Parameters
    ----------
    shape:
        Sizes.
    seed:
        Decides the initial values, and nothing else does.
    glimpse_moduli:
        Moduli of the residue code (partial masking); empty: whole words only.
    """

    def __init__(
        self, shape: DenoiserShape, *, seed: int = 0, glimpse_moduli: tuple[int, ...] = ()
    ) -> None:
        super().__init__()
        self.shape = shape
        self.glimpse_moduli = tuple(glimpse_moduli)
        D = shape.model_dim
        self.embedding = nn.Parameter(torch.empty(shape.vocabulary_size, D))
        self.glimpses = nn.ParameterList(torch.empty(p, D) for p in self.glimpse_moduli)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.num_layers))
        self.final_gain = nn.Parameter(torch.empty(D))
        self.output_bias = nn.Parameter(torch.empty(shape.vocabulary_size))
        initialise(self, shape, seed)

    @property
    def output_weight(self) -> Float[Tensor, "V D"]:
        """Rows of the output layer: the words' embeddings."""
        return self.embedding

    def hidden(
        self,
        token_ids: Int[Tensor, "B L"],
        is_padding: Bool[Tensor, "B L"] | None = None,
        residues: Int[Tensor, "B L R"] | None = None,
    ) -> Float[Tensor, "B L D"]:
        """State of each position, ready for :meth:`logits`.

        ``residues`` holds each word's residue for every one of ``glimpse_moduli``, -1 where hidden.
        Padding changes nothing at the other positions; what stands at padding has no meaning.
        """
        x = embedding(token_ids, self.embedding)
        if residues is not None:
            assert residues.shape[-1] == len(self.glimpse_moduli)
            for column, table in zip(residues.unbind(-1), self.glimpses, strict=True):
                seen = embedding(column.clamp(min=0), table)
                x = x + seen * (column >= 0)[..., None]
        x = x * math.sqrt(self.shape.model_dim)
        if torch.is_autocast_enabled(x.device.type):
            x = x.to(torch.get_autocast_dtype(x.device.type))
        B, L = token_ids.shape
        band = make_band(self.shape, (B, L), is_padding, device=x.device, dtype=x.dtype)
        for block in self.blocks:
            x = block(x, band, is_padding)
        return unit_rms(x) * self.final_gain.to(x.dtype)

    def logits(self, hidden: Float[Tensor, "N D"]) -> Float[Tensor, "N V"]:
        """Scores of all words at the positions asked for."""
        return linear(hidden, self.output_weight, self.output_bias)

    def parameters_by_part(self) -> dict[str, int]:
        """Number of parameters of each part; their sum is the model's."""
        counts: Counter[str] = Counter()
        for name, parameter in self.named_parameters():
            counts[_part(name)] += parameter.numel()
        return dict(counts)


def _part(name: str) -> str:
    for prefix, part in (
        (".mixers.", "oscillator mixers"),
        (".attention", "log-window attention"),
        (".feedforward", "feed-forward"),
    ):
        if prefix in name:
            return part
    if name.startswith(("embedding", "output_bias", "final_gain")):
        return "embedding and head"
    return "glimpses"
