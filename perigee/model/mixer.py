"""The oscillator mixer: a selective clock drives banks of damped oscillators both ways."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import silu, softplus

from perigee.model.norm import unit_rms
from perigee.model.scan import oscillate
from perigee.model.shape import DenoiserShape


class OscillatorMixer(nn.Module):
    """Each head drives M damped oscillators along its own clock, in both directions.

    Eigenvalues -a + iw with a = exp(log_damping): every mode decays, whatever is learned. Values v,
    gate, drive b, readout c and the clock's steps are projections of the input.
    The readout is normalised a head, gated and projected back (Mamba-2, arXiv 2405.21060;
    D-LinOSS, arXiv 2505.12171).
    """

    def __init__(self, shape: DenoiserShape) -> None:
        super().__init__()
        H, M, inner = shape.num_heads, shape.oscillator_count, shape.inner_dim
        self.heads, self.oscillators, self.head_dim = H, M, shape.head_dim
        self.parts = (inner, inner, 4 * H * M, H)
        self.project = nn.Linear(shape.model_dim, sum(self.parts), bias=False)
        self.clock_bias = nn.Parameter(torch.empty(H))
        self.log_damping = nn.Parameter(torch.empty(H))
        self.log_frequency = nn.Parameter(torch.empty(H, M))
        self.merge = nn.Linear(inner, shape.model_dim, bias=False)

    def eigenvalues(self) -> tuple[Float[Tensor, " H"], Float[Tensor, "H M"]]:
        """Damping a and frequency w for a clock step of 1, in float32 at least."""
        return _widened(self.log_damping).exp(), _widened(self.log_frequency).exp()

    def clock(self, x: Float[Tensor, "B L H"]) -> Float[Tensor, "B L H"]:
        """Clock steps Delta = softplus(.) > 0."""
        return softplus(_widened(x) + _widened(self.clock_bias))

    def forward(
        self, x: Float[Tensor, "B L D"], is_padding: Bool[Tensor, "B L"] | None = None
    ) -> Float[Tensor, "B L D"]:
        """Mix along the length; padding neither drives the oscillators nor moves the clock."""
        values, gate, drive_readout, clock = self.project(x).split(self.parts, -1)
        steps, values = self.clock(clock), _widened(values)
        if is_padding is not None:
            steps = steps.masked_fill(is_padding[..., None], 0.0)
            values = values.masked_fill(is_padding[..., None], 0.0)
        y = oscillate(
            steps,
            _widened(drive_readout).reshape(*x.shape[:2], 2, self.heads, self.oscillators, 2),
            values.reshape(*x.shape[:2], self.heads, self.head_dim),
            *self.eigenvalues(),
        )
        y = unit_rms(y).flatten(-2).to(x.dtype)
        out: Tensor = self.merge(y * silu(gate))
        return out


def _widened(x: Tensor) -> Tensor:
    """``x`` in float32, or wider if it is: the oscillators accumulate in nothing less."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
