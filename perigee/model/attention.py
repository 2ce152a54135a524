"""Log-window attention: each word sees the words within a radius that grows with log2 of L."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad, scaled_dot_product_attention

from perigee.model.shape import QUERY_BLOCK, DenoiserShape, band_blocks

ROTARY_BASE = 10_000.0
"""Ratio of the slowest to the fastest rotary wavelength (RoFormer, arXiv 2104.09864)."""


@dataclass(frozen=True)
class Band:
    """Which words see which, worked out once for all layers.

    The queries are cut into blocks; the queries of a block share one stretch of
    ``block + 2 * reach`` keys, so scores take O(L (block + reach)).
    """

    length: int
    """Words, L."""
    block: int
    """Queries of a block."""
    count: int
    """Blocks, N."""
    reach: int
    """Keys of a stretch before and after its block: the largest radius."""
    bias: Float[Tensor, "BN 1 Q K"] | None
    """0 where a query of a block sees a key of its stretch, -inf elsewhere; None: sees all."""
    turn: Complex[Tensor, "L 1 1 P/2"]
    """exp(i angle) of the rotary pairs at each position."""
    dtype: torch.dtype
    """What scores and their sums are computed in."""


def make_band(
    shape: DenoiserShape,
    size: tuple[int, int],
    is_padding: Bool[Tensor, "B L"] | None,
    *,
    device: torch.device,
    dtype: torch.dtype,
    block: int = QUERY_BLOCK,
) -> Band:
    """The band of a batch of ``size`` (B, L), for states of ``dtype``.

    On a CPU attention computes in float32 at least: PyTorch's kernel takes twice the time in
    bfloat16 at a few channels a head. A row of n words (padding not counted) has the radius
    ``shape.radius(n)``. Nothing sees padding but itself, so that its scores are finite.
    """
    B, L = size
    if device.type == "cpu":
        dtype = torch.promote_types(dtype, torch.float32)
    if is_padding is None:
        radius = [shape.radius(L)]
    else:
        radius = [shape.radius(int(words)) for words in (~is_padding).sum(1).tolist()]
    block, reach = band_blocks(L, max(radius), block)
    N = -(-L // block)
    turn = rotary_turns(L, shape.head_dim, device, dtype)
    if is_padding is None and radius[0] >= L - 1:
        return Band(L, block, N, reach, None, turn, dtype)
    query = torch.arange(N * block, device=device).view(N, block)
    key = query[:, :1] - reach + torch.arange(block + 2 * reach, device=device)
    distance = (query[:, :, None] - key[:, None, :]).abs()
    is_key = ((key >= 0) & (key < L))[None]
    if is_padding is not None:
        is_key = is_key & ~is_padding[:, key.clamp(0, L - 1)]
    limit = torch.tensor(radius, device=device)[:, None, None, None]
    visible = ((distance <= limit) & is_key[:, :, None, :]) | (distance == 0)
    hidden = torch.zeros((), dtype=dtype, device=device).masked_fill(~visible, -torch.inf)
    bias = hidden.expand(B, -1, -1, -1).reshape(B * N, 1, block, -1)
    return Band(L, block, N, reach, bias, turn, dtype)


def rotary_turns(
    length: int, head_dim: int, device: torch.device, dtype: torch.dtype
) -> Complex[Tensor, "L 1 1 P/2"]:
    """exp(i angle) of the rotary pairs at positions 0 ... length - 1."""
    # In float64: a phase error must not grow with the position.
    pair = torch.arange(head_dim // 2, dtype=torch.float64, device=device)
    wave_number = ROTARY_BASE ** (-2.0 * pair / head_dim)
    angle = torch.arange(length, dtype=torch.float64, device=device)[:, None] * wave_number
    turn = torch.polar(torch.ones_like(angle), angle)[:, None, None]
    return turn.to(torch.complex128 if dtype == torch.float64 else torch.complex64)


class LogWindowAttention(nn.Module):
    """Banded multi-head attention with rotary positions, O(L r) in time and memory."""

    def __init__(self, shape: DenoiserShape) -> None:
        super().__init__()
        self.shape = shape
        self.project = nn.Linear(shape.model_dim, 3 * shape.inner_dim, bias=False)
        self.merge = nn.Linear(shape.inner_dim, shape.model_dim, bias=False)

    def forward(self, x: Float[Tensor, "B L D"], band: Band) -> Float[Tensor, "B L D"]:
        """Attend within the band."""
        H, P = self.shape.num_heads, self.shape.head_dim
        projected = self.project(x)
        values = projected[..., 2 * H * P :].view(*x.shape[:2], H, P)
        turned = rotate(projected[..., : 2 * H * P].view(*x.shape[:2], 2, H, P), band.turn)
        y = banded_attention(turned[:, :, 0], turned[:, :, 1], values, band)
        out: Tensor = self.merge(y.reshape(*x.shape[:2], H * P))
        return out


def rotate(
    x: Float[Tensor, "B L R H P"], turn: Complex[Tensor, "L 1 1 P/2"]
) -> Float[Tensor, "B L R H P"]:
    """Turn the pairs (2i, 2i + 1) of channels by their positions' angles; in float32 at least."""
    pairs = x.to(turn.real.dtype).view(*x.shape[:-1], -1, 2)
    return torch.view_as_real(torch.view_as_complex(pairs) * turn).flatten(-2)


def banded_attention(
    queries: Float[Tensor, "B L H P"],
    keys: Float[Tensor, "B L H P"],
    values: Float[Tensor, "B L H P"],
    band: Band,
) -> Float[Tensor, "B L H P"]:
    """Attention of each position to those that ``band`` lets it see; in the values' dtype."""
    B, L, H, P = queries.shape
    dtype = values.dtype
    queries, keys, values = (x.to(band.dtype) for x in (queries, keys, values))
    blocks, stretches = queries, (keys, values)
    if band.count > 1:
        tail = band.count * band.block - L
        blocks = pad(queries, (0, 0, 0, 0, 0, tail)) if tail else queries
        blocks = blocks.reshape(B * band.count, band.block, H, P)
        cut: Callable[..., Tensor] = _Stretches.apply
        stretches = (cut(keys, band), cut(values, band))
    # Autocast would take the scores to bfloat16, whatever the band says.
    with torch.autocast(queries.device.type, enabled=False):
        out = scaled_dot_product_attention(
            blocks.transpose(1, 2),
            stretches[0].transpose(1, 2),
            stretches[1].transpose(1, 2),
            attn_mask=band.bias,
        )
    out = out.transpose(1, 2).reshape(B, band.count * band.block, H, P).to(dtype)
    return out if out.shape[1] == L else out[:, :L]


class _Stretches(torch.autograd.Function):
    """The overlapping stretches of keys of all blocks, (B N) x K; zeros beyond the ends.

    Its gradient is a sum of as many shifted slices as blocks fit into a stretch: several times
    faster on a CPU than that of ``Tensor.unfold``, which scatters.
    """

    @staticmethod
    def forward(ctx: Any, x: Float[Tensor, "B L H P"], band: Band) -> Float[Tensor, "BN K H P"]:
        ctx.band = band
        tail = band.count * band.block - band.length
        padded = pad(x, (0, 0, 0, 0, band.reach, band.reach + tail))
        windows = padded.unfold(1, band.block + 2 * band.reach, band.block).movedim(-1, 2)
        return windows.flatten(0, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Float[Tensor, "BN K H P"]) -> tuple[Tensor, None]:
        band: Band = ctx.band
        N, Q, R = band.count, band.block, band.reach
        grad = grad.view(-1, N, *grad.shape[1:])
        total = grad.new_zeros(grad.shape[0], N * Q + 2 * R, *grad.shape[3:])
        for start in range(0, Q + 2 * R, Q):
            part = grad[:, :, start : start + Q]
            width = part.shape[2]
            size = (part.shape[0], N, width, *part.shape[3:])
            word = total.stride(1)
            stride = (total.stride(0), Q * word, word, *total.stride()[2:])
            total.as_strided(size, stride, total.storage_offset() + start * word).add_(part)
        return total[:, R : R + band.length], None
