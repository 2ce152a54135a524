"""Slow, obvious references for the model's layers."""

from __future__ import annotations

import torch
from torch import Tensor


def oscillators_step_by_step(
    steps: Tensor, drive_readout: Tensor, values: Tensor, damping: Tensor, frequency: Tensor
) -> Tensor:
    """Both recurrences of ``perigee.model.scan``, word by word, in complex128."""
    drive, readout = torch.view_as_complex(drive_readout.double().contiguous()).unbind(2)
    eigenvalue = torch.complex(-damping.double()[:, None].expand_as(frequency), frequency.double())
    factor = torch.exp(eigenvalue * steps.double()[..., None])[..., None]  # B L H M 1
    driven = drive[..., None] * values.double()[:, :, :, None, :]
    L = steps.shape[1]
    state = torch.zeros_like(driven[:, 0])
    total = []
    for t in range(L):
        state = factor[:, t] * state + driven[:, t]
        total.append(state)
    state = torch.zeros_like(driven[:, 0])
    for t in reversed(range(L - 1)):
        state = factor[:, t + 1].conj() * (state + driven[:, t + 1])
        total[t] = total[t] + state
    return (readout.conj()[..., None] * torch.stack(total, 1)).real.sum(3)


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
