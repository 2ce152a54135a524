"""Slow, obvious references for the model's layers."""

from __future__ import annotations

import torch
from torch import Tensor

from perigee.model.scan import Bank


def recurrence(
    steps: Tensor, drive: Tensor, readout: Tensor, values: Tensor, bank: Bank, *, leftwards: bool
) -> Tensor:
    """Z_t = exp(lambda Delta_t) Z_{t-1} + b_t v_t, y_t = Re sum conj(c_t) g Z_t, in complex128."""
    if leftwards:
        flipped = [x.flip(1) for x in (steps, drive, readout, values)]
        bank = Bank(bank.damping, bank.frequency, bank.gain.flip(0))
        return recurrence(*flipped, bank, leftwards=False).flip(1)
    steps, drive, readout, values = (x.double() for x in (steps, drive, readout, values))
    eigenvalue = torch.complex(-bank.damping.double(), bank.frequency.double())
    b, c = (torch.view_as_complex(x.contiguous()) for x in (drive, readout))
    g = torch.view_as_complex(bank.gain[0].double().contiguous())
    B, L, H, M = b.shape
    state = torch.zeros(B, H, M, values.shape[-1], dtype=torch.complex128)
    out = []
    for t in range(L):
        factor = torch.exp(eigenvalue * steps[:, t, :, None])
        state = factor[..., None] * state + b[:, t, :, :, None] * values[:, t, :, None, :]
        out.append((c[:, t].conj() * g)[..., None].mul(state).real.sum(2))
    return torch.stack(out, 1)


def both_directions(
    steps: Tensor, drive: Tensor, readout: Tensor, values: Tensor, bank: Bank
) -> Tensor:
    """The sum of the two recurrences."""
    return sum(
        recurrence(steps, drive, readout, values, bank, leftwards=leftwards)
        for leftwards in (False, True)
    )


def dense_attention(
    queries: Tensor, keys: Tensor, values: Tensor, radius: list[int], is_padding: Tensor | None
) -> Tensor:
    """Masked attention over all pairs, in float64; (B, L, H, P)."""
    q, k, v = (x.double().transpose(1, 2) for x in (queries, keys, values))
    L = q.shape[2]
    distance = (torch.arange(L)[:, None] - torch.arange(L)).abs()
    visible = distance <= torch.tensor(radius)[:, None, None]
    if is_padding is not None:
        visible = visible & ~is_padding[:, None, :]
    visible = visible | (distance == 0)
    scores = (q @ k.transpose(-1, -2)) / q.shape[-1] ** 0.5
    scores = scores.masked_fill(~visible[:, None], -torch.inf)
    return (scores.softmax(-1) @ v).transpose(1, 2)
