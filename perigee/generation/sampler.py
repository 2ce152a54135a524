"""Denoising: from a prompt and masks to texts, a frame a step.

Every sampler is one loop: an :class:`~perigee.generation.order.Order` chooses positions, a
:class:`Writer` puts words there. What the loop never does: compute logits at a position that no one
asks about, or run the network in a step, or for a text, in which nothing changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Protocol

import numpy as np
import torch

from perigee.diffusion.denoiser import Denoiser
from perigee.errors import GenerationError
from perigee.generation.canvas import Canvas, Glance, WordHead
from perigee.generation.order import Choice, Order, build_order
from perigee.generation.plan import BlockPlan, choose_length, plan_blocks
from perigee.generation.prompt import Prompt, read_prompt
from perigee.generation.request import CertaintyName, Request, check_request
from perigee.generation.trajectory import Frame, Trajectory, Wording
from perigee.generation.writers import DrawingWriter, GlimpsingWriter
from perigee.observer import SILENT, Observer
from perigee.tokenizer.prime import BOS, EOS, MASK, PAD, UNK, PrimeTokenizer
from perigee.tokenizer.residues import WordCode

NEVER_DRAWN = (PAD, MASK, UNK, BOS)


class Writer(Protocol):
    """Puts words at chosen positions."""

    def write(self, canvas: Canvas, glance: Glance, choice: Choice, stream: int) -> None:
        """Write what ``choice`` decides; ``stream`` numbers the step's draws."""


def denoise(
    canvas: Canvas,
    head: WordHead,
    blocks: Sequence[tuple[BlockPlan, Order]],
    writer: Writer,
    certainty: CertaintyName,
) -> Iterator[int]:
    """Run all steps on ``canvas``; yields the number of each finished step, from 1.

    Ends early once nothing can change any more.
    """
    finished = 0
    for block, order in blocks:
        columns = np.arange(canvas.token_ids.shape[1])
        is_ahead = (columns >= block.start) & ~canvas.is_given
        is_inside = is_ahead & (columns < block.stop)
        for step in range(block.steps):
            is_reachable = is_inside & ~canvas.is_past_end
            is_open = is_reachable & canvas.is_masked
            glance = Glance(head, canvas, block.window_start, block.window_stop)
            look = partial(glance.certainty, is_open, certainty)
            choice = order.choose(step, finished, is_open, is_reachable & ~canvas.is_masked, look)
            # Words are drawn given what was seen before the step; only then are others taken back.
            if choice.writes:
                writer.write(canvas, glance, choice, finished)
            if choice.is_remasked.any():
                canvas.erase(choice.is_remasked)
            finished += 1
            yield finished
            is_left = is_ahead & canvas.is_masked & ~canvas.is_past_end
            if not order.remasks and not is_left.any():
                return


@torch.inference_mode()
def sample(
    denoiser: Denoiser,
    tokenizer: PrimeTokenizer,
    request: Request,
    observer: Observer = SILENT,
    *,
    window: int,
    code: WordCode | None = None,
    on_frame: Callable[[Frame, Wording], None] | None = None,
) -> Trajectory:
    """Denoise a prompt.

    Parameters
    ----------
    window:
        Positions the denoiser was trained on; longer texts are written block after block.
    code:
        How the denoiser's glimpses divide a word; needed for ``request.partial_fraction``.
    on_frame:
        Called with each frame as soon as it is there, for views that show the work live.

    Raises
    ------
    GenerationError
        If the request cannot be met: see :func:`~perigee.generation.request.check_request` and
        :mod:`~perigee.generation.plan`.
    """
    check_request(request)
    parts = len(code.sizes) if code is not None and request.partial_fraction else 0
    if request.partial_fraction and not parts:
        raise GenerationError(
            "partial unmasking with a model that has no glimpses",
            remedy="leave it out, or train with an unmask_fraction above 0",
        )
    prompt = read_prompt(request.prompt, tokenizer)
    for warning in prompt.warnings:
        observer.say(warning, "warning")
    length = choose_length(request, len(prompt.token_ids), prompt.has_places, window)
    blocks = plan_blocks(request, prompt.first_open, length, window)
    canvas = _first_canvas(request, prompt, length, parts)
    forbidden = NEVER_DRAWN if request.can_end else (*NEVER_DRAWN, EOS)
    head = WordHead(denoiser, forbidden, prompt.last_given + 1)
    wording = Wording(tokenizer, canvas.is_given[0].copy(), prompt.spelling)
    writer = _writer(request, code)
    orders = [(block, build_order(request, block.steps, parts)) for block in blocks]

    frames = [_frame(canvas, 0, None)]
    if on_frame is not None:
        on_frame(frames[0], wording)
    for step in denoise(canvas, head, orders, writer, request.certainty):
        frames.append(_frame(canvas, step, frames[-1]))
        observer.progress("denoising", step, request.steps, "steps")
        if on_frame is not None:
            on_frame(frames[-1], wording)
    return Trajectory(request, wording, tuple(frames), _exact(request, canvas), prompt.warnings)


def _first_canvas(request: Request, prompt: Prompt, length: int, residues: int) -> Canvas:
    words = len(prompt.token_ids)
    token_ids = np.full((request.batch, length), MASK, dtype=np.int64)
    token_ids[:, :words] = prompt.token_ids
    is_given = np.zeros(token_ids.shape, dtype=bool)
    is_given[:, :words] = prompt.token_ids != MASK
    hidden = np.full((*token_ids.shape, residues), -1) if residues else None
    return Canvas(token_ids, is_given, residues=hidden, ends=request.can_end)


def _writer(request: Request, code: WordCode | None) -> Writer:
    drawing = DrawingWriter(request)
    if code is None or not request.partial_fraction:
        return drawing
    return GlimpsingWriter(drawing, code)


def _frame(canvas: Canvas, step: int, before: Frame | None) -> Frame:
    is_changed = np.zeros(canvas.token_ids.shape, dtype=bool)
    residues = None if canvas.residues is None else canvas.residues.copy()
    if before is not None:
        is_changed |= canvas.token_ids != before.token_ids
        if residues is not None and before.residues is not None:
            is_changed |= (residues != before.residues).any(axis=-1)
    return Frame(
        step,
        canvas.token_ids.copy(),
        canvas.is_masked,
        is_changed,
        np.exp(canvas.log_probability),
        residues,
    )


def _exact(request: Request, canvas: Canvas) -> tuple[float, ...] | None:
    if not request.has_exact_likelihood:
        return None
    return tuple(float(value) for value in np.nansum(canvas.log_probability, axis=1))
