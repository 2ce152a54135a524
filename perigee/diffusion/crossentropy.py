"""Cross-entropy over a large vocabulary without ever holding all logits.

Rows are taken in chunks. A chunk's logits exist once: they become its losses and, where gradients
are wanted, at once its gradients, so that nothing has to be computed twice in the backward pass.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from perigee.diffusion.absorbing import forbid_

CHUNK_BYTES = 32 * 2**20
"""Budget of a chunk of logits in float32: (rows x V) x 4 bytes."""


def weighted_cross_entropy(
    hidden: Float[Tensor, "N D"],
    output_weight: Float[Tensor, "V D"],
    output_bias: Float[Tensor, " V"],
    targets: Int[Tensor, " N"],
    weights: Float[Tensor, " N"],
    chunk_bytes: int = CHUNK_BYTES,
) -> tuple[Float[Tensor, ""], Float[Tensor, " N"]]:
    """The weighted sum of the rows' cross-entropies, and the cross-entropies (no gradient), nats.

    [PAD] and [MASK] have no probability. Products are taken in the type of ``hidden`` (or in that
    of a surrounding autocast), sums in float32 at least.
    """
    inputs = (hidden, output_weight, output_bias)
    with_gradient = torch.is_grad_enabled() and any(t.requires_grad for t in inputs)
    apply: Callable[..., tuple[Tensor, Tensor]] = _WeightedCrossEntropy.apply
    return apply(*inputs, targets, weights, chunk_bytes, compute_dtype(hidden), with_gradient)


def compute_dtype(hidden: Tensor) -> torch.dtype:
    """The type of the matrix products: autocast's where one is active, else that of ``hidden``."""
    kind = hidden.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden.dtype


def chunk_rows(width: int, chunk_bytes: int) -> int:
    """Rows of ``width`` float32 logits that fit the budget, one at least."""
    return max(1, chunk_bytes // (4 * width))


class _WeightedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor,
        targets: Tensor,
        weights: Tensor,
        chunk_bytes: int,
        compute: torch.dtype,
        with_gradient: bool,
    ) -> tuple[Tensor, Tensor]:
        sums = torch.promote_types(compute, torch.float32)
        matrix = weight.to(compute)
        losses = torch.empty(len(hidden), dtype=sums, device=hidden.device)
        grads = [torch.zeros_like(t, dtype=sums) for t in (hidden, weight, bias)]
        grad_hidden, grad_weight, grad_bias = grads if with_gradient else [None] * 3
        row_weights = weights.to(sums)
        with torch.autocast(hidden.device.type, enabled=False):
            rows = chunk_rows(len(weight), chunk_bytes)
            for start in range(0, len(hidden), rows):
                chunk = slice(start, start + rows)
                states = hidden[chunk].to(compute)
                logits = forbid_((states @ matrix.T).to(sums).add_(bias))
                goal = targets[chunk, None]
                log_norm = logits.logsumexp(-1)
                losses[chunk] = log_norm - logits.gather(1, goal).squeeze(1)
                if not with_gradient:
                    continue
                assert grad_hidden is not None
                assert grad_weight is not None
                assert grad_bias is not None
                factor = row_weights[chunk, None]
                slope = logits.sub_(log_norm[:, None]).exp_().mul_(factor)
                slope.scatter_add_(1, goal, -factor)
                grad_bias += slope.sum(0)
                slope = slope.to(compute)
                grad_hidden[chunk] = slope @ matrix
                grad_weight += slope.T @ states
        ctx.save_for_backward(grad_hidden, grad_weight, grad_bias)
        ctx.dtypes = (hidden.dtype, weight.dtype, bias.dtype)
        ctx.mark_non_differentiable(losses)
        return losses @ row_weights, losses

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        grads = [
            (grad * upstream).to(dtype)
            for grad, dtype in zip(ctx.saved_tensors, ctx.dtypes, strict=True)
        ]
        return (*grads, None, None, None, None, None)
