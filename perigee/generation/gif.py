"""The denoising as an animated GIF: the terminal's columns and colours, by Pillow.

A GIF is sent around and shown in pages, so its size stays near a megabyte whatever was denoised:
steps without a change are left out, of long texts not every step is shown, and Pillow writes of
each picture only what differs from the one before.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from rich.cells import cell_len

from perigee.errors import GenerationError
from perigee.files import atomic_file
from perigee.generation.frames import Line, Piece, heading, lay_out
from perigee.generation.trajectory import Frame, SlotKind, Trajectory

COLUMNS = 80
"""Cells in a line."""
FONT_SIZE = 16
"""Pixels."""
MARGIN = 14
"""Pixels around the text."""
STEP_MILLISECONDS = 140
SLOWEST_MILLISECONDS = 420
"""For a picture that stands for several steps."""
LAST_MILLISECONDS = 3000
MOST_PIXELS = 64_000_000
"""Of all pictures together, which bounds the memory they take."""
MOST_BYTES = 1_000_000
"""Of the file, unless FEWEST_PICTURES take more."""
FEWEST_PICTURES = 8
"""Of a trajectory, however large its texts."""
MOST_ROWS = 200
"""Lines of text that a picture shows; GIF itself ends at 65,535 pixels."""
SHADES = 6
"""Colours between the background and each colour of the writing, for smooth letters."""

Colour = tuple[int, int, int]
BACKGROUND: Colour = (16, 18, 22)
HEADING: Colour = (110, 118, 130)
COLOURS: dict[SlotKind, Colour] = {
    "prompt": (250, 250, 250),
    "word": (200, 205, 212),
    "new": (70, 220, 110),
    "masked": (92, 99, 112),
    "glimpse": (135, 120, 60),
}


def load_font() -> ImageFont.FreeTypeFont:
    """DejaVu Sans Mono, which comes with matplotlib."""
    from matplotlib import get_data_path  # half a second that only a picture is worth

    return ImageFont.truetype(
        Path(get_data_path()) / "fonts" / "ttf" / "DejaVuSansMono.ttf", FONT_SIZE
    )


def write_gif(path: Path, trajectories: Sequence[Trajectory], columns: int = COLUMNS) -> None:
    """Write the steps of all trajectories, one after the other, atomically.

    Raises
    ------
    GenerationError
        If the file cannot be written.
    """
    most = _most_pictures(trajectories, columns)
    data = _encode(*render(trajectories, columns, most))
    while len(data) > MOST_BYTES and most > FEWEST_PICTURES:
        most = max(FEWEST_PICTURES, min(most - 1, most * MOST_BYTES // len(data)))
        data = _encode(*render(trajectories, columns, most))
    try:
        with atomic_file(path) as aside:
            aside.write_bytes(data)
    except OSError as error:
        raise GenerationError(f"cannot be written ({error})", place=path) from None


def _encode(images: Sequence[Image.Image], milliseconds: Sequence[int]) -> bytes:
    stream = io.BytesIO()
    images[0].save(
        stream,
        format="GIF",
        save_all=True,
        append_images=images[1:],
        duration=milliseconds,
        loop=0,
        optimize=True,  # what a picture shares with the one before is left transparent
        interlace=0,
        disposal=1,
    )
    return stream.getvalue()


def render(
    trajectories: Sequence[Trajectory], columns: int, most: int
) -> tuple[list[Image.Image], list[int]]:
    """Pictures of one size, and for how many milliseconds each one stands.

    At most ``most`` of each trajectory.
    """
    blocks: list[tuple[str, list[Line]]] = []
    milliseconds: list[int] = []
    for trajectory in trajectories:
        frames = thin(trajectory.frames, most)
        for frame in frames:
            title = heading(frame, trajectory.request.steps)
            blocks.append((title, _page(frame, trajectory, columns)))
        steps = [1, *(after.step - before.step for before, after in pairwise(frames))]
        milliseconds += [min(STEP_MILLISECONDS * n, SLOWEST_MILLISECONDS) for n in steps]
        milliseconds[-1] = LAST_MILLISECONDS
    press = Press(load_font(), _palette())
    size = _picture_size(max(len(lines) for _, lines in blocks), columns, press.font)
    return [press.print(title, lines, size) for title, lines in blocks], milliseconds


def thin(frames: Sequence[Frame], most: int) -> list[Frame]:
    """At most ``most`` frames (two at the least): the first, the last, and some that differ.

    What changed in frames that are left out counts as changed in the next one that is kept.
    """
    differing = [i for i, frame in enumerate(frames) if i == 0 or frame.is_changed.any()]
    count = min(len(differing), max(2, most))
    kept = [differing[i] for i in np.linspace(0, len(differing) - 1, count).round().astype(int)]
    if len(kept) > 1:
        kept[-1] = len(frames) - 1
    merged = [frames[0]]
    for before, after in pairwise(kept):
        is_changed = np.any([frame.is_changed for frame in frames[before + 1 : after + 1]], axis=0)
        merged.append(replace(frames[after], is_changed=is_changed))
    return merged


def _most_pictures(trajectories: Sequence[Trajectory], columns: int) -> int:
    """Pictures of each trajectory that the budget allows, by the size of first and last frames."""
    ends = [(frame, t) for t in trajectories for frame in (t.frames[0], t.frames[-1])]
    rows = max(len(_page(frame, trajectory, columns)) for frame, trajectory in ends)
    width, height = _picture_size(rows, columns, load_font())
    return max(FEWEST_PICTURES, MOST_PIXELS // (width * height * len(trajectories)))


def _page(frame: Frame, trajectory: Trajectory, columns: int) -> list[Line]:
    lines = lay_out(frame, trajectory.wording, columns)
    if len(lines) <= MOST_ROWS:
        return lines
    more = f"... {len(lines) - MOST_ROWS + 1} more lines"
    return [*lines[: MOST_ROWS - 1], (Piece(more, "masked"),)]


def _picture_size(rows: int, columns: int, font: ImageFont.FreeTypeFont) -> tuple[int, int]:
    """Pixels of a picture with a heading, an empty row and ``rows`` lines."""
    width, height = cell_size(font)
    return 2 * MARGIN + columns * width, 2 * MARGIN + (2 + rows) * height


def cell_size(font: ImageFont.FreeTypeFont) -> tuple[int, int]:
    """Pixels of one cell, width and height."""
    ascent, descent = font.getmetrics()
    return round(font.getlength("M")), ascent + descent


@dataclass
class Press:
    """Prints letters on the grid. Each is drawn once: a page has a thousand, an alphabet fifty."""

    font: ImageFont.FreeTypeFont
    palette: Image.Image
    tiles: dict[tuple[str, Colour], Image.Image] = field(default_factory=dict)

    def print(self, title: str, lines: Sequence[Line], size: tuple[int, int]) -> Image.Image:
        """A picture of a heading and, from the third row on, lines."""
        image = Image.new("P", size, 0)
        image.putpalette(self.palette.getpalette() or [])
        self._put(image, 0, 0, title, HEADING)
        for row, line in enumerate(lines, start=2):
            cell = 0
            for piece in line:
                self._put(image, row, cell, piece.text, COLOURS[piece.kind])
                cell += cell_len(piece.text)
        return image

    def _put(self, image: Image.Image, row: int, cell: int, text: str, colour: Colour) -> None:
        width, height = cell_size(self.font)
        for letter in text:
            if letter != " ":
                place = (MARGIN + cell * width, MARGIN + row * height)
                image.paste(self._tile(letter, colour), place)
            cell += cell_len(letter)

    def _tile(self, letter: str, colour: Colour) -> Image.Image:
        if (letter, colour) not in self.tiles:
            width, height = cell_size(self.font)
            tile = Image.new("RGB", (max(1, cell_len(letter)) * width, height), BACKGROUND)
            ImageDraw.Draw(tile).text((0, 0), letter, font=self.font, fill=colour)
            quantised = tile.quantize(palette=self.palette, dither=Image.Dither.NONE)
            self.tiles[letter, colour] = quantised
        return self.tiles[letter, colour]


def _palette() -> Image.Image:
    colours = [BACKGROUND]
    for ink in (HEADING, *COLOURS.values()):
        for shade in range(1, SHADES + 1):
            share = shade / SHADES
            mixed = [round(b + (i - b) * share) for b, i in zip(BACKGROUND, ink, strict=True)]
            colours.append((mixed[0], mixed[1], mixed[2]))
    palette = Image.new("P", (1, 1))
    palette.putpalette([value for colour in colours for value in colour])
    return palette
