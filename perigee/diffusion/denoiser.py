"""What the objective and the bound need of a denoiser."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from jaxtyping import Bool, Float, Int
from torch import Tensor


@runtime_checkable
class Denoiser(Protocol):
    """Masked windows to states, states to logits over words; knows nothing of t.

    ``logits(hidden)`` is ``hidden @ output_weight.T + output_bias``: the chunked and strided heads
    use the two tensors directly, so that they need not compute what nobody asks for.
    """

    @property
    def output_weight(self) -> Float[Tensor, "V D"]:
        """Matrix of the head."""

    @property
    def output_bias(self) -> Float[Tensor, " V"]:
        """Bias of the head."""

    def hidden(
        self,
        token_ids: Int[Tensor, "B L"],
        is_padding: Bool[Tensor, "B L"] | None = None,
        residues: Int[Tensor, "B L R"] | None = None,
    ) -> Float[Tensor, "B L D"]:
        """States at every position.

        ``residues`` holds, where a word is [MASK] but some of its parts are seen, these parts;
        -1 for hidden parts and wherever a word is whole: visible, masked or padding. ``None`` is
        the same as -1 everywhere.
        """

    def logits(self, hidden: Float[Tensor, "N D"]) -> Float[Tensor, "N V"]:
        """Logits of some states; those of [PAD] and [MASK] mean nothing."""
