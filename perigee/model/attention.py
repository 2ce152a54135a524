"""Log-window attention: each word sees the words within a radius that grows with log2 of L."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention

from perigee.model.shape import DenoiserShape

ROTARY_BASE = 10_000.0
"""Ratio of the slowest to the fastest rotary wavelength (RoFormer, arXiv 2104.09864)."""

QUERY_BLOCK = 64
"""Queries that share one stretch of keys."""


class LogWindowAttention(nn.Module):
    """Banded multi-head attention with rotary positions, O(L r) in time and memory.

    A window of n words (padding not counted) has the radius ``shape.radius(n)``.
    """

    def __init__(self, shape: DenoiserShape) -> None:
        super().__init__()
        self.shape = shape
        self.project = nn.Linear(shape.model_dim, 3 * shape.inner_dim, bias=False)
        self.merge = nn.Linear(shape.inner_dim, shape.model_dim, bias=False)

    def forward(
        self, x: Float[Tensor, "B L D"], is_padding: Bool[Tensor, "B L"] | None = None
    ) -> Float[Tensor, "B L D"]:
        """Attend within the radius; nothing attends to padding."""
        H, P = self.shape.num_heads, self.shape.head_dim
        queries, keys, values = self.project(x).view(*x.shape[:2], 3, H, P).unbind(2)
        radius = radii(self.shape, x, is_padding)
        cosine, sine = rotary_table(x.shape[1], P, x.device)
        y = banded_attention(
            rotate(queries, cosine, sine), rotate(keys, cosine, sine), values, radius, is_padding
        )
        out: Tensor = self.merge(y.flatten(-2))
        return out


def radii(
    shape: DenoiserShape, x: Float[Tensor, "B L D"], is_padding: Bool[Tensor, "B L"] | None
) -> list[int]:
    """Attention radius of each row of the batch, by its number of words without padding."""
    if is_padding is None:
        return [shape.radius(x.shape[1])] * x.shape[0]
    return [shape.radius(int(words)) for words in (~is_padding).sum(1).tolist()]


def rotary_table(
    length: int, head_dim: int, device: torch.device
) -> tuple[Float[Tensor, "L P/2"], Float[Tensor, "L P/2"]]:
    """Cosine and sine of the rotary angles of positions 0 ... length - 1."""
    # In float64: a phase error must not grow with the position.
    pair = torch.arange(head_dim // 2, dtype=torch.float64, device=device)
    wave_number = ROTARY_BASE ** (-2.0 * pair / head_dim)
    angle = torch.arange(length, dtype=torch.float64, device=device)[:, None] * wave_number
    return angle.cos(), angle.sin()


def rotate(
    x: Float[Tensor, "B L H P"], cosine: Float[Tensor, "L P/2"], sine: Float[Tensor, "L P/2"]
) -> Float[Tensor, "B L H P"]:
    """Turn the pairs (i, i + P/2) of channels by their positions' angles."""
    first, second = x.chunk(2, -1)
    cosine, sine = cosine[:, None].to(x.dtype), sine[:, None].to(x.dtype)
    return torch.cat((first * cosine - second * sine, first * sine + second * cosine), -1)


def banded_attention(
    queries: Float[Tensor, "B L H P"],
    keys: Float[Tensor, "B L H P"],
    values: Float[Tensor, "B L H P"],
    radius: list[int],
    is_padding: Bool[Tensor, "B L"] | None = None,
    block: int = QUERY_BLOCK,
) -> Float[Tensor, "B L H P"]:
    """Attention of each position to those at most ``radius`` (one for each row) away.

    The queries are cut into blocks; a block sees one stretch of ``block + 2 * reach`` keys, so
    scores take O(L (block + reach)). Padding as a query sees itself only, and is finite.
    """
    B, L = queries.shape[:2]
    reach = min(max(radius), L - 1)
    # A stretch that would hold nearly every key is one block.
    block = L if max(2 * block, reach + block) >= L else block
    reach = 0 if block == L else reach
    N = -(-L // block)
    tail = N * block - L
    queries = pad(queries, (0, 0, 0, 0, 0, tail)).reshape(B * N, block, *queries.shape[2:])
    keys, values = (
        pad(x, (0, 0, 0, 0, reach, reach + tail))
        .unfold(1, block + 2 * reach, block)
        .movedim(-1, 2)
        .flatten(0, 1)
        for x in (keys, values)
    )
    visible = _visible(L, N, block, reach, radius, is_padding, queries.device)
    out = scaled_dot_product_attention(
        queries.transpose(1, 2), keys.transpose(1, 2), values.transpose(1, 2), attn_mask=visible
    )
    return out.transpose(1, 2).reshape(B, N * block, *queries.shape[2:])[:, :L]


def _visible(
    L: int,
    N: int,
    block: int,
    reach: int,
    radius: list[int],
    is_padding: Bool[Tensor, "B L"] | None,
    device: torch.device,
) -> Bool[Tensor, "BN 1 Q K"]:
    """Which key of its stretch each query of a block sees."""
    query: Int[Tensor, "N Q"] = torch.arange(N * block, device=device).view(N, block)
    key: Int[Tensor, "N K"] = query[:, :1] - reach + torch.arange(block + 2 * reach, device=device)
    distance = (query[:, :, None] - key[:, None, :]).abs()
    limit = torch.tensor(radius, device=device)[:, None, None, None]
    is_key = (key >= 0) & (key < L)
    if is_padding is not None:
        is_key = is_key & ~is_padding[:, key.clamp(0, L - 1)]
    else:
        is_key = is_key[None]
    visible = (distance <= limit) & is_key[:, :, None, :]
    return (visible | (distance == 0)).flatten(0, 1)[:, None]
