"""The reverse step: what a masked word becomes on the way from time t back to an earlier s.

Source: Sahoo et al., "Simple and effective masked diffusion language models" (NeurIPS 2024),
equations 5 to 7: a masked word stays masked with probability (1 - alpha_s) / (1 - alpha_t), and
otherwise becomes what the denoiser says; a visible word is carried over unchanged.
"""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from perigee.diffusion.absorbing import MASK
from perigee.diffusion.schedule import Schedule


def stay_masked(
    schedule: Schedule, earlier: Float[Tensor, "*shape"], later: Float[Tensor, "*shape"]
) -> Float[Tensor, "*shape"]:
    """Probability that what is masked at ``later`` is still masked at ``earlier``."""
    return schedule.masked_share(earlier) / schedule.masked_share(later)


def posterior(
    schedule: Schedule,
    probabilities: Float[Tensor, "*shape V"],
    token_ids: Int[Tensor, "*shape"],
    earlier: Float[Tensor, ""],
    later: Float[Tensor, ""],
) -> Float[Tensor, "*shape V"]:
    """Distribution of the ids at time ``earlier``, given ``token_ids`` at time ``later``.

    ``probabilities`` are the denoiser's, of the clean words; where they have mass on [MASK] it is
    replaced. Visible words keep a probability of one whatever the denoiser thinks of them.
    """
    stay = stay_masked(schedule, earlier, later)
    step = (1.0 - stay) * probabilities
    step[..., MASK] = stay
    return carry_over(step, token_ids)


def carry_over(
    probabilities: Float[Tensor, "*shape V"], token_ids: Int[Tensor, "*shape"]
) -> Float[Tensor, "*shape V"]:
    """Give every visible word the probability one, and leave masked positions as they are."""
    unchanged = one_hot(token_ids.long(), probabilities.shape[-1]).to(probabilities.dtype)
    return unchanged.where((token_ids != MASK).unsqueeze(-1), probabilities)
