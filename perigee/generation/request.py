"""What is asked of a sampler: a prompt, a size, a sampler and its settings, a seed."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from perigee.errors import GenerationError

SamplerName = Literal["ancestral", "confidence", "remasking"]
CertaintyName = Literal["probability", "entropy", "margin"]
RemaskingName = Literal["cap", "rescale", "loop"]
ScheduleName = Literal["linear", "cosine"]

DEFAULT_LENGTH = 64
"""Words of a text whose length is not given."""
DEFAULT_CONTINUATION = 32
"""Words added to a prompt that fills, or nearly fills, the default length by itself."""


@dataclass(frozen=True)
class Remasking:
    """How decided words become masked again (ReMDM, arXiv 2503.00307, section 4)."""

    kind: RemaskingName = "cap"
    """cap: sigma_t = min(strength, largest valid); rescale: strength times the largest valid; loop:
    decide ``1 - loop_masked`` of the words in the first quarter of the steps, hold that share for
    half of them while words are remasked with probability ``strength``, then finish."""
    strength: float = 0.02
    """Eta: probability (cap, loop) or factor (rescale), above 0 and at most 1."""
    loop_masked: float = 0.1
    """Share of the words that are masked while ``loop`` loops."""


@dataclass(frozen=True)
class Request:
    """One generation: a prompt denoised ``batch`` times at once.

    Everything that decides the texts is in here and in the checkpoint; row r of a batch draws the
    same numbers whatever the size of the batch.
    """

    prompt: str = ""
    """Beginning of the text; ``[MASK]`` and ``[MASK:5]`` are places to fill in."""
    steps: int = 32
    """Denoising steps for the whole text."""
    length: int = 0
    """Words, prompt included. 0: the prompt's own length if it has places to fill in; otherwise 64
    (or 32 more than the prompt, if that is more), but at most the window."""
    batch: int = 1
    """Texts."""
    sampler: SamplerName = "confidence"
    """Which masked positions are decided in a step."""
    certainty: CertaintyName = "probability"
    """What ``confidence`` ranks positions by: largest probability, entropy, or the margin between
    the two largest probabilities. Never the probability of the word that was drawn."""
    order_noise: float = 0.0
    """``confidence`` only: Gumbel noise on the logarithm of the certainty, scaled by this and by
    the share of words still masked (MaskGIT, arXiv 2202.04200, section 3.2)."""
    remasking: Remasking = field(default_factory=Remasking)
    """``remasking`` only."""
    schedule: ScheduleName = "linear"
    """How the share of masked words falls over the steps: 1 - t, or cos(pi t / 2) of the words are
    known (slow beginning)."""
    temperature: float = 1.0
    """Divides the logits before a word is drawn."""
    top_p: float = 1.0
    """Draw from the smallest set of words that holds this probability."""
    top_k: int = 0
    """Draw from this many of the most probable words; 0 for all."""
    no_repeat: int = 0
    """Repetition guard: a word is not drawn if it stands within this many positions; 0 for off."""
    can_end: bool = True
    """Whether ``[EOS]`` may be drawn, after the last word of the prompt; it ends the text."""
    block_length: int = 0
    """Words that are denoised together, block after block from the left. 0: the whole text, or
    half a window if the text is longer than the window."""
    partial_fraction: float | None = None
    """``ancestral`` with a model that has glimpses: the probability that a position is unmasked
    residue by residue instead of whole. ``None``: as in the model's training."""
    seed: int = 0
    """Decides every draw."""

    @property
    def is_deterministic_order(self) -> bool:
        """Whether the positions follow from what the sampler sees, without a draw."""
        return self.sampler == "confidence" and self.order_noise == 0.0

    @property
    def has_exact_likelihood(self) -> bool:
        """Whether the product of the conditionals along the path is the text's probability."""
        nothing_cut = self.top_p == 1.0 and self.top_k == 0 and self.no_repeat == 0
        return self.is_deterministic_order and self.temperature == 1.0 and nothing_cut


def check_request(request: Request) -> None:
    """Check everything that the prompt and the window do not decide.

    Raises
    ------
    GenerationError
        Naming the argument, its value, and what is allowed.
    """
    for name in ("steps", "batch"):
        _require(name, getattr(request, name), getattr(request, name) >= 1, "at least 1")
    for name in ("length", "top_k", "no_repeat", "block_length", "seed"):
        _require(name, getattr(request, name), getattr(request, name) >= 0, "0 or more")
    _require_real("temperature", request.temperature, low=0.0, high=math.inf, low_allowed=False)
    _require_real("top_p", request.top_p, low=0.0, high=1.0, low_allowed=False)
    _require_real("order_noise", request.order_noise, low=0.0, high=math.inf)
    _require_real("partial_fraction", request.partial_fraction or 0.0, low=0.0, high=1.0)
    remasking = request.remasking
    _require_real("remasking strength", remasking.strength, low=0.0, high=1.0, low_allowed=False)
    _require_real("loop_masked", remasking.loop_masked, low=0.0, high=0.99, low_allowed=False)
    if request.order_noise and request.sampler != "confidence":
        raise GenerationError(
            f"order_noise {request.order_noise} with the {request.sampler} sampler",
            remedy="leave it out, or use the confidence sampler",
        )
    if request.partial_fraction and request.sampler != "ancestral":
        raise GenerationError(
            f"partial unmasking with the {request.sampler} sampler",
            remedy="use the ancestral sampler",
        )


def _require(name: str, value: object, holds: bool, expected: str) -> None:
    if not holds:
        raise GenerationError(f"{name} is {value!r}", expected=expected)


def _require_real(
    name: str, value: float, *, low: float, high: float, low_allowed: bool = True
) -> None:
    above = value >= low if low_allowed else value > low
    range_ = f"{'at least' if low_allowed else 'above'} {low:g}"
    if math.isfinite(high):
        range_ += f" and at most {high:g}"
    _require(name, value, math.isfinite(value) and above and value <= high, range_)
