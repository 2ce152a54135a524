r"""Banks of damped oscillators along a clock, in both directions, evaluated by chunks.

Word t stands at the time :math:`S_t = \sum_{u \le t} \Delta_u` of a clock with steps
:math:`\Delta_t \ge 0`. Oscillator m has the eigenvalue :math:`\lambda = -a + iw`; word t drives it
with :math:`b_t v_t` and reads it with :math:`c_t`. From left to right

.. math::
    Z_t = e^{\lambda\Delta_t} Z_{t-1} + b_t v_t, \qquad
    y_t = \mathrm{Re} \sum_m \bar c_t Z_t ,

and from right to left along the same clock, the oscillator turning the other way,
:math:`Z_t = e^{\bar\lambda\Delta_{t+1}} Z_{t+1} + b_t v_t`. Both together are the kernel

.. math::
    y_t = \sum_s \mathrm{Re} \sum_m \bar c_t \, e^{-a|S_t - S_s| + iw(S_t - S_s)} \, b_s \, v_s ,

damped by the distance and turned by the *signed* distance, so that left and right differ; a word's
own drive counts once. The kernel is a factor of t times a factor of s: a chunk of C words is a few
matrix products, and one state of 2M x P numbers passes between neighbouring chunks
(Mamba-2, arXiv 2405.21060, section 6).

A factor of s grows as :math:`e^{aS_s}`. Times are taken relative to the middle of their chunk, and
the caller keeps :math:`a\Delta_t \le` :data:`LARGEST_DECAY`, so no factor leaves
:math:`e^{\pm C\,\mathrm{LARGEST\_DECAY}/2}`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Complex, Float
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad

CHUNK = 32
"""Words evaluated as one matrix product. Measured on two CPU cores (D = 128, H = 8, M = 16): 16 and
32 cost alike, 64 half as much again; fewer states pass with 32."""

LARGEST_DECAY = 120.0 / CHUNK
"""Bound of a * Delta, the damping of one step: factors stay in e^-60 ... e^60, in float32's range
with room for sums. A bound of 3.75 still lets one step forget all but 2.4 % of a state."""


def oscillate(
    steps: Float[Tensor, "B L H"],
    drive_readout: Float[Tensor, "B L 2 H M 2"],
    values: Float[Tensor, "B L H P"],
    damping: Float[Tensor, "H M"],
    frequency: Float[Tensor, "H M"],
    chunk: int = CHUNK,
) -> Float[Tensor, "B L H P"]:
    """Drive the oscillators with ``values`` in both directions and read them out; see the module.

    Parameters
    ----------
    steps:
        Delta, the clock's steps, with ``damping * steps <= LARGEST_DECAY``.
    drive_readout:
        b, then c, as pairs of real and imaginary part.
    values:
        v.
    damping, frequency:
        a > 0 and w (radians), for a clock step of 1.
    chunk:
        Words evaluated as one matrix product.
    """
    length = steps.shape[1]
    chunk = min(chunk, length)
    if short := -length % chunk:
        steps = pad(steps, (0, 0, 0, short))
        drive_readout = pad(drive_readout, (0, 0) * 4 + (0, short))
        values = pad(values, (0, 0, 0, 0, 0, short))
    B, N = steps.shape[0], steps.shape[1] // chunk
    clock = steps.view(B, N, chunk, -1).transpose(2, 3).cumsum(-1)
    half = 0.5 * clock[..., -1:]
    run: Callable[..., Tensor] = _Oscillate.apply
    # Autocast would take the products to bfloat16, whose phases are off after a few words.
    with torch.autocast(steps.device.type, enabled=False):
        out = run(
            clock - half,
            half[..., 0],
            _as_complex(drive_readout.reshape(B, N, chunk, *drive_readout.shape[2:])),
            values.reshape(B, N, chunk, *values.shape[2:]),
            damping,
            frequency,
        )
    return out.reshape(B, N * chunk, *values.shape[2:])[:, :length]


def _as_complex(pairs: Float[Tensor, "*size 2"]) -> Complex[Tensor, "*size"]:
    if any(stride % 2 for stride in pairs.stride()[:-1]) or pairs.storage_offset() % 2:
        pairs = pairs.contiguous()
    return torch.view_as_complex(pairs)


class _Oscillate(torch.autograd.Function):
    """All chunks at once. The backward pass recomputes all but the states: they are cheap."""

    @staticmethod
    def forward(
        ctx: Any,
        time: Float[Tensor, "B N H C"],
        half: Float[Tensor, "B N H"],
        drive_readout: Complex[Tensor, "B N C 2 H M"],
        values: Float[Tensor, "B N C H P"],
        damping: Float[Tensor, "H M"],
        frequency: Float[Tensor, "H M"],
    ) -> Float[Tensor, "B N C H P"]:
        early, late, _, _ = _factors(time, drive_readout, damping, frequency)
        v = _by_head(values)
        y = torch.bmm(_kernel(early, late), v)
        states = None
        if half.shape[1] > 1:
            factor = _half_factor(half, damping, frequency)
            injected = _two_products(v.mT, late[0], early[0], half.shape).mul_(factor)
            states = _carry(injected, factor)
            right, left = _flat(states * factor)
            y.baddbmm_(early[1], right.mT).baddbmm_(late[1], left.mT)
        ctx.save_for_backward(time, half, drive_readout, values, damping, frequency, states)
        return _by_word(y, values.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Float[Tensor, "B N C H P"]) -> tuple[Tensor, ...]:
        time, half, drive_readout, values, damping, frequency, states = ctx.saved_tensors
        early, late, decayed, grown = _factors(time, drive_readout, damping, frequency)
        v, dy = _by_head(values), _by_head(grad)
        dkernel = torch.bmm(dy, v.mT)
        below, above = dkernel.tril(), dkernel.triu_(1)
        dearly, dlate = torch.empty_like(early), torch.empty_like(late)
        torch.bmm(above.mT, late[1], out=dearly[0])
        torch.bmm(below, late[0], out=dearly[1])
        torch.bmm(below.mT, early[1], out=dlate[0])
        torch.bmm(above, early[0], out=dlate[1])
        dv = torch.bmm(_kernel(early, late).mT, dy)
        dhalf, ddamping, dfrequency = (torch.zeros_like(x) for x in (half, damping, frequency))
        if states is not None:
            factor = _half_factor(half, damping, frequency)
            met = states * factor
            right, left = _flat(met)
            dearly[1].baddbmm_(dy, right)
            dlate[1].baddbmm_(dy, left)
            dmet = _two_products(dy.mT, early[1], late[1], half.shape)
            # The adjoint of carrying to the right is carrying to the left.
            dinjected = _carry((dmet * factor.conj()).flip(0), factor).flip(0)
            dright, dleft = _flat(dinjected * factor.conj())
            dlate[0].baddbmm_(v, dright)
            dearly[0].baddbmm_(v, dleft)
            dv.baddbmm_(late[0], dright.mT).baddbmm_(early[0], dleft.mT)
            dhalf, ddamping, dfrequency = _half_gradients(
                met.conj().mul_(dmet), states, dinjected, factor, half, damping, frequency
            )
        size = (2, *time.shape, damping.shape[1], 2)
        early, late, dearly, dlate = (
            torch.view_as_complex(x.view(size)) for x in (early, late, dearly, dlate)
        )
        dtime, a, w = _time_gradients(early, late, dearly, dlate, time, damping, frequency)
        dearly.mul_(decayed.conj()).addcmul_(dlate, grown.conj())
        ddrive_readout = dearly.permute(1, 2, 4, 0, 3, 5)
        dvalues = _by_word(dv, values.shape)
        return dtime, dhalf, ddrive_readout, dvalues, ddamping + a, dfrequency + w


def _by_head(x: Float[Tensor, "B N C H P"]) -> Float[Tensor, "BNH C P"]:
    return x.transpose(2, 3).reshape(-1, x.shape[2], x.shape[4])


def _by_word(x: Float[Tensor, "BNH C P"], size: torch.Size) -> Float[Tensor, "B N C H P"]:
    B, N, C, H, P = size
    return x.view(B, N, H, C, P).transpose(2, 3)


def _factors(
    time: Float[Tensor, "B N H C"],
    drive_readout: Complex[Tensor, "B N C 2 H M"],
    damping: Float[Tensor, "H M"],
    frequency: Float[Tensor, "H M"],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Drive and readout (stacked) times exp((-a - iw) time), and times exp((a - iw) time).

    Their real inner products are the kernel: left to right, a readout of the first with a drive of
    the second; right to left, a readout of the second with a drive of the first.
    """
    relative = time[..., None]
    decay = torch.exp(relative * -damping[:, None])
    angle = relative * -frequency[:, None]
    cosine, sine = angle.cos(), angle.sin()
    decayed = torch.complex(cosine * decay, sine * decay)
    decay.reciprocal_()
    grown = torch.complex(cosine.mul_(decay), sine.mul_(decay))
    pair = drive_readout.permute(3, 0, 1, 4, 2, 5)
    early, late = torch.empty((2, 2, *decayed.shape), dtype=decayed.dtype, device=time.device)
    torch.mul(pair, decayed, out=early)
    torch.mul(pair, grown, out=late)
    return _flat(early), _flat(late), decayed, grown


def _flat(x: Complex[Tensor, "2 B N H R M"]) -> Float[Tensor, "2 BNH R 2M"]:
    return torch.view_as_real(x).view(2, -1, x.shape[-2], 2 * x.shape[-1])


def _kernel(
    early: Float[Tensor, "2 BNH C 2M"], late: Float[Tensor, "2 BNH C 2M"]
) -> Float[Tensor, "BNH C C"]:
    """Influence of each word of a chunk (second) on each (first)."""
    rightwards = torch.bmm(early[1], late[0].mT)
    leftwards = torch.bmm(late[1], early[0].mT)
    C = early.shape[2]
    is_past = torch.ones(C, C, dtype=torch.bool, device=early.device).tril()
    # The halves that are dropped may have overflowed: select, never multiply.
    return torch.where(is_past, rightwards, leftwards)


def _two_products(
    x: Float[Tensor, "BNH P C"],
    right: Float[Tensor, "BNH C 2M"],
    left: Float[Tensor, "BNH C 2M"],
    size: torch.Size,
) -> Complex[Tensor, "2 B N H P M"]:
    """Products of ``x`` with both."""
    out = torch.empty((2, *x.shape[:2], right.shape[2]), dtype=x.dtype, device=x.device)
    torch.bmm(x, right, out=out[0])
    torch.bmm(x, left, out=out[1])
    return torch.view_as_complex(out.view(2, *size, x.shape[1], -1, 2))


def _half_factor(
    half: Float[Tensor, "B N H"], damping: Float[Tensor, "H M"], frequency: Float[Tensor, "H M"]
) -> Complex[Tensor, "2 B N H 1 M"]:
    """What carries a state over half a chunk: rightwards exp(lambda half), leftwards its conjugate.

    By halves, because a whole chunk's factor underflows where a half's, met by the growth of the
    other factors, does not.
    """
    half = half[..., None]
    factor = torch.polar(torch.exp(half * -damping), half * frequency)[..., None, :]
    return torch.stack((factor, factor.conj()))


def _carry(
    injected: Complex[Tensor, "2 B N H P M"], factor: Complex[Tensor, "2 B N H 1 M"]
) -> Complex[Tensor, "2 B N H P M"]:
    """States at the border where they enter each chunk: from the left, and from the right.

    Rightwards X_{n+1} = f_n^2 X_n + J_n from X_0 = 0; leftwards X_{n-1} = f_n^2 X_n + J_n from the
    last.
    """
    N = injected.shape[2]
    out = torch.empty_like(injected)
    out[0, :, 0].zero_()
    out[1, :, -1].zero_()
    out[0, :, 1:] = injected[0, :, :-1]
    out[1, :, :-1] = injected[1, :, 1:]
    rightwards, leftwards = out[0].unbind(1), out[1].unbind(1)
    right_factor, left_factor = (x.unbind(1) for x in factor.square())
    for n in range(1, N - 1):
        rightwards[n + 1].addcmul_(right_factor[n], rightwards[n])
        leftwards[N - 2 - n].addcmul_(left_factor[N - 1 - n], leftwards[N - 1 - n])
    return out


def _half_gradients(
    product: Complex[Tensor, "2 B N H P M"],
    states: Complex[Tensor, "2 B N H P M"],
    dinjected: Complex[Tensor, "2 B N H P M"],
    factor: Complex[Tensor, "2 B N H 1 M"],
    half: Float[Tensor, "B N H"],
    damping: Float[Tensor, "H M"],
    frequency: Float[Tensor, "H M"],
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of half, damping and frequency.

    The exponent lambda half of chunk n is in what meets its middle (``product``), in its injection
    J_n and twice in f_n^2 X_n; the last two are (X_{n+1} + f_n^2 X_n) dJ_n.
    """
    passed = states * factor.square()
    passed[0, :, :-1] += states[0, :, 1:]
    passed[1, :, 1:] += states[1, :, :-1]
    exponent = torch.addcmul(product, dinjected, passed.conj()).sum(-2)
    real, imaginary = exponent.real.sum(0), exponent.imag[0] - exponent.imag[1]
    dhalf = (imaginary * frequency - real * damping).sum(-1)
    far = half[..., None]
    return dhalf, -(far * real).sum((0, 1)), (far * imaginary).sum((0, 1))


def _time_gradients(
    early: Complex[Tensor, "2 B N H C M"],
    late: Complex[Tensor, "2 B N H C M"],
    dearly: Complex[Tensor, "2 B N H C M"],
    dlate: Complex[Tensor, "2 B N H C M"],
    time: Float[Tensor, "B N H C"],
    damping: Float[Tensor, "H M"],
    frequency: Float[Tensor, "H M"],
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of time, damping and frequency: those of an exponent are d(f) conj(f)."""
    first = (dearly * early.conj()).sum(0)
    second = (dlate * late.conj()).sum(0)
    real, imaginary = second.real - first.real, -(first.imag + second.imag)
    dtime = (real * damping[:, None]).add_(imaginary * frequency[:, None]).sum(-1)
    relative = time[..., None]
    return dtime, (real * relative).sum((0, 1, 3)), (imaginary * relative).sum((0, 1, 3))
