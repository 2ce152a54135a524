"""Loss weights, all positive, all here: what a masked word's cross-entropy counts for at time t.

Only ``bound`` makes a likelihood bound; the others are for training (design, section 7). All but
``flat`` are weights *per unit of t*: an average over times that are not uniform has to be divided
by the times' density.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from perigee.diffusion.schedule import Schedule
from perigee.diffusion.times import density, warp

WeightName = Literal["bound", "flat", "min_snr"]
SNR_LIMIT = 5.0
"""gamma of min-SNR weighting (Hang et al., ICCV 2023, section 3.4)."""


def bound_weight(schedule: Schedule, times: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
    """-alpha' / (1 - alpha): the weight of the continuous-time NELBO; 1 / t for linear alpha.

    Source: Sahoo et al., "Simple and effective masked diffusion language models" (NeurIPS 2024),
    equation 10.
    """
    return -schedule.derivative(times) / schedule.masked_share(times)


def min_snr_weight(schedule: Schedule, times: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
    """The bound's weight with the signal-to-noise ratio cut off at ``SNR_LIMIT``.

    With SNR = alpha / (1 - alpha), the bound's weight is -alpha' (SNR + 1); here it is
    -alpha' (min(SNR, gamma) + 1), so that nearly clean windows do not rule the gradient.
    """
    ratio = schedule.alpha(times) / schedule.masked_share(times)
    return -schedule.derivative(times) * (ratio.clamp(max=SNR_LIMIT) + 1.0)


def mean_masked_share(schedule: Schedule, mask_fraction: float, nodes: int = 4096) -> float:
    """Mean share of masked words over the times of training, by the midpoint rule."""
    uniforms = (torch.arange(nodes, dtype=torch.float64) + 0.5) / nodes
    return float(schedule.masked_share(warp(uniforms, mask_fraction)).mean())


def training_weight(
    name: WeightName, schedule: Schedule, times: Float[Tensor, " B"], mask_fraction: float
) -> Float[Tensor, " B"]:
    """Weight of each row's masked cross-entropies in the training loss.

    ``flat`` counts every masked cross-entropy alike, whatever the times' distribution, scaled so
    that a window's weights sum to its number of words on average, as the bound's do.
    """
    match name:
        case "bound":
            return bound_weight(schedule, times) / density(times, mask_fraction)
        case "min_snr":
            return min_snr_weight(schedule, times) / density(times, mask_fraction)
        case "flat":
            return torch.full_like(times, 1.0 / mean_masked_share(schedule, mask_fraction))
