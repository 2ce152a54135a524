"""The SwiGLU feed-forward."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import silu

from perigee.model.shape import DenoiserShape


class FeedForward(nn.Module):
    """SwiGLU: merge(silu(gate) * value), each position by itself (arXiv 2002.05202)."""

    def __init__(self, shape: DenoiserShape) -> None:
        super().__init__()
        self.project = nn.Linear(shape.model_dim, 2 * shape.feedforward_dim, bias=False)
        self.merge = nn.Linear(shape.feedforward_dim, shape.model_dim, bias=False)

    def forward(self, x: Float[Tensor, "B L D"]) -> Float[Tensor, "B L D"]:
        """Transform each position."""
        gate, value = self.project(x).chunk(2, -1)
        out: Tensor = self.merge(silu(gate) * value)
        return out
