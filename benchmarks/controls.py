"""The peers' models, and the denoiser with a part taken out, for benchmarks/objective.py.

`Transformer` is what masked-diffusion papers train (MDLM, NeurIPS 2024, without its time
conditioning): pre-norm blocks of full attention with rotary positions and a feed-forward; and,
with a causal mask, an autoregressive language model. Width, feed-forward, norm, tied embeddings and
initial values are the denoiser's, so that what differs is how words are mixed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, linear, rms_norm, scaled_dot_product_attention

from perigee.diffusion.crossentropy import weighted_cross_entropy
from perigee.model import mixer
from perigee.model.denoiser import Denoiser
from perigee.model.feedforward import FeedForward
from perigee.model.initial import initialise
from perigee.model.shape import DenoiserShape
from perigee.randomness import stream_key

START = 1
"""What the autoregressive model reads before a window's first word: [MASK], which is no word."""

Ablation = Literal["none", "no oscillators", "no attention", "fixed clock", "one direction"]


class FullAttention(nn.Module):
    """Multi-head attention of every word to every word, or to none that comes later."""

    def __init__(self, width: int, heads: int, causal: bool) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.project = nn.Linear(width, 3 * width, bias=False)
        self.merge = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        B, L, D = x.shape
        q, k, v = self.project(x).view(B, L, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        out = scaled_dot_product_attention(rotate(q), rotate(k), v, is_causal=self.causal)
        return self.merge(out.transpose(1, 2).reshape(B, L, D))


def rotate(x: Tensor) -> Tensor:
    """Rotary positions on (B, H, L, P), halves of the channels as pairs (arXiv 2104.09864)."""
    L, P = x.shape[-2:]
    wave_number = 10_000.0 ** (-torch.arange(P // 2) * 2.0 / P)
    angle = torch.arange(L)[:, None] * wave_number
    cos, sin = angle.cos().to(x), angle.sin().to(x)
    left, right = x.chunk(2, -1)
    return torch.cat((left * cos - right * sin, right * cos + left * sin), -1)


class Layer(nn.Module):
    """Attention and feed-forward, both pre-norm."""

    def __init__(self, shape: DenoiserShape, causal: bool) -> None:
        super().__init__()
        self.attention = FullAttention(shape.model_dim, shape.num_heads, causal)
        self.feedforward = FeedForward(shape)

    def forward(self, x: Tensor) -> Tensor:
        width = x.shape[-1:]
        x = x + self.attention(rms_norm(x, width))
        return x + self.feedforward(rms_norm(x, width))


class Transformer(nn.Module):
    """A denoiser of whole words; causal: a language model, whose state at i tells word i.

    Windows have no padding here.
    """

    def __init__(self, shape: DenoiserShape, *, causal: bool = False, seed: int = 0) -> None:
        super().__init__()
        self.causal, D = causal, shape.model_dim
        self.embedding = nn.Parameter(torch.empty(shape.vocabulary_size, D))
        self.layers = nn.ModuleList(Layer(shape, causal) for _ in range(shape.num_layers))
        self.final_gain = nn.Parameter(torch.ones(D))
        self.output_bias = nn.Parameter(torch.zeros(shape.vocabulary_size))
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if parameter.dim() == 2:
                    source = torch.Generator().manual_seed(stream_key(seed, name) % 2**63)
                    parameter.normal_(std=parameter.shape[1] ** -0.5, generator=source)
                if name.endswith("merge.weight"):
                    parameter.div_(math.sqrt(2 * shape.num_layers))

    @property
    def output_weight(self) -> Tensor:
        return self.embedding

    def hidden(
        self, token_ids: Tensor, is_padding: Tensor | None = None, residues: Tensor | None = None
    ) -> Tensor:
        assert residues is None, "whole words only"
        assert is_padding is None or not is_padding.any(), "no padding here"
        if self.causal:
            start = torch.full_like(token_ids[:, :1], START)
            token_ids = torch.cat((start, token_ids[:, :-1]), 1)
        x = embedding(token_ids, self.embedding) * math.sqrt(self.embedding.shape[1])
        if torch.is_autocast_enabled(x.device.type):
            x = x.to(torch.get_autocast_dtype(x.device.type))
        for layer in self.layers:
            x = layer(x)
        return rms_norm(x, x.shape[-1:]) * self.final_gain.to(x.dtype)

    def logits(self, hidden: Tensor) -> Tensor:
        return linear(hidden, self.output_weight, self.output_bias)


def next_word_losses(model: Transformer, token_ids: Tensor) -> tuple[Tensor, Tensor]:
    """An autoregressive model's mean cross-entropy, and that of every word (B, L): exact."""
    assert model.causal, "a model that sees what comes has no such likelihood"
    hidden = model.hidden(token_ids).flatten(0, 1)
    weights = torch.full((len(hidden),), 1.0 / len(hidden))
    loss, losses = weighted_cross_entropy(
        hidden, model.output_weight, model.output_bias, token_ids.flatten(), weights
    )
    return loss, losses.view(token_ids.shape)


class Nothing(nn.Module):
    """A branch that adds nothing."""

    def forward(self, x: Tensor, band: object) -> Tensor:
        del band
        return torch.zeros_like(x)


class FixedClockMixer(mixer.OscillatorMixer):
    """Every word takes the same time, learned by head: a mixer that does not select."""

    def clock(self, x: Tensor) -> Tensor:
        return super().clock(torch.zeros_like(x))


def ablated(
    shape: DenoiserShape, ablation: Ablation, *, seed: int, glimpse_moduli: tuple[int, ...] = ()
) -> Denoiser:
    """A denoiser without one of its parts; what stands in its place has as many parameters."""
    match ablation:
        case "no oscillators":  # log-window attention and feed-forward only, a block more for them
            values = shape.to_dict() | {"mamba_repeat": 0, "num_layers": shape.num_layers + 1}
            shape = DenoiserShape.from_dict(values)
        case "no attention":  # a second mixer in its place
            values = shape.to_dict() | {"mamba_repeat": shape.mamba_repeat + 1}
            shape = DenoiserShape.from_dict(values)
        case "none" | "fixed clock" | "one direction":
            pass
    denoiser = Denoiser(shape, seed=seed, glimpse_moduli=glimpse_moduli)
    for block in denoiser.blocks:
        if ablation == "no attention":
            block.attention = Nothing()
        if ablation == "fixed clock":
            block.mixers = nn.ModuleList(FixedClockMixer(shape) for _ in block.mixers)
    initialise(denoiser, shape, seed)
    return denoiser


def oscillate_rightwards(
    steps: Tensor, drive_readout: Tensor, values: Tensor, damping: Tensor, frequency: Tensor
) -> Tensor:
    """What `perigee.model.scan.oscillate` does, from left to right only; O(L^2), plainly."""
    clock = steps.cumsum(1).transpose(1, 2)  # B H L
    angle = clock[..., None] * frequency[:, None]  # B H L M
    turns = torch.polar(torch.ones_like(angle), angle)
    drive, readout = torch.view_as_complex(drive_readout.contiguous()).permute(2, 0, 3, 1, 4)
    distance = clock[..., :, None] - clock[..., None, :]
    past = torch.ones(distance.shape[-2:], dtype=torch.bool, device=steps.device).tril()
    fade = torch.where(past, -damping[:, None, None] * distance, -torch.inf).exp()
    with torch.autocast(steps.device.type, enabled=False):
        # Re of conj(c_t) exp(iw(S_t - S_s)) b_s, as a product of real and imaginary parts.
        seen = torch.view_as_real(readout * turns.conj()).flatten(-2)
        sent = torch.view_as_real(turns.conj() * drive).flatten(-2)
        return (((seen @ sent.mT) * fade) @ values.transpose(1, 2)).transpose(1, 2)


@contextmanager
def rightwards_only(active: bool) -> Iterator[None]:
    """While ``active``, the denoiser's oscillators run from left to right only."""
    both = mixer.oscillate
    if active:
        mixer.oscillate = oscillate_rightwards
    try:
        yield
    finally:
        mixer.oscillate = both
