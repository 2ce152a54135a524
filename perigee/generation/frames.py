"""Texts side by side in columns that fit a width: for terminals, for files, for pictures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from rich.cells import cell_len, chop_cells

from perigee.generation.trajectory import Frame, Slot, SlotKind, Trajectory, Wording

GAP = 3
"""Cells between two columns."""
LEAST_COLUMN = 24
"""Cells of a column below which columns go under each other instead."""
PLAIN_WIDTH = 100
"""Width of frames.txt, and where a terminal's is not known."""

GREEN, DIM, RESET = "\x1b[32m", "\x1b[2m", "\x1b[0m"


@dataclass(frozen=True)
class Piece:
    """A run of cells in one kind of writing; spaces between words are pieces of kind ``word``."""

    text: str
    kind: SlotKind


Line = tuple[Piece, ...]


def wrap(slots: Sequence[Slot], width: int) -> list[Line]:
    """Lines of at most ``width`` cells.

    Punctuation stays with its word; a word that is longer than a line is broken.
    """
    lines: list[list[Piece]] = [[]]
    used = 0
    for cluster in _clusters(slots, width):
        size = sum(cell_len(slot.text) for slot in cluster)
        space = 1 if used else 0
        if used and used + space + size > width:
            lines.append([])
            used = space = 0
        if space:
            lines[-1].append(Piece(" ", "word"))
        lines[-1].extend(Piece(slot.text, slot.kind) for slot in cluster)
        used += space + size
    return [tuple(line) for line in lines]


def _clusters(slots: Sequence[Slot], width: int) -> Iterable[list[Slot]]:
    cluster: list[Slot] = []
    size = 0
    for slot in slots:
        for number, text in enumerate(chop_cells(slot.text, width)):
            is_attached = slot.is_attached and number == 0
            if cluster and (not is_attached or size + cell_len(text) > width):
                yield cluster
                cluster, size = [], 0
            cluster.append(replace(slot, text=text))
            size += cell_len(text)
    if cluster:
        yield cluster


def line_width(line: Line) -> int:
    """Cells of a line."""
    return sum(cell_len(piece.text) for piece in line)


def lay_out(frame: Frame, wording: Wording, width: int) -> list[Line]:
    """All texts of a frame in columns side by side, as many as fit ``width``; the rest below."""
    batch = len(frame.token_ids)
    fitting = max(1, min(batch, (width + GAP) // (LEAST_COLUMN + GAP)))
    column = max(1, (width - GAP * (fitting - 1)) // fitting)
    lines: list[Line] = []
    for first in range(0, batch, fitting):
        if first:
            lines.append(())
        rows = range(first, min(first + fitting, batch))
        lines += _side_by_side([wrap(wording.slots(frame, row), column) for row in rows], column)
    return lines


def _side_by_side(columns: Sequence[list[Line]], width: int) -> list[Line]:
    lines: list[Line] = []
    for number in range(max(len(column) for column in columns)):
        line: list[Piece] = []
        gap = 0
        for column in columns:
            cells = column[number] if number < len(column) else ()
            if cells and gap:
                line.append(Piece(" " * gap, "word"))
                gap = 0
            line.extend(cells)
            gap += width - line_width(cells) + GAP
        lines.append(tuple(line))
    return lines


def paint(line: Line, has_colour: bool) -> str:
    """A line for a terminal: new words green, glimpses dim; plain without colours."""
    return "".join(_paint(piece) if has_colour else piece.text for piece in line)


def _paint(piece: Piece) -> str:
    match piece.kind:
        case "new":
            return f"{GREEN}{piece.text}{RESET}"
        case "glimpse":
            return f"{DIM}{piece.text}{RESET}"
        case _:
            return piece.text


def heading(frame: Frame, steps: int) -> str:
    """What stands above a block."""
    return f"step {frame.step} of {steps}"


def matrix_block(
    frame: Frame, wording: Wording, *, steps: int, width: int, has_colour: bool
) -> str:
    """One step of the matrix view: a heading, the columns, an empty line."""
    lines = [paint(line, has_colour) for line in lay_out(frame, wording, width)]
    return "\n".join([heading(frame, steps), *lines, "", ""])


def frames_text(trajectories: Sequence[Trajectory], width: int = PLAIN_WIDTH) -> str:
    """What frames.txt holds: one block a step, no colours."""
    return "".join(
        matrix_block(
            frame, trajectory.wording, steps=trajectory.request.steps, width=width, has_colour=False
        )
        for trajectory in trajectories
        for frame in trajectory.frames
    )
