"""The terms of the loss and of the bound: the cross-entropies of everything that is masked."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from perigee.diffusion.code import PartCode
from perigee.diffusion.crossentropy import CHUNK_BYTES, Piece, WholeWords, head_loss
from perigee.diffusion.denoiser import Denoiser
from perigee.diffusion.forward import Corruption
from perigee.diffusion.marginals import AllHidden, SomeSeen


class Terms(NamedTuple):
    """Cross-entropies of one batch of masked windows."""

    total: Float[Tensor, ""]
    """Their weighted sum; carries the gradient."""
    words: Float[Tensor, "B L"]
    """Unweighted, of each word: the sum over what is masked of it, nats; 0 where nothing is.
    float64, without gradient."""

    @property
    def rows(self) -> Float[Tensor, " B"]:
        """Their unweighted sums, row by row, nats."""
        return self.words.sum(1)


def cross_entropies(
    denoiser: Denoiser,
    token_ids: Int[Tensor, "B L"],
    is_padding: Bool[Tensor, "B L"],
    corruption: Corruption,
    weights: Float[Tensor, " B"],
    code: PartCode | None = None,
    chunk_bytes: int = CHUNK_BYTES,
) -> Terms:
    """Cross-entropies of all masked units, each weighted by its row's weight.

    ``token_ids`` are the clean windows. Everything but the denoiser lies on the CPU.
    """
    device = denoiser.output_weight.device
    residues = None if corruption.residues is None else corruption.residues.to(device)
    states = denoiser.hidden(corruption.token_ids.to(device), is_padding.to(device), residues)
    places = corruption.is_masked.flatten().nonzero().squeeze(1)
    places_there = places.to(device)
    total, losses = head_loss(
        states.flatten(0, 1).index_select(0, places_there),
        denoiser.output_weight,
        denoiser.output_bias,
        weights[places // token_ids.shape[1]].to(device),
        _pieces(corruption, token_ids.flatten()[places].long(), places, code, device),
        chunk_bytes,
    )
    # Scattered to their own places, not added by index: the order of sums never varies.
    losses_at = torch.zeros(token_ids.numel(), dtype=torch.float64, device=device)
    losses_at[places_there] = losses.double()
    return Terms(total, losses_at.view(token_ids.shape))


def _pieces(
    corruption: Corruption,
    targets: Int[Tensor, " K"],
    places: Int[Tensor, " K"],
    code: PartCode | None,
    device: torch.device,
) -> list[Piece]:
    """Masked positions by what is seen of them: nothing of a whole word, or which of its parts."""
    if corruption.is_hidden is None:
        rows = torch.arange(len(places), device=device)
        return [WholeWords(rows, targets.to(device))]
    assert code is not None, "hidden parts need a code"
    is_whole = corruption.is_whole.flatten()[places]
    is_hidden = corruption.is_hidden.flatten(0, 1)[places]
    rows = is_whole.nonzero().squeeze(1)
    pieces: list[Piece] = [WholeWords(rows.to(device), targets[rows].to(device))]
    for pattern in torch.unique(is_hidden[~is_whole], dim=0):
        rows = ((is_hidden == pattern).all(-1) & ~is_whole).nonzero().squeeze(1)
        seen = tuple((~pattern).nonzero().squeeze(1).tolist())
        if seen:
            pieces.append(SomeSeen(rows, targets[rows], code, seen))
        else:
            pieces.append(AllHidden(rows.to(device), targets[rows], code))
    return pieces
