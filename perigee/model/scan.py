r"""Banks of damped oscillators along a clock, in both directions, evaluated by chunks.

Oscillator m of a head has the eigenvalue :math:`\lambda = -a + iw`. With the clock's steps
:math:`\Delta_t \ge 0`, inputs :math:`b_t v_t` and readouts :math:`c_t`,

.. math::
    Z_t = e^{\lambda\Delta_t} Z_{t-1} + b_t v_t, \qquad
    y_t = \mathrm{Re} \sum_m \bar c_t \, g \, Z_t ,

and the same from right to left with a gain :math:`g` of its own; the two are added. With the clock
:math:`S_t = \sum_{u \le t} \Delta_u` the kernel :math:`e^{\lambda(S_t - S_s)}` is a factor of t
times a factor of s, so that a chunk of C words is two matrix products, and one state of 2M x P
numbers passes from chunk to chunk (Mamba-2, arXiv 2405.21060, section 6). The right-to-left kernel
:math:`e^{\lambda(E_s - E_t)}` has the clock :math:`E_t = S_{t-1}`: one table serves both.

A factor of s grows as :math:`e^{aS_s}`. Both are taken relative to the middle of their chunk, and
the caller keeps :math:`a\Delta_t \le` :data:`LARGEST_DECAY`, so no factor leaves
:math:`e^{\pm C\,\mathrm{LARGEST\_DECAY}/2}`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

CHUNK = 32
"""Words evaluated as one matrix product."""

LARGEST_DECAY = 120.0 / CHUNK
"""Bound of a * Delta, the damping of one step: factors stay in e^-60 ... e^60, in float32's range
with room for sums. A bound of 3.75 still lets one step forget all but 2.4 % of a state."""


class Bank(NamedTuple):
    """The learned constants of the oscillators of H heads."""

    damping: Float[Tensor, "H M"]
    """a > 0, for a clock step of 1."""
    frequency: Float[Tensor, "H M"]
    """w, radians for a clock step of 1."""
    gain: Float[Tensor, "2 H M 2"]
    """g of both directions (left to right first), real and imaginary part."""


def oscillate(
    steps: Float[Tensor, "B L H"],
    drive: Float[Tensor, "B L H M 2"],
    readout: Float[Tensor, "B L H M 2"],
    values: Float[Tensor, "B L H P"],
    bank: Bank,
    chunk: int = CHUNK,
) -> Float[Tensor, "B L H P"]:
    """Drive the bank with ``values`` in both directions and read it out; see the module.

    Parameters
    ----------
    steps:
        Delta, the clock's steps, with ``damping * steps <= LARGEST_DECAY``.
    drive, readout:
        b and c as pairs of real and imaginary part.
    values:
        v.
    bank:
        Damping, frequency and gains of the oscillators.
    chunk:
        Words evaluated as one matrix product.
    """
    length = steps.shape[1]
    chunk = min(chunk, length)
    short = -length % chunk
    if short:
        steps = pad(steps, (0, 0, 0, short))
        drive, readout = (pad(x, (0, 0, 0, 0, 0, 0, 0, short)) for x in (drive, readout))
        values = pad(values, (0, 0, 0, 0, 0, short))
    by_chunk = [
        x.reshape(x.shape[0], -1, chunk, *x.shape[2:]).transpose(2, 3)
        for x in (steps, drive, readout, values)
    ]
    # Autocast would take the products to bfloat16, whose phases are off after a few words.
    with torch.autocast(steps.device.type, enabled=False):
        out = _oscillate_chunks(by_chunk[0], by_chunk[1], by_chunk[2], by_chunk[3], bank)
    return out.transpose(2, 3).flatten(1, 2)[:, :length]


def _oscillate_chunks(
    steps: Float[Tensor, "B N H C"],
    drive: Float[Tensor, "B N H C M 2"],
    readout: Float[Tensor, "B N H C M 2"],
    values: Float[Tensor, "B N H C P"],
    bank: Bank,
) -> Float[Tensor, "B N H C P"]:
    clock = pad(steps.cumsum(-1), (1, 0))
    half = 0.5 * clock[..., -1:]
    # exp(lambda (S - r)) at the C + 1 borders between the words of a chunk, r its middle.
    relative = (clock - half)[..., None]
    damped = bank.damping[:, None, :] * relative
    angle = bank.frequency[:, None, :] * relative
    wave = torch.stack((angle.cos(), angle.sin()), -1)
    forward, backward = damped.neg().exp()[..., None] * wave, damped.exp()[..., None] * wave
    conjugate = torch.tensor((1.0, -1.0), dtype=wave.dtype, device=wave.device)
    ahead, behind = forward[..., 1:, :, :], backward[..., 1:, :, :] * conjugate
    ahead_of_right, behind_of_right = (
        backward[..., :-1, :, :] * conjugate,
        forward[..., :-1, :, :],
    )
    read = readout * conjugate
    gain = bank.gain[:, :, None]
    queries = torch.stack(
        (
            _times(_times(read, gain[0]), ahead),
            _times(_times(read, gain[1]), ahead_of_right),
        )
    )
    keys = torch.stack((_times(drive, behind), _times(drive, behind_of_right)))
    # Re(q k) = q_re k_re - q_im k_im
    queries, plain_keys = queries.flatten(-2), keys.flatten(-2)
    scores = queries @ (keys * conjugate).flatten(-2).transpose(-1, -2)
    kernel = scores[0].tril() + scores[1].triu()
    injected = plain_keys.transpose(-1, -2) @ values
    injected = injected.reshape(*injected.shape[:4], -1, 2, injected.shape[-1])
    states = _pass_states(injected, half, bank)
    # Re(q z) again, with the state's imaginary part negated.
    incoming = (states * conjugate[:, None]).flatten(-3, -2)
    return kernel @ values + queries[0] @ incoming[0] + queries[1] @ incoming[1]


def _pass_states(
    injected: Float[Tensor, "2 B N H M 2 P"], half: Float[Tensor, "B N H 1"], bank: Bank
) -> Float[Tensor, "2 B N H M 2 P"]:
    """State that enters each chunk, carried to its middle; left to right, then right to left."""
    # (B N H M 1), complex: exp(lambda R / 2) of each chunk.
    step = torch.polar(torch.exp(-bank.damping * half), bank.frequency * half)[..., None]
    inside = torch.complex(injected[..., 0, :], injected[..., 1, :]) * step
    out = []
    for direction, order in ((0, range(step.shape[1])), (1, range(step.shape[1] - 1, -1, -1))):
        state = torch.zeros_like(inside[0, :, 0])
        entered: dict[int, Tensor] = {}
        for n in order:
            carried = step[:, n] * state
            entered[n] = carried
            state = step[:, n] * carried + inside[direction, :, n]
        out.append(torch.stack([entered[n] for n in range(step.shape[1])], 1))
    states = torch.stack(out)
    return torch.stack((states.real, states.imag), -2)


def _times(x: Float[Tensor, "... 2"], y: Float[Tensor, "... 2"]) -> Float[Tensor, "... 2"]:
    """Product of complex numbers held as pairs."""
    return torch.stack(
        (
            x[..., 0] * y[..., 0] - x[..., 1] * y[..., 1],
            x[..., 0] * y[..., 1] + x[..., 1] * y[..., 0],
        ),
        -1,
    )
