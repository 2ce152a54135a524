"""The training loss: masked words' cross-entropies, weighted over time.

Whole words: NELBO = E_t of -alpha' / (1 - alpha) times the sum over masked words of
-log p(x_i | z_t) (Sahoo et al., "Simple and effective masked diffusion language models", NeurIPS
2024, equation 10). Words masked part by part have one term for every hidden part instead, its own
marginal (``diffusion/marginals.py``).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from jaxtyping import Bool, Float, Int
from torch import Tensor

from perigee.diffusion.code import CodeName, PartCode, code_named
from perigee.diffusion.crossentropy import CHUNK_BYTES
from perigee.diffusion.denoiser import Denoiser
from perigee.diffusion.forward import Corruption, choose_units, corrupt
from perigee.diffusion.schedule import LinearSchedule, Schedule, ScheduleName, schedule_named
from perigee.diffusion.terms import cross_entropies
from perigee.diffusion.times import Draws, density, warp
from perigee.diffusion.weights import WeightName, bound_weight, training_weight


@dataclass(frozen=True)
class LossReport:
    """One batch's loss and what is worth recording of it."""

    loss: Float[Tensor, ""]
    """Weighted cross-entropies divided by the number of words; carries the gradient."""
    bound_sum: Float[Tensor, ""]
    """Estimate of the windows' NELBO from these times, nats; no gradient."""
    cross_entropy_sum: Float[Tensor, ""]
    """Unweighted sum of the masked units' cross-entropies, nats; no gradient."""
    words: int
    """Words of the batch: every id but [PAD]."""
    masked_words: int
    """Words of which something was hidden."""
    masked_units: int
    """Words hidden whole, and hidden parts of the others."""

    @property
    def nelbo_per_word(self) -> float:
        """The bound's estimate, nats a word. Reading it waits for the device."""
        return float(self.bound_sum) / max(self.words, 1)

    @property
    def cross_entropy(self) -> float:
        """Mean unweighted cross-entropy of a masked unit, nats. Reading it waits for the device."""
        return float(self.cross_entropy_sum) / max(self.masked_units, 1)


@dataclass(frozen=True)
class Objective:
    """A forward process and a training weight."""

    schedule: Schedule = field(default_factory=LinearSchedule)
    weight: WeightName = "bound"
    code: PartCode | None = None
    """How words divide; needed where ``unmask_fraction`` is above 0."""
    mask_fraction: float = 0.5
    """Mean share of masked words in training under the linear schedule."""
    unmask_fraction: float = 0.0
    """Probability that a word is masked part by part."""
    chunk_bytes: int = CHUNK_BYTES
    """Budget of logits held at a time, as float32."""

    @property
    def parts(self) -> int:
        """Parts R that the draws must have: 0 where all words are masked whole."""
        return len(self.code) if self.code is not None and self.unmask_fraction > 0.0 else 0

    def whole_words(self) -> Objective:
        """The same with whole words only: the process whose bound can be compared with any other.

        It is a bound for a denoiser that was trained on parts too, which only sees less here.
        """
        return replace(self, unmask_fraction=0.0)

    def corrupt(
        self, token_ids: Int[Tensor, "B L"], is_padding: Bool[Tensor, "B L"], draws: Draws
    ) -> tuple[Corruption, Float[Tensor, " B"]]:
        """The forward process of training: masked windows, and their times."""
        times = warp(draws.times, self.mask_fraction)
        units = choose_units(is_padding, draws, self.code, self.unmask_fraction)
        return corrupt(token_ids, units, self.schedule.masked_share(times), self.code), times

    def training_loss(
        self,
        denoiser: Denoiser,
        token_ids: Int[Tensor, "B L"],
        is_padding: Bool[Tensor, "B L"],
        draws: Draws,
        *,
        words: int | None = None,
    ) -> LossReport:
        """The loss of some rows of a step's batch.

        Parameters
        ----------
        denoiser:
            Its ``output_weight`` tells the device; windows and draws may stay on the CPU, where
            choosing the masked positions makes no device wait.
        token_ids, is_padding:
            Clean windows.
        draws:
            From :func:`perigee.diffusion.times.draw_noise`, of ``self.parts`` parts.
        words:
            Divides the loss. The default is these rows' words; give the global batch's where rows
            are spread over accumulations or processes, then the losses *add up* to the batch's.
        """
        token_ids, is_padding = token_ids.cpu(), is_padding.cpu()
        corruption, times = self.corrupt(token_ids, is_padding, draws)
        weights = training_weight(self.weight, self.schedule, times, self.mask_fraction)
        terms = cross_entropies(
            denoiser, token_ids, is_padding, corruption, weights, self.code, self.chunk_bytes
        )
        # A row of weight infinity (t = 0 by underflow) has nothing masked: 0, not infinity times 0.
        bound = bound_weight(self.schedule, times) / density(times, self.mask_fraction)
        bound = bound.nan_to_num(posinf=0.0).to(terms.rows.device)
        own_words = int((~is_padding).sum())
        parts = 0 if corruption.is_hidden is None else int(corruption.is_hidden.sum())
        return LossReport(
            loss=terms.total / max(own_words if words is None else words, 1),
            bound_sum=(terms.rows * bound).sum(),
            cross_entropy_sum=terms.rows.sum(),
            words=own_words,
            masked_words=int(corruption.is_masked.sum()),
            masked_units=int(corruption.is_whole.sum()) + parts,
        )


def make_objective(
    *,
    schedule: ScheduleName = "linear",
    weight: WeightName = "bound",
    code: CodeName = "residues",
    moduli: tuple[int, ...] = (),
    vocabulary_size: int = 0,
    mask_fraction: float = 0.5,
    unmask_fraction: float = 0.0,
) -> Objective:
    """An objective from the values of ``[diffusion]`` and ``[training]``.

    ``moduli`` must be given (chosen by the tokenizer where the settings leave them empty) if
    ``unmask_fraction`` is above 0; otherwise they may be empty, and there is no code.

    Raises
    ------
    SettingsError
        If the moduli cannot code the vocabulary.
    """
    needs_code = bool(moduli) or unmask_fraction > 0.0
    return Objective(
        schedule=schedule_named(schedule),
        weight=weight,
        code=code_named(code, moduli, vocabulary_size) if needs_code else None,
        mask_fraction=mask_fraction,
        unmask_fraction=unmask_fraction,
    )
