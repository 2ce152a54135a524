"""Cross-entropy over a large vocabulary without ever holding all logits.

Rows are taken in pieces, pieces in chunks. A chunk's logits exist once: they become its losses
and, where gradients are wanted, at once its gradients. Nothing is computed twice in the backward
pass, which saves one matrix product in four over recomputing there, for the same memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from perigee.diffusion.absorbing import forbid_

CHUNK_BYTES = 32 * 2**20
"""Budget of a chunk of logits in float32: (rows x V) x 4 bytes."""


@dataclass(frozen=True)
class HeadPass:
    """One pass over the head: what goes in, and where losses and gradients are gathered.

    ``states`` and ``matrix`` are of the type that products are taken in, the others of the type
    that sums are taken in.
    """

    states: Float[Tensor, "N D"]
    matrix: Float[Tensor, "V D"]
    bias: Float[Tensor, " V"]
    weights: Float[Tensor, " N"]
    losses: Float[Tensor, " N"]
    grad_states: Float[Tensor, "N D"] | None
    grad_matrix: Float[Tensor, "V D"] | None
    grad_bias: Float[Tensor, " V"] | None
    chunk_bytes: int

    def chunks(self, rows: Int[Tensor, " K"], width: int) -> Iterator[Int[Tensor, " C"]]:
        """Divide ``rows`` so that ``width`` float32 numbers for each stay within the budget."""
        return iter(torch.split(rows, chunk_rows(width, self.chunk_bytes)))

    def logits(self, states: Float[Tensor, "C D"]) -> Float[Tensor, "C V"]:
        """Logits of all words; those of [PAD] and [MASK] are minus infinity."""
        return forbid_((states @ self.matrix.T).to(self.bias.dtype).add_(self.bias))

    def gather_gradient(
        self,
        rows: Int[Tensor, " C"],
        states: Float[Tensor, "C D"],
        slope: Float[Tensor, "C V"],
    ) -> None:
        """Add the gradients that the loss's derivative by the logits, ``slope``, leads to."""
        assert self.grad_states is not None
        assert self.grad_matrix is not None
        assert self.grad_bias is not None
        self.grad_bias.add_(slope.sum(0))
        slope = slope.to(states.dtype)
        self.grad_states[rows] = (slope @ self.matrix).to(self.bias.dtype)
        self.grad_matrix.add_(slope.T @ states)


@runtime_checkable
class Piece(Protocol):
    """Rows whose losses are computed in one way."""

    def run(self, head: HeadPass) -> None:
        """Fill in the rows' losses and, where wanted, their gradients."""


@dataclass(frozen=True)
class WholeWords:
    """Words of which nothing is seen, each to be told whole: -log p(word)."""

    rows: Int[Tensor, " K"]
    targets: Int[Tensor, " K"]

    def run(self, head: HeadPass) -> None:
        """See :class:`Piece`."""
        width = len(head.matrix)
        for rows, target in zip(
            head.chunks(self.rows, width), head.chunks(self.targets, width), strict=True
        ):
            states, goal = head.states[rows], target[:, None]
            logits = head.logits(states)
            at_goal = logits.gather(1, goal)
            log_norm = softmax_(logits)
            head.losses[rows] = (log_norm - at_goal).squeeze(1)
            if head.grad_states is None:
                continue
            weight = head.weights[rows, None]
            slope = logits.mul_(weight).scatter_add_(1, goal, -weight)
            head.gather_gradient(rows, states, slope)


def softmax_(logits: Float[Tensor, "*rows V"]) -> Float[Tensor, "*rows 1"]:
    """Turn logits into probabilities in place; return the logarithms of the norms.

    One exponential serves the loss and the gradient: on a CPU they are a third of the time.
    """
    highest = logits.amax(-1, keepdim=True)
    norm = logits.sub_(highest).exp_().sum(-1, keepdim=True)
    logits.div_(norm)
    return norm.log_().add_(highest)


def head_loss(
    hidden: Float[Tensor, "N D"],
    output_weight: Float[Tensor, "V D"],
    output_bias: Float[Tensor, " V"],
    weights: Float[Tensor, " N"],
    pieces: Sequence[Piece],
    chunk_bytes: int = CHUNK_BYTES,
) -> tuple[Float[Tensor, ""], Float[Tensor, " N"]]:
    """The weighted sum of the rows' losses, and the losses (without gradient), nats.

    [PAD] and [MASK] have no probability. Products are taken in the type of ``hidden`` (or in that
    of a surrounding autocast), sums in float32 at least. Every row belongs to one piece.
    """
    inputs = (hidden, output_weight, output_bias)
    with_gradient = torch.is_grad_enabled() and any(t.requires_grad for t in inputs)
    kind = hidden.device.type
    autocast = torch.is_autocast_enabled(kind)
    compute = torch.get_autocast_dtype(kind) if autocast else hidden.dtype
    apply: Callable[..., tuple[Tensor, Tensor]] = _HeadLoss.apply
    return apply(*inputs, weights, pieces, chunk_bytes, compute, with_gradient)


def weighted_cross_entropy(
    hidden: Float[Tensor, "N D"],
    output_weight: Float[Tensor, "V D"],
    output_bias: Float[Tensor, " V"],
    targets: Int[Tensor, " N"],
    weights: Float[Tensor, " N"],
    chunk_bytes: int = CHUNK_BYTES,
) -> tuple[Float[Tensor, ""], Float[Tensor, " N"]]:
    """:func:`head_loss` where every row has a whole word to tell."""
    rows = torch.arange(len(hidden), device=hidden.device)
    piece = WholeWords(rows, targets)
    return head_loss(hidden, output_weight, output_bias, weights, [piece], chunk_bytes)


def chunk_rows(width: int, chunk_bytes: int) -> int:
    """Rows of ``width`` float32 numbers that fit the budget, one at least."""
    return max(1, chunk_bytes // (4 * width))


class _HeadLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor,
        weights: Tensor,
        pieces: Sequence[Piece],
        chunk_bytes: int,
        compute: torch.dtype,
        with_gradient: bool,
    ) -> tuple[Tensor, Tensor]:
        sums = torch.promote_types(compute, torch.float32)
        grads = [
            torch.zeros_like(tensor, dtype=sums) if with_gradient else None
            for tensor in (hidden, weight, bias)
        ]
        head = HeadPass(
            states=hidden.to(compute),
            matrix=weight.to(compute),
            bias=bias.to(sums),
            weights=weights.to(sums),
            losses=torch.zeros(len(hidden), dtype=sums, device=hidden.device),
            grad_states=grads[0],
            grad_matrix=grads[1],
            grad_bias=grads[2],
            chunk_bytes=chunk_bytes,
        )
        with torch.autocast(hidden.device.type, enabled=False):
            for piece in pieces:
                piece.run(head)
        ctx.save_for_backward(*grads)
        ctx.dtypes = (hidden.dtype, weight.dtype, bias.dtype)
        ctx.mark_non_differentiable(head.losses)
        # Not a dot product, which a surrounding autocast would take in half precision.
        return (head.losses * head.weights).sum(), head.losses

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        grads = [
            (grad * upstream).to(dtype)
            for grad, dtype in zip(ctx.saved_tensors, ctx.dtypes, strict=True)
        ]
        return (*grads, None, None, None, None, None)
