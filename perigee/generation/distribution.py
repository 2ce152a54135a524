"""From logits to a word: forbidden words, temperature, top-k, top-p, and one exact draw.

Everything is in float64: Gumbel noise or softmax in float32 silently lowers the temperature
(Zheng et al., arXiv 2409.02908). A word costs one uniform number (inverse distribution function),
not one for each word of the vocabulary.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from perigee.errors import GenerationError
from perigee.generation.request import CertaintyName


def sharpen(
    log_probabilities: Float[Tensor, "N V"], *, temperature: float, top_k: int, top_p: float
) -> Float[Tensor, "N V"]:
    """Probabilities to draw from, rows summing to 1.

    Temperature first, then the top k, then the smallest set of words that holds ``top_p``.
    """
    log_p = log_probabilities
    if temperature != 1.0:
        log_p = (log_p / temperature).log_softmax(dim=-1)
    if top_k and top_k < log_p.shape[-1]:
        kept = log_p.topk(top_k, dim=-1)
        log_p = torch.full_like(log_p, -torch.inf).scatter(-1, kept.indices, kept.values)
        log_p = log_p.log_softmax(dim=-1)
    if top_p < 1.0:
        ordered, order = log_p.sort(dim=-1, descending=True, stable=True)
        before = ordered.exp().cumsum(dim=-1) - ordered.exp()
        ordered = ordered.masked_fill(before >= top_p, -torch.inf)
        log_p = torch.full_like(log_p, -torch.inf).scatter(-1, order, ordered).log_softmax(dim=-1)
    return log_p.exp()


def draw(probabilities: Float[Tensor, "N V"], uniforms: Float[Tensor, " N"]) -> Int[Tensor, " N"]:
    """The word at which the cumulated probability first exceeds each uniform number in [0, 1).

    A word of probability 0 is never drawn.

    Raises
    ------
    GenerationError
        If a distribution is not finite.
    """
    cumulated = probabilities.double().cumsum(dim=-1)
    total = cumulated[:, -1]
    if not bool(total.isfinite().all()):
        raise GenerationError(
            "the model's distribution over words is not finite",
            remedy="take another checkpoint; this one's training has diverged",
        )
    # u * total can round up to the total itself, which no word exceeds.
    threshold = torch.minimum(uniforms.double() * total, total.nextafter(torch.zeros_like(total)))
    return torch.searchsorted(cumulated, threshold[:, None], right=True)[:, 0]


def certainty(logits: Float[Tensor, "N V"], kind: CertaintyName) -> Float[Tensor, " N"]:
    """How certain each distribution is, larger for more; in nats, 0 for a single possible word.

    ``probability``: log of the largest probability. ``entropy``: minus the entropy. ``margin``:
    log of the difference of the two largest probabilities.
    """
    match kind:
        case "probability":
            return logits.amax(dim=-1) - logits.logsumexp(dim=-1)
        case "entropy":
            terms: Tensor = torch.special.entr(logits.softmax(dim=-1))
            return -terms.sum(dim=-1)
        case "margin":
            two = logits.topk(2, dim=-1).values - logits.logsumexp(dim=-1, keepdim=True)
            return (two[:, 0].exp() - two[:, 1].exp()).log()
