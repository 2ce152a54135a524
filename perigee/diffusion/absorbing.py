"""The absorbing state: [MASK] is where words go, and, like [PAD], no word ever comes out of it."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

PAD = 0
MASK = 1
FIRST_WORD = 2
"""Ids from here on have probability; those below, [PAD] and [MASK], have none."""


def forbid_(logits: Float[Tensor, "*shape V"]) -> Float[Tensor, "*shape V"]:
    """Set the logits of [PAD] and [MASK] to minus infinity, in place."""
    logits[..., :FIRST_WORD] = -torch.inf
    return logits


def word_log_probabilities(logits: Float[Tensor, "*shape V"]) -> Float[Tensor, "*shape V"]:
    """Log-probabilities over words, in at least float32; minus infinity for [PAD] and [MASK]."""
    dtype = torch.promote_types(logits.dtype, torch.float32)
    return forbid_(logits.to(dtype, copy=True)).log_softmax(-1)


def is_pad(token_ids: Int[Tensor, "B L"]) -> Tensor:
    """Where a window has no word: ``is_padding``."""
    return token_ids == PAD
