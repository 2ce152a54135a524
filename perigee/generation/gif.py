"""The denoising as an animated GIF: the terminal's columns and colours, by Pillow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

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
    palette = _palette()
    return [_draw(title, lines, font, size, palette) for title, lines in blocks], milliseconds


def cell_size(font: ImageFont.FreeTypeFont) -> tuple[int, int]:
    """Pixels of one cell, width and height."""
    ascent, descent = font.getmetrics()
    return round(font.getlength("M")), ascent + descent


def _draw(
    title: str,
    lines: Sequence[Line],
    font: ImageFont.FreeTypeFont,
    size: tuple[int, int],
    palette: Image.Image,
) -> Image.Image:
    image = Image.new("RGB", size, BACKGROUND)
    pen = ImageDraw.Draw(image)
    width, height = cell_size(font)

    def put(row: int, cell: int, text: str, colour: Colour) -> None:
        # Letter by letter on the grid: a font's own advance is no whole number of pixels.
        for number, letter in enumerate(text):
            place = (MARGIN + (cell + number) * width, MARGIN + row * height)
            pen.text(place, letter, font=font, fill=colour)

    put(0, 0, title, HEADING)
    for row, line in enumerate(lines, start=2):
        cell = 0
        for piece in line:
            put(row, cell, piece.text, COLOURS[piece.kind])
            cell += len(piece.text)
    return image.quantize(palette=palette, dither=Image.Dither.NONE)


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
