"""What a denoiser costs before it is built: parameters, arithmetic and memory, part by part.

Needs no torch, so that ``perigee model`` answers at once. The parameters are exact; the arithmetic
counts the products (2 operations for each multiplication and addition), which are nearly all; the
memory counts what autograd keeps in float32.
"""

from __future__ import annotations

from dataclasses import dataclass

from perigee.model.shape import CHUNK, DenoiserShape, band_blocks

FLOAT_BYTES = 4
COPIES_OF_PARAMETERS = 5
"""Weights, gradients, Adam's two moments, averaged weights."""
LOGIT_BYTES = 96 * 2**20
"""What the head holds at once: logits come in chunks of a third of this."""


@dataclass(frozen=True)
class Part:
    """One kind of layer, all of its instances together."""

    name: str
    count: int
    """Instances."""
    parameters: int
    flops: int
    """Operations for a word, forward."""
    kept: int
    """Numbers that autograd keeps for a word."""


@dataclass(frozen=True)
class ModelReport:
    """A denoiser's parts and what a training step on a batch of them takes."""

    shape: DenoiserShape
    parts: tuple[Part, ...]
    batch: int
    """Windows in a step."""
    length: int
    """Words in a window."""

    @property
    def parameters(self) -> int:
        """Parameters of the whole model."""
        return sum(part.parameters for part in self.parts)

    @property
    def flops_per_word(self) -> int:
        """Operations for a word of a training step: the backward pass takes twice the forward."""
        return 3 * sum(part.flops for part in self.parts)

    @property
    def flops_per_step(self) -> int:
        """Operations of a training step."""
        return self.flops_per_word * self.batch * self.length

    @property
    def memory(self) -> dict[str, int]:
        """Bytes of a training step, by purpose."""
        kept = sum(part.kept for part in self.parts) * self.batch * self.length
        logits = self.shape.vocabulary_size * self.batch * self.length * FLOAT_BYTES * 3
        return {
            "parameters, gradients, moments, averages": (
                COPIES_OF_PARAMETERS * FLOAT_BYTES * self.parameters
            ),
            "activations": FLOAT_BYTES * kept,
            "logits": min(LOGIT_BYTES, logits),
        }

    def table(self) -> str:
        """The report as aligned lines of text."""
        shape, total = self.shape, self.flops_per_word
        lines = [
            f"{shape.num_layers} blocks of {shape.mamba_repeat} oscillator mixers "
            f"({shape.num_heads} heads, {shape.head_dim} channels and {shape.oscillator_count} "
            f"oscillators each), attention (radius {shape.radius(self.length)} at "
            f"{self.length} words), feed-forward ({shape.feedforward_dim}); "
            f"width {shape.model_dim}, {shape.vocabulary_size:,} words",
            "",
            f"{'part':<22}{'layers':>8}{'parameters':>14}{'FLOPs a word':>14}{'share':>8}",
        ]
        for part in self.parts:
            flops = 3 * part.flops
            lines.append(
                f"{part.name:<22}{part.count:>8}{part.parameters:>14,}{flops:>14,}"
                f"{flops / total:>8.1%}"
            )
        lines.append(f"{'all':<22}{'':>8}{self.parameters:>14,}{total:>14,}{1:>8.1%}")
        lines += ["", f"a training step of {self.batch} x {self.length} words:"]
        lines.append(f"  {self.flops_per_step / 1e9:,.1f} GFLOP (forward and backward)")
        lines += [f"  {size / 2**20:,.0f} MiB  {purpose}" for purpose, size in self.memory.items()]
        lines.append(f"  {sum(self.memory.values()) / 2**20:,.0f} MiB  in all, in float32")
        return "\n".join(lines)


def report_model(
    shape: DenoiserShape,
    *,
    batch: int,
    length: int | None = None,
    masked_share: float = 0.5,
    glimpse_moduli: tuple[int, ...] = (),
) -> ModelReport:
    """The report of a model of ``shape`` on batches of ``batch`` windows.

    Parameters
    ----------
    shape:
        Sizes of the model.
    batch:
        Windows in a step.
    length:
        Words in a window; ``None``: ``shape.sequence_length``.
    masked_share:
        Share of the positions that need logits.
    glimpse_moduli:
        As for the denoiser.
    """
    length = shape.sequence_length if length is None else length
    parts = (
        _mixers(shape, length),
        _attention(shape, length),
        _feedforward(shape),
        _head(shape, masked_share),
        Part("glimpses", len(glimpse_moduli), sum(glimpse_moduli) * shape.model_dim, 0, 0),
    )
    return ModelReport(shape, tuple(p for p in parts if p.parameters), batch, length)


def _mixers(shape: DenoiserShape, length: int) -> Part:
    D, H, M, P, inner = _letters(shape)
    count = shape.num_layers * shape.mamba_repeat
    matrices = D * (2 * inner + 4 * H * M + H) + inner * D
    chunk = min(CHUNK, length)
    crosses = length > chunk
    # C x 2M scores, C x P values; for both directions 2M x P into a state and out of it.
    scan = 2 * H * (chunk * (2 * M + P) + crosses * 8 * M * P)
    states = crosses * 4 * H * M * P // chunk
    # Input, projection, readout (plain, normed), gate, product, clock and its kin, scales.
    kept = D + (2 * inner + 4 * H * M + H) + 3 * inner + 7 * H + states + 1
    return Part(
        "oscillator mixers",
        count,
        count * (matrices + 2 * H + H * M),
        count * (2 * matrices + scan),
        count * kept,
    )


def _attention(shape: DenoiserShape, length: int) -> Part:
    D, H, _, _, inner = _letters(shape)
    block, reach = band_blocks(length, shape.radius(length))
    stretch = block + 2 * reach
    matrices = 4 * D * inner
    # Input, projection, turned queries and keys, output; stretches are copies.
    copied = 2 * inner * stretch // block if reach else 0
    kept = D + 3 * inner + 2 * inner + copied + inner + H + 1
    n = shape.num_layers
    return Part(
        "log-window attention",
        n,
        n * matrices,
        n * (2 * matrices + 4 * inner * stretch),
        n * kept,
    )


def _feedforward(shape: DenoiserShape) -> Part:
    D, F, n = shape.model_dim, shape.feedforward_dim, shape.num_layers
    # Input, gate and value, gated, product.
    return Part("feed-forward", n, n * 3 * D * F, n * 6 * D * F, n * (D + 4 * F + 1))


def _head(shape: DenoiserShape, masked_share: float) -> Part:
    D, V = shape.model_dim, shape.vocabulary_size
    flops = round(masked_share * 2 * D * V)
    return Part("embedding and head", 1, V * D + V + D, flops, 3 * D)


def _letters(shape: DenoiserShape) -> tuple[int, int, int, int, int]:
    return (
        shape.model_dim,
        shape.num_heads,
        shape.oscillator_count,
        shape.head_dim,
        shape.inner_dim,
    )
