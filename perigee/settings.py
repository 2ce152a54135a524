"""The tables and keys of a settings file: what there is, what it means, what is allowed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


def _limit(value: object) -> object:
    return 0 if value == "all" else value


Positive = Annotated[int, Field(ge=1)]
Natural = Annotated[int, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Limit = Annotated[int, BeforeValidator(_limit), Field(ge=0)]
"""A count of documents or windows; 0 or "all" means all there are."""


class Section(BaseModel):
    """A table of a settings file: no unknown keys, no conversions between types, no changes."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True
    )


class ModelSettings(Section):
    """``[model]``: the shape of the denoiser (design, section 6)."""

    num_layers: Positive = 32
    """Residual blocks."""
    model_dim: Positive = 128
    """Width D, channels."""
    oscillator_count: Positive = 16
    """Damped oscillators a head, M."""
    num_heads: Positive = 8
    """Heads H of the mixers and of the attention, of P = model_dim / num_heads channels each; P is
    rounded up to an even number, so that 12 heads go with 128 channels too."""
    mamba_repeat: Natural = 2
    """Oscillator mixers in a block."""
    radius_factor: Annotated[float, Field(ge=0.0)] = 4.0
    """Words of attention radius for each doubling of the length."""
    base_radius: Natural = 24
    """Words added to the attention radius."""
    min_radius: Positive = 24
    """Smallest attention radius, words."""
    max_radius: Positive = 256
    """Largest attention radius, words."""


class ScheduleSettings(Section):
    """``[training.lr_schedule]``: the learning rate over the optimiser's steps."""

    type: Literal["constant", "cosine", "triangle", "warmup_stable_decay"] = "constant"
    """Shape. ``constant`` also takes a warm-up."""
    warmup_steps: Natural = 0
    """Optimiser steps from zero to the full learning rate (not for ``triangle``)."""
    minimum: Annotated[float, Field(ge=0.0)] = 0.0
    """Learning rate at the low end."""
    period: Natural = 0
    """Optimiser steps of one cosine descent or one triangle; 0 means the whole training."""
    decay_fraction: Fraction = 0.2
    """Share of the training in which ``warmup_stable_decay`` goes down to the minimum."""


class TrainingSettings(Section):
    """``[training]``: windows, optimiser, records, checkpoints."""

    train_path: str = "data_sets/unified.train.raw"
    """Documents to train on."""
    val_path: str = "data_sets/unified.valid.raw"
    """Documents to validate on after each epoch."""
    test_path: str = "data_sets/unified.test.raw"
    """Documents of the final evaluation."""
    sequence_length: Annotated[int, Field(ge=8)] = 2048
    """Words in a window, L."""
    stride: Positive = 2048
    """Words between the beginnings of two windows."""
    max_sequences: Limit = 8192
    """Windows to train on, chosen with the seed; 0 or "all" means all."""
    max_valid_sequences: Limit = 64
    """Windows of each validation and of the evaluation; 0 or "all" means all."""
    batch_size: Positive = 1
    """Windows in an optimiser step, over all processes and accumulations."""
    accumulate: Positive = 1
    """Forward and backward passes a step is divided into; must divide batch_size."""
    processes: Positive = 1
    """Processes of this machine that share each step's batch, one for each card; above 1, torchrun
    starts them. Losses are the same to rounding, weights only as long as that stays small."""
    epochs: Positive = 8
    """Passes over the windows."""
    learning_rate: Annotated[float, Field(gt=0.0)] = 1.5e-4
    """Largest learning rate."""
    mask_fraction: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.5
    """Mean share of masked words in training. Times are drawn as u ** ((1 - m) / m), u uniform, and
    the bound's weights are divided by their density, so that every value trains the same bound;
    0.5 draws times uniformly."""
    unmask_fraction: Fraction = 0.0
    """Probability that a word is masked residue by residue instead of whole (design, section 7)."""
    seed: Natural = 424242
    """Decides windows, order, masks, noise and initial values."""
    vocab_path: str = "artifacts/perigee/perigee_vocab.json"
    """The vocabulary: a JSON array of words in the order of their ids."""
    vocab_size: Annotated[int, Field(ge=1, le=65_531)] = 50_000
    """Words in the vocabulary, special tokens not counted."""
    checkpoint_dir: str = "artifacts/perigee/checkpoints"
    """Directory of the epochs' checkpoints."""
    checkpoint_name: str = "perigee"
    """Epoch N becomes the directory ``<checkpoint_name>_epoch<N>`` (an ending .jls is dropped)."""
    log_path: str = "artifacts/perigee/logs/training_log.jsonl"
    """One JSON object a line: every ``log_every`` steps, and each validation."""
    tensorboard_dir: str = ""
    """Where TensorBoard's event files go; empty for none."""
    use_gpu: bool = True
    """Use a CUDA device if there is one that works; otherwise the CPU, with a warning."""
    optimizer: Literal["adam", "adamw", "muon"] = "adamw"
    """Update rule; ``muon``: Muon for the matrices and AdamW for the rest."""
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.01
    """Decoupled weight decay of matrices (not of gains, biases, frequencies)."""
    lr_schedule: ScheduleSettings = ScheduleSettings()
    """Learning rate over time."""
    gradient_clip: Annotated[float, Field(ge=0.0)] = 1.0
    """Largest global norm of a gradient; 0 for no clipping."""
    ema_decay: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.999
    """Decay a step of the averaged weights that evaluation and generation use; 0 for none."""
    log_every: Positive = 25
    """Optimiser steps between two records."""
    snapshot_minutes: Annotated[float, Field(ge=0.0)] = 10.0
    """Minutes between two snapshots inside an epoch; 0 for none."""
    kept_optimizers: Natural = 0
    """Epochs that keep their optimiser's state, the newest ones; 0: all. Older epochs keep weights,
    averaged weights and results, and take half the space or less. From a released epoch training
    cannot go on: keep 2, and a damaged newest epoch costs one epoch of work, not all."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Arithmetic of the matrix products; auto: bfloat16 where a GPU or a CPU
    has instructions for it, else float32."""
    compile: bool = False
    """torch.compile for the layers around the scan. On a CPU it does not pay: a step takes 8 %
    longer (PyTorch 2.13, LOG.md); on a card it has not been measured."""


class DataSettings(Section):
    """``[data]``: the sources and how much is taken from each."""

    pg19_root: str = ""
    """Directory of the PG-19 parquet shards; empty: the embedded books."""
    openwebtext2: str = ""
    """URL or path of openwebtext2.jsonl.zst.tar; empty: the embedded pages."""
    directory: str = "data_sets"
    """Where the corpora are written."""
    train_limit: Limit = 2000
    """Training documents taken from each source; 0 or "all" means all."""
    valid_limit: Limit = 200
    """Validation documents taken from each source."""
    test_limit: Limit = 200
    """Test documents taken from each source."""
    sampling: Literal["first", "random"] = "first"
    """PG-19: the first documents of a split, as the original, or a seeded choice among all."""
    archive_sampling: Literal["first", "spread"] = "first"
    """OpenWebText2: the first documents of the archive, as the original, or some of every month."""
    mixture: Literal["documents", "windows"] = "documents"
    """Training windows as the documents give them, where a book counts for many pages, or equally
    many from each source."""
    near_duplicates: Fraction = 0.0
    """Share of their runs of five words that two texts have in common (Jaccard's index, estimated
    by MinHash) from which on the later one is left out of the unified corpus, such as 0.8; 0 leaves
    out exact duplicates only. ``[training] seed`` decides the hash functions."""
    embedded_words: Annotated[int, Field(ge=10_000)] = 1_000_000
    """Words of documentation to collect, at the most, when a source is embedded."""


class DiffusionSettings(Section):
    """``[diffusion]``: the forward process and the weight of the training loss."""

    schedule: Literal["linear", "cosine"] = "linear"
    """Noise schedule alpha_t: 1 - t, or cos(pi t / 2)."""
    weight: Literal["bound", "flat", "min_snr"] = "bound"
    """Weight of the training cross-entropies over t; reported figures are bounds all the same."""
    code: Literal["residues", "digits"] = "residues"
    """How a word is divided when it is masked in parts."""
    moduli: tuple[int, ...] = ()
    """Coprime moduli, or bases, of the code; empty: chosen for the vocabulary."""
    evaluation_times: Positive = 8
    """Times drawn for each window of a validation or an evaluation, stratified."""


class GenerationSettings(Section):
    """``[generation]``: how samples are drawn unless the command says otherwise."""

    prompts: tuple[str, ...] = ("Gallia prepares for battle near the capital",)
    """Beginnings of the samples."""
    steps: Positive = 32
    """Denoising steps."""
    sampler: Literal["ancestral", "confidence", "remasking"] = "confidence"
    """Which masked positions are decided in a step."""
    temperature: Annotated[float, Field(gt=0.0)] = 1.0
    """Divides the logits before a word is drawn."""
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """Smallest set of words that holds this probability is drawn from."""
    top_k: Natural = 0
    """Only this many of the most probable words are drawn from; 0 for all."""
    certainty: Literal["probability", "entropy", "margin"] = "probability"
    """What the confidence sampler ranks positions by."""
    order_noise: Annotated[float, Field(ge=0.0)] = 0.0
    """Gumbel noise on the confidence sampler's order; with it there is no exact likelihood."""
    remasking: Literal["cap", "rescale", "loop"] = "cap"
    """How the remasking sampler takes words back (ReMDM, arXiv 2503.00307)."""
    remasking_strength: Annotated[float, Field(gt=0.0, le=1.0)] = 0.02
    """Its eta: the largest probability (cap, loop) or share (rescale) of taking a word back."""
    no_repeat: Natural = 0
    """A word is not drawn if it stands within this many words; 0 for no such guard."""
    block_length: Natural = 0
    """Words denoised together, block after block; 0 for the whole text."""
    length: Natural = 0
    """Words of a sample, prompt included; 0 means 64, or the window if that is shorter."""
    batch: Positive = 1
    """Samples for each prompt."""
    seed: Natural = 0
    """Decides every draw."""


class OperationSettings(Section):
    """``[operation]``: what happens unattended, under Dagster."""

    retraining_cron: str = "0 3 * * 0"
    """When the schedule trains, once it is turned on: five fields of cron, UTC."""
    kept_trainings: Natural = 3
    """Earlier trainings whose checkpoints are kept when other data or settings begin a new one; 0
    keeps all."""


class Settings(Section):
    """A whole settings file."""

    model: ModelSettings = ModelSettings()
    training: TrainingSettings = TrainingSettings()
    data: DataSettings = DataSettings()
    diffusion: DiffusionSettings = DiffusionSettings()
    generation: GenerationSettings = GenerationSettings()
    operation: OperationSettings = OperationSettings()

    @property
    def checkpoint_stem(self) -> str:
        """``checkpoint_name`` without the original's ending."""
        return self.training.checkpoint_name.removesuffix(".jls")

    def checkpoint_path(self, epoch: int) -> Path:
        """Directory of the checkpoint after ``epoch`` (1, 2, ...)."""
        return Path(self.training.checkpoint_dir) / f"{self.checkpoint_stem}_epoch{epoch}"

    def windows_path(self, split: str) -> Path:
        """Arrow file of the windows of ``split`` (train, valid, test)."""
        directory = Path(self.training.vocab_path).parent / "windows"
        return directory / f"{self.checkpoint_stem}.{split}.arrow"

    def raw_path(self, corpus: str, split: str) -> Path:
        """Documents of ``corpus`` (pg19, openwebtext2, unified) for ``split``."""
        if corpus == "unified":
            training = self.training
            paths = {"train": training.train_path, "valid": training.val_path}
            return Path(paths.get(split, training.test_path))
        return Path(self.data.directory) / f"{corpus}.{split}.raw"

    def samples_path(self) -> Path:
        """Directory of the generated samples."""
        return Path(self.training.checkpoint_dir).parent / "samples" / self.checkpoint_stem

    def model_card_path(self) -> Path:
        """Markdown file of the model card."""
        return Path(self.training.checkpoint_dir).parent / f"{self.checkpoint_stem}_model_card.md"

    def evaluation_path(self) -> Path:
        """JSON file of the evaluation."""
        return (
            Path(self.training.checkpoint_dir).parent
            / "evaluation"
            / f"{self.checkpoint_stem}.json"
        )
