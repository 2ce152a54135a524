"""The denoising as an animated GIF: the terminal's columns and colours, by Pillow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from rich.cells import cell_len

from perigee.errors import GenerationError
from perigee.files import atomic_file
from perigee.generation.frames import Line, heading, lay_out
from perigee.generation.trajectory import SlotKind, Trajectory

COLUMNS = 80
"""Cells in a line."""
FONT_SIZE = 16
"""Pixels."""
MARGIN = 14
"""Pixels around the text."""
STEP_MILLISECONDS = 140
LAST_MILLISECONDS = 3000
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
    """Write all steps of all trajectories, one after the other, atomically.

    Raises
    ------
    GenerationError
        If the file cannot be written.
    """
    images, milliseconds = render(trajectories, columns)
    try:
        with atomic_file(path) as aside:
            images[0].save(
                aside,
                format="GIF",
                save_all=True,
                append_images=images[1:],
                duration=milliseconds,
                loop=0,
                optimize=False,
                disposal=1,
            )
    except OSError as error:
        raise GenerationError(f"cannot be written ({error})", place=path) from None


def render(
    trajectories: Sequence[Trajectory], columns: int = COLUMNS
) -> tuple[list[Image.Image], list[int]]:
    """Pictures of one size, and for how many milliseconds each one stands."""
    font = load_font()
    blocks: list[tuple[str, list[Line]]] = []
    milliseconds: list[int] = []
    for trajectory in trajectories:
        for frame in trajectory.frames:
            title = heading(frame, trajectory.request.steps)
            blocks.append((title, lay_out(frame, trajectory.wording, columns)))
            milliseconds.append(STEP_MILLISECONDS)
        milliseconds[-1] = LAST_MILLISECONDS
    width, height = cell_size(font)
    rows = 2 + max(len(lines) for _, lines in blocks)
    size = (2 * MARGIN + columns * width, 2 * MARGIN + rows * height)
    press = Press(font, _palette())
    return [press.print(title, lines, size) for title, lines in blocks], milliseconds


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
