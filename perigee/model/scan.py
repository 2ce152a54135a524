r"""Banks of damped oscillators along a clock, in both directions, evaluated by chunks.

Word t stands at the time :math:`S_t = \sum_{u \le t} \Delta_u` of its head's clock, whose steps are
:math:`\Delta_t \ge 0`. Oscillator m of the head has the eigenvalue :math:`\lambda_m = -a + iw_m`;
word t drives it with :math:`b_t v_t` and reads it with :math:`c_t`. From left to right

.. math::
    Z_t = e^{\lambda\Delta_t} Z_{t-1} + b_t v_t, \qquad
    y_t = \mathrm{Re} \sum_m \bar c_t Z_t ,

and from right to left along the same clock, the oscillator turning the other way,
:math:`Z_t = e^{\bar\lambda\Delta_{t+1}} Z_{t+1} + b_t v_t`. Both together are the kernel

.. math::
    y_t = \sum_s e^{-a|S_t - S_s|} \; \mathrm{Re} \sum_m \bar c_t e^{iw(S_t - S_s)} b_s \; v_s ,

damped by the distance and turned by the *signed* distance, so that left and right differ; a word's
own drive counts once. The turn is a factor of t times a factor of s, so a chunk of C words is one
C x C product, damped entry by entry, and one state of 2M x P numbers for each direction passes
between neighbouring chunks (Mamba-2, arXiv 2405.21060, section 6).

No exponent is ever positive: nothing overflows, however large a step is. That is why the
oscillators of a head share their damping. With a damping of each oscillator's own the factors of s
grow as :math:`e^{a_m S_s}`, steps must be bounded, and both directions need products of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import Complex, Float
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad

from perigee.model.chunks import (
    Ends,
    as_rows,
    as_states,
    by_head,
    by_word,
    carry,
    damp_ends,
    damp_pairs,
    fade_gradient,
    flatten_pairs,
    spread,
    turn_pairs,
    turning,
)
from perigee.model.shape import CHUNK


def oscillate(
    steps: Float[Tensor, "B L H"],
    drive_readout: Float[Tensor, "B L 2 H M 2"],
    values: Float[Tensor, "B L H P"],
    damping: Float[Tensor, " H"],
    frequency: Float[Tensor, "H M"],
    chunk: int = CHUNK,
) -> Float[Tensor, "B L H P"]:
    """Drive the oscillators with ``values`` in both directions and read them out; see the module.

    Parameters
    ----------
    steps:
        Delta >= 0, the clock's steps.
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
            clock * damping[:, None],
            clock - half,
            (half[:, 1:] + half[:, :-1])[..., 0],
            _as_complex(drive_readout.reshape(B, N, chunk, *drive_readout.shape[2:])),
            values.reshape(B, N, chunk, *values.shape[2:]),
            frequency,
        )
    out = out.reshape(B, N * chunk, *values.shape[2:])
    return out[:, :length] if short else out


def _as_complex(pairs: Float[Tensor, "*size 2"]) -> Complex[Tensor, "*size"]:
    if any(stride % 2 for stride in pairs.stride()[:-1]) or pairs.storage_offset() % 2:
        pairs = pairs.contiguous()
    return torch.view_as_complex(pairs)


class _Oscillate(torch.autograd.Function):
    """All chunks at once. The backward pass recomputes all but the states: they are cheap."""

    @staticmethod
    def forward(
        ctx: Any,
        fade: Float[Tensor, "B N H C"],
        time: Float[Tensor, "B N H C"],
        gap: Float[Tensor, "B N-1 H"],
        drive_readout: Complex[Tensor, "B N C 2 H M"],
        values: Float[Tensor, "B N C H P"],
        frequency: Float[Tensor, "H M"],
    ) -> Float[Tensor, "B N C H P"]:
        drive, readout = flatten_pairs(turn_pairs(drive_readout, turning(time, frequency)))
        v = by_head(values)
        y = torch.bmm(torch.bmm(readout, drive.mT).mul_(damp_pairs(fade)), v)
        states = None
        if gap.shape[1]:
            ends = damp_ends(fade)
            injected = torch.bmm(spread(v, ends.after, ends.before).mT, drive)
            states = carry(as_states(injected, fade), ends.whole, turning(gap, frequency))
            right, left = torch.bmm(readout, as_rows(states).mT).chunk(2, -1)
            y.addcmul_(right, ends.before).addcmul_(left, ends.after)
        ctx.save_for_backward(fade, time, gap, drive_readout, values, frequency, states)
        return by_word(y, values.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Float[Tensor, "B N C H P"]) -> tuple[Tensor, ...]:
        fade, time, gap, drive_readout, values, frequency, states = ctx.saved_tensors
        turns = turning(time, frequency)
        turned = turn_pairs(drive_readout, turns)
        v, dy = by_head(values), by_head(grad)
        dturned, dv, dfade = _backward_inside(turned, fade, v, dy)
        dgap, dfrequency = torch.zeros_like(gap), torch.zeros_like(frequency)
        if states is not None:
            phases, ends = turning(gap, frequency), damp_ends(fade)
            dinjected = _backward_between(
                _Pass(turned, v, dy, states, ends, phases), dturned, dv, dfade
            )
            dturn = _turn_gradient(states, dinjected, phases)
            dgap = (dturn * frequency).sum(-1)
            dfrequency = (dturn * gap[..., None]).sum((0, 1))
        # The derivative by the angle of f is Im(d(f) conj(f)); the angle is -w time.
        product = torch.addcmul(turned[0].conj() * dturned[0], turned[1].conj(), dturned[1])
        dangle = product.imag.neg()
        dtime = (dangle * frequency[:, None]).sum(-1)
        dfrequency = dfrequency + (dangle * time[..., None]).sum((0, 1, 3))
        dpairs = dturned.mul_(turns.conj()).permute(1, 2, 4, 0, 3, 5)
        return dfade, dtime, dgap, dpairs, by_word(dv, values.shape), dfrequency


class _Pass(NamedTuple):
    """What the forward pass between chunks was made from."""

    turned: Complex[Tensor, "2 B N H C M"]
    v: Float[Tensor, "BNH C P"]
    dy: Float[Tensor, "BNH C P"]
    states: Complex[Tensor, "B N H 2 P M"]
    ends: Ends
    phases: Complex[Tensor, "B N-1 H M"]


def _backward_inside(
    turned: Complex[Tensor, "2 B N H C M"],
    fade: Float[Tensor, "B N H C"],
    v: Float[Tensor, "BNH C P"],
    dy: Float[Tensor, "BNH C P"],
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of ``turned``, ``v`` and ``fade`` from the kernel inside the chunks."""
    drive, readout = flatten_pairs(turned)
    damped = damp_pairs(fade)
    kernel = torch.bmm(readout, drive.mT).mul_(damped)
    dv = torch.bmm(kernel.mT, dy)
    dkernel = torch.bmm(dy, v.mT)
    dfade = fade_gradient(kernel.mul_(dkernel)).view_as(fade)
    damped.mul_(dkernel)
    dturned = torch.empty_like(turned)
    ddrive, dreadout = flatten_pairs(dturned)
    torch.bmm(damped, drive, out=dreadout)
    torch.bmm(damped.mT, readout, out=ddrive)
    return dturned, dv, dfade


def _backward_between(
    past: _Pass,
    dturned: Complex[Tensor, "2 B N H C M"],
    dv: Float[Tensor, "BNH C P"],
    dfade: Float[Tensor, "B N H C"],
) -> Complex[Tensor, "B N H 2 P M"]:
    """Add the gradients from what passes between chunks to those given; return the injections'."""
    (drive, readout), (ddrive, dreadout) = flatten_pairs(past.turned), flatten_pairs(dturned)
    before, after, _ = ends = past.ends
    rows = as_rows(past.states)
    met, dmet = torch.bmm(readout, rows.mT), spread(past.dy, before, after)
    dreadout.baddbmm_(dmet, rows)
    dstates = as_states(torch.bmm(dmet.mT, readout), dfade)
    # The adjoint of carrying to the right is carrying to the left.
    dinjected = carry(dstates, ends.whole, past.phases, rightwards=1)
    passed = (rows * as_rows(dinjected)).view(*dfade.shape[:3], -1).sum(-1)
    rows = as_rows(dinjected)
    source, dsource = spread(past.v, after, before), torch.bmm(drive, rows.mT)
    ddrive.baddbmm_(source, rows)
    right, left = dsource.chunk(2, -1)
    dv.addcmul_(right, after).addcmul_(left, before)
    size = (*dfade.shape, 2, right.shape[-1])
    met_right, met_left = met.mul_(dmet).view(size).sum(-1).unbind(-1)
    source_right, source_left = source.mul_(dsource).view(size).sum(-1).unbind(-1)
    dafter, dbefore = source_right + met_left, source_left + met_right
    dfade.add_(dafter).sub_(dbefore)
    dfade[..., -1].sub_(dafter.sum(-1)).sub_(passed * ends.whole[..., 0, 0, 0])
    return dinjected


def _turn_gradient(
    states: Complex[Tensor, "B N H 2 P M"],
    dinjected: Complex[Tensor, "B N H 2 P M"],
    phases: Complex[Tensor, "B N-1 H M"],
) -> Float[Tensor, "B N-1 H M"]:
    """Gradient of the angle by which a state turns from the middle of a chunk to the next."""
    # Rightwards X_{n+1} = turn (...), and the gradient of (...) is dJ_n.
    right = (states[:, 1:, :, 0] * dinjected[:, :-1, :, 0].conj()).sum(-2) * phases
    left = (states[:, :-1, :, 1] * dinjected[:, 1:, :, 1].conj()).sum(-2) * phases.conj()
    return left.imag - right.imag
