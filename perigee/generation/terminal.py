"""The matrix and live views: denoising shown on a terminal while it happens."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TextIO

from perigee.generation.frames import (
    PLAIN_WIDTH,
    Line,
    heading,
    lay_out,
    line_width,
    matrix_block,
    paint,
)
from perigee.generation.trajectory import Frame, Wording

ViewName = Literal["matrix", "live"]
Size = Callable[[], tuple[int, int]]
"""Asked at every frame, for windows are resized: (columns, lines)."""


@dataclass(frozen=True)
class Terminal:
    """Where a view is written, and what it can do."""

    stream: TextIO
    size: Size
    is_interactive: bool
    """Whether the cursor can be moved."""
    has_colour: bool


def terminal_of(stream: TextIO, environ: Mapping[str, str]) -> Terminal:
    """What ``stream`` can do: nothing on a pipe or a dumb terminal; no colours with NO_COLOR."""
    is_interactive = stream.isatty() and environ.get("TERM", "") != "dumb"

    def size() -> tuple[int, int]:
        if not is_interactive:
            return PLAIN_WIDTH, 0
        try:
            columns, lines = os.get_terminal_size(stream.fileno())
        except OSError:
            return PLAIN_WIDTH, 24
        # The last column stays free: a line that ends in it leaves some terminals on the next row.
        return max(1, columns - 1), lines

    has_colour = is_interactive and not environ.get("NO_COLOR")
    return Terminal(stream, size, is_interactive, has_colour)


@dataclass
class MatrixView:
    """A block a step, one under the other."""

    terminal: Terminal
    steps: int

    def show(self, frame: Frame, wording: Wording) -> None:
        """Write the frame."""
        terminal = self.terminal
        block = matrix_block(
            frame,
            wording,
            steps=self.steps,
            width=terminal.size()[0],
            has_colour=terminal.has_colour,
        )
        terminal.stream.write(block)
        terminal.stream.flush()

    def finish(self) -> None:
        """Nothing is left to do."""


@dataclass
class LiveView:
    """The same rows rewritten in place. Where the cursor cannot move: only the last frame."""

    terminal: Terminal
    steps: int
    pause: float = 0.0
    """Seconds for which a frame stays at the least."""
    _shown: list[int] = field(default_factory=list)
    """Widths of the lines on the screen, in cells."""
    _last: tuple[Frame, Wording] | None = None

    def show(self, frame: Frame, wording: Wording) -> None:
        """Put the frame in the place of the one before."""
        self._last = frame, wording
        if self.terminal.is_interactive:
            self._rewrite(frame, wording)
            time.sleep(self.pause)

    def finish(self) -> None:
        """Leave the last frame whole, with the cursor below it."""
        if self._last is None:
            return
        frame, wording = self._last
        terminal = self.terminal
        width = terminal.size()[0]
        lines = [paint(line, terminal.has_colour) for line in lay_out(frame, wording, width)]
        self._write([heading(frame, self.steps), *lines])
        self._shown = []

    def _rewrite(self, frame: Frame, wording: Wording) -> None:
        terminal = self.terminal
        width, height = terminal.size()
        lines: list[Line] = lay_out(frame, wording, width)
        # The cursor cannot go back above the screen's first row: a taller block shows its end.
        lines = lines[-max(1, height - 2) :]
        title = heading(frame, self.steps)[:width]
        painted = [title, *(paint(line, terminal.has_colour) for line in lines)]
        self._write(painted)
        self._shown = [len(title), *(line_width(line) for line in lines)]

    def _write(self, lines: list[str]) -> None:
        """Put lines over those on the screen, in one write, with no moment at which it is empty."""
        stream = self.terminal.stream
        if self.terminal.is_interactive:
            # Each row is cleared behind its text, then what is left below. Clearing it all first
            # would flicker, and terminals may keep a copy of a screen that is cleared from its top.
            text = self._back() + "".join(f"{line}\x1b[K\n" for line in lines) + "\x1b[J"
        else:
            text = "".join(f"{line}\n" for line in lines)
        stream.write(text)
        stream.flush()

    def _back(self) -> str:
        """Cursor to the first row of what is shown."""
        if not self._shown:
            return ""
        width = max(1, self.terminal.size()[0])
        # After the window became narrower, lines that were one row are several.
        rows = sum(max(1, -(-cells // width)) for cells in self._shown)
        return f"\x1b[{rows}A\r"


def open_view(name: ViewName, terminal: Terminal, steps: int) -> MatrixView | LiveView:
    """The view of that name on ``terminal``."""
    match name:
        case "matrix":
            return MatrixView(terminal, steps)
        case "live":
            return LiveView(terminal, steps, pause=0.06)
