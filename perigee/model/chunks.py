"""The pieces of a chunk's evaluation: turns, dampings, layouts, and states from chunk to chunk.

N chunks of C words; ``BNH`` runs over batch, chunks and heads. See :mod:`perigee.model.scan`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Complex, Float
from torch import Tensor


class Ends(NamedTuple):
    """How much is left between each word and the ends of its chunk."""

    before: Float[Tensor, "BNH C 1"]
    """From where the state of the words before the chunk stands, to the word."""
    after: Float[Tensor, "BNH C 1"]
    """From the word to the chunk's last."""
    whole: Float[Tensor, "B N H 1 1 1"]
    """From one end to the other."""


def turning(
    time: Float[Tensor, "*size"], frequency: Float[Tensor, "H M"]
) -> Complex[Tensor, "*size M"]:
    """exp(-iw time), for times whose third axis is that of the heads."""
    rates = -frequency if time.dim() == 3 else -frequency[:, None]
    angle = time[..., None] * rates
    return torch.complex(angle.cos(), angle.sin())


def turn_pairs(
    drive_readout: Complex[Tensor, "B N C 2 H M"], turns: Complex[Tensor, "B N H C M"]
) -> Complex[Tensor, "2 B N H C M"]:
    """Drive and readout times exp(-iw time): their real inner products are the kernel's turn."""
    out = torch.empty((2, *turns.shape), dtype=turns.dtype, device=turns.device)
    return torch.mul(drive_readout.permute(3, 0, 1, 4, 2, 5), turns, out=out)


def flatten_pairs(x: Complex[Tensor, "2 B N H C M"]) -> Float[Tensor, "2 BNH C 2M"]:
    """As real rows, ready for batched products; a view."""
    return torch.view_as_real(x).view(2, -1, x.shape[-2], 2 * x.shape[-1])


def as_states(x: Float[Tensor, "BNH 2P 2M"], fade: Tensor) -> Complex[Tensor, "B N H 2 P M"]:
    """States from the rows of a product; a view. ``fade`` tells B, N and H."""
    parts = (*fade.shape[:3], 2, x.shape[1] // 2, x.shape[2] // 2, 2)
    return torch.view_as_complex(x.view(parts))


def as_rows(states: Complex[Tensor, "B N H 2 P M"]) -> Float[Tensor, "BNH 2P 2M"]:
    """The inverse of :func:`as_states`."""
    P, M = states.shape[-2:]
    return torch.view_as_real(states).reshape(-1, 2 * P, 2 * M)


def by_head(x: Float[Tensor, "B N C H P"]) -> Float[Tensor, "BNH C P"]:
    """Words of a head together, ready for batched products; a copy."""
    return x.transpose(2, 3).reshape(-1, x.shape[2], x.shape[4])


def by_word(x: Float[Tensor, "BNH C P"], size: torch.Size) -> Float[Tensor, "B N C H P"]:
    """The inverse of :func:`by_head`; a view."""
    B, N, C, H, P = size
    return x.view(B, N, H, C, P).transpose(2, 3)


def damp_pairs(fade: Float[Tensor, "B N H C"]) -> Float[Tensor, "BNH C C"]:
    """exp(-|u_t - u_s|) of all pairs of words of a chunk."""
    u = fade.reshape(-1, fade.shape[-1])
    return (u[:, :, None] - u[:, None, :]).abs_().neg_().exp_()


def fade_gradient(product: Float[Tensor, "BNH C C"]) -> Float[Tensor, "BNH C"]:
    """Gradient of u from that of the exponents -|u_t - u_s|: later words lose, earlier gain."""
    C = product.shape[-1]
    place = torch.arange(C, dtype=product.dtype, device=product.device)
    signed = product.mul_((place[:, None] - place).sign_())
    return signed.sum(1).sub_(signed.sum(2))


def spread(
    x: Float[Tensor, "BNH C P"],
    right: Float[Tensor, "BNH C 1"],
    left: Float[Tensor, "BNH C 1"],
) -> Float[Tensor, "BNH C 2P"]:
    """``x`` times ``right``, then ``x`` times ``left``, side by side: both directions at once."""
    P = x.shape[-1]
    out = x.new_empty(*x.shape[:-1], 2 * P)
    torch.mul(x, right, out=out[..., :P])
    torch.mul(x, left, out=out[..., P:])
    return out


def damp_ends(fade: Float[Tensor, "B N H C"]) -> Ends:
    """exp(-u) and its like, from the damping u that a chunk's clock has gathered at each word."""
    whole = fade[..., -1:]
    before, after = (-fade).exp_(), (fade - whole).exp_()
    size = (-1, fade.shape[-1], 1)
    return Ends(before.view(size), after.view(size), whole.neg().exp_()[..., None, None])


def carry(
    injected: Complex[Tensor, "B N H 2 P M"],
    whole: Float[Tensor, "B N H 1 1 1"],
    phases: Complex[Tensor, "B N-1 H M"],
    rightwards: int = 0,
) -> Complex[Tensor, "B N H 2 P M"]:
    """States that enter each chunk, damped to where they enter and turned to its middle.

    Of the fourth axis, the entry ``rightwards`` goes X_{n+1} = turn_n (whole_n X_n + J_n) from
    X_0 = 0; the other goes leftwards, X_{n-1} = conj(turn_{n-1}) (whole_n X_n + J_n) from the last.
    """
    N = injected.shape[1]
    phases = phases[..., None, :]
    turns = phases.conj().resolve_conj()
    out = torch.empty_like(injected)
    to_right, to_left = out[:, :, :, rightwards], out[:, :, :, 1 - rightwards]
    to_right[:, 0].zero_()
    to_left[:, -1].zero_()
    torch.mul(injected[:, :-1, :, rightwards], turns, out=to_right[:, 1:])
    torch.mul(injected[:, 1:, :, 1 - rightwards], phases, out=to_left[:, :-1])
    right, left = to_right.unbind(1), to_left.unbind(1)
    right_factor = (turns * whole[:, :-1, :, 0]).unbind(1)
    left_factor = (phases * whole[:, 1:, :, 0]).unbind(1)
    for n in range(1, N - 1):
        right[n + 1].addcmul_(right_factor[n], right[n])
        left[N - 2 - n].addcmul_(left_factor[N - 2 - n], left[N - 1 - n])
    return out
