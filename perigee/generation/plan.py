"""Blocks: which positions are denoised together, seen through which window, in how many steps."""

from __future__ import annotations

from dataclasses import dataclass

from perigee.errors import GenerationError
from perigee.generation.request import DEFAULT_CONTINUATION, DEFAULT_LENGTH, Request


@dataclass(frozen=True)
class BlockPlan:
    """Positions [start, stop), seen by the network through [window_start, window_stop)."""

    start: int
    stop: int
    window_start: int
    window_stop: int
    steps: int


def choose_length(request: Request, prompt_words: int, has_places: bool, window: int) -> int:
    """Positions of the text, prompt included.

    Raises
    ------
    GenerationError
        If the prompt does not fit the window, or leaves no room in the length asked for.
    """
    if prompt_words > window:
        raise GenerationError(
            f"the prompt has {prompt_words} words",
            expected=f"at most the {window} of the model's window",
            remedy="shorten it",
        )
    if request.length == 0:
        if has_places:
            return prompt_words
        wanted = max(DEFAULT_LENGTH, prompt_words + DEFAULT_CONTINUATION)
        length = min(window, wanted)
    else:
        length = request.length
    if length < prompt_words or (length == prompt_words and not has_places):
        raise GenerationError(
            f"length {length} leaves nothing to write after a prompt of {prompt_words} words",
            expected=f"a length above {prompt_words}",
        )
    return length


def plan_blocks(request: Request, first_open: int, length: int, window: int) -> list[BlockPlan]:
    """Divide the positions from ``first_open`` on into blocks, the steps in proportion.

    The network sees the whole text where it fits the window; otherwise the window that ends with
    the block, or the text's first.

    Raises
    ------
    GenerationError
        If a block is longer than the window, or there are more blocks than steps.
    """
    size = request.block_length or (length if length <= window else max(1, window // 2))
    if size > window and length > window:
        raise GenerationError(
            f"block length {size}", expected=f"at most the model's window, {window} words"
        )
    starts = list(range(first_open, length, size))
    if len(starts) > request.steps:
        raise GenerationError(
            f"{request.steps} steps for {len(starts)} blocks of {size} words",
            expected=f"at least {len(starts)} steps",
        )
    ends = [round(request.steps * (i + 1) / len(starts)) for i in range(len(starts))]
    blocks = []
    for start, before, after in zip(starts, [0, *ends], ends, strict=False):
        stop = min(length, start + size)
        window_stop = min(length, max(stop, window))
        window_start = max(0, window_stop - window)
        blocks.append(BlockPlan(start, stop, window_start, window_stop, after - before))
    return blocks
