from __future__ import annotations

import io
import itertools
import re
from pathlib import Path

import numpy as np
import pytest
from generation_toys import TableDenoiser, toy_tokenizer
from PIL import Image

from perigee.generation.frames import (
    LEAST_COLUMN,
    frames_text,
    lay_out,
    line_width,
    matrix_block,
    wrap,
)
from perigee.generation.gif import (
    BACKGROUND,
    COLOURS,
    FEWEST_PICTURES,
    MARGIN,
    MOST_ROWS,
    cell_size,
    load_font,
    render,
    thin,
    write_gif,
)
from perigee.generation.request import Request
from perigee.generation.sampler import sample
from perigee.generation.terminal import LiveView, MatrixView, Terminal, terminal_of
from perigee.generation.trajectory import Frame, Slot, Trajectory, Wording, glimpse_text

WORDS = ("moon", "orbit", "perigee", "of", "the", ",", ".", "an" + "other" * 3)


@pytest.fixture(scope="module")
def trajectory() -> Trajectory:
    denoiser = TableDenoiser(5 + len(WORDS), 40)
    request = Request("the Moon", 8, length=40, batch=3, can_end=False, seed=3)
    return sample(denoiser, toy_tokenizer(*WORDS), request, window=40)


def slot(text: str, position: int = 0, attached: bool = False) -> Slot:
    return Slot(position, text, "word", attached)


def plain(line) -> str:
    return "".join(piece.text for piece in line)


def test_wrapping_keeps_punctuation_with_its_word() -> None:
    slots = [slot("moon"), slot("of"), slot("day"), slot(",", attached=True), slot("the")]
    assert [plain(line) for line in wrap(slots, 10)] == ["moon of", "day, the"]
    assert [plain(line) for line in wrap(slots, 11)] == ["moon of", "day, the"]
    assert [plain(line) for line in wrap(slots, 12)] == ["moon of day,", "the"]


def test_a_word_longer_than_a_line_is_broken() -> None:
    lines = wrap([slot("a"), slot("b" * 25), slot("c")], 10)
    assert [plain(line) for line in lines] == ["a", "b" * 10, "b" * 10, "bbbbb c"]


def test_wide_letters_count_twice() -> None:
    lines = wrap([slot("月" * 4), slot("月" * 3)], 8)
    assert [line_width(line) for line in lines] == [8, 6]


@pytest.mark.parametrize("width", [10, 24, 51, 80, 120, 200])
def test_columns_fit_the_width_and_lose_nothing(trajectory: Trajectory, width: int) -> None:
    for frame in trajectory.frames:
        lines = lay_out(frame, trajectory.wording, width)
        assert max(line_width(line) for line in lines) <= width
        words = sorted(re.sub(r"\s", "", "".join(plain(line) for line in lines)))
        texts = [trajectory.wording.text(frame, row) for row in range(3)]
        assert words == sorted(re.sub(r"\s", "", "".join(texts)))
    beside = width >= 3 * LEAST_COLUMN + 6
    assert ("   the Moon" in plain(lines[0])) == (width >= 2 * LEAST_COLUMN + 3)
    assert any(not line for line in lines) == (not beside)


def test_columns_are_aligned(trajectory: Trajectory) -> None:
    lines = lay_out(trajectory.frames[0], trajectory.wording, 86)
    column = (86 - 6) // 3
    assert plain(lines[0]).index("the", 3) == column + 3
    assert plain(lines[0]).index("the", column + 6) == 2 * (column + 3)


def test_new_words_are_green_and_masks_are_plain(trajectory: Trajectory) -> None:
    frame, wording = trajectory.frames[3], trajectory.wording
    block = matrix_block(frame, wording, steps=8, width=90, has_colour=True)
    green = re.findall("\x1b\\[32m(.*?)\x1b\\[0m", block)
    changed = [wording.tokenizer.tokens[i] for i in frame.token_ids[frame.is_changed]]
    assert sorted(green) == sorted(changed)
    assert "[???]" in block
    uncoloured = matrix_block(frame, wording, steps=8, width=90, has_colour=False)
    assert re.sub("\x1b\\[\\d+m", "", block) == uncoloured
    assert "\x1b" not in uncoloured


def test_glimpses_are_letters_and_dim() -> None:
    assert glimpse_text([6, -1, 0]) == "[g?a]"
    ids = np.array([[1, 5]])
    nothing = np.zeros((1, 2), dtype=bool)
    frame = Frame(1, ids, ids == 1, nothing, ids * np.nan, np.array([[[6, -1, 0], [-1, -1, -1]]]))
    wording = Wording(toy_tokenizer("moon"), np.zeros(2, dtype=bool))
    block = matrix_block(frame, wording, steps=2, width=40, has_colour=True)
    assert "\x1b[2m[g?a]\x1b[0m moon" in block


def test_frames_txt_has_a_block_a_step(trajectory: Trajectory) -> None:
    text = frames_text([trajectory])
    assert re.findall(r"^step (\d+) of 8$", text, re.M) == [str(i) for i in range(9)]
    assert "\x1b" not in text
    last = text.split("step 8 of 8\n")[1]
    assert "[???]" not in last
    assert max(map(len, text.splitlines())) <= 100


class Screen:
    """The little of a terminal that the live view uses; long lines wrap, as on a real one."""

    def __init__(self, width: int) -> None:
        self.width, self.rows, self.row, self.column = width, [""], 0, 0

    def feed(self, text: str) -> None:
        for token in re.findall("\x1b\\[\\d*[A-Za-z]|.|\n", text):
            if token == "\n":
                self.row, self.column = self.row + 1, 0
            elif token == "\r":
                self.column = 0
            elif token.endswith("A") and token[0] == "\x1b":
                self.row -= int(token[2:-1])
                assert self.row >= 0
            elif token == "\x1b[K":
                self.rows[self.row] = self.rows[self.row][: self.column]
            elif token == "\x1b[J":
                self.rows = [*self.rows[: self.row], self.rows[self.row][: self.column]]
            elif token[0] != "\x1b":
                if self.column == self.width:
                    self.row, self.column = self.row + 1, 0
                self.put(token)
            while len(self.rows) <= self.row:
                self.rows.append("")

    def put(self, letter: str) -> None:
        while len(self.rows) <= self.row:
            self.rows.append("")
        line = self.rows[self.row].ljust(self.column)
        self.rows[self.row] = line[: self.column] + letter + line[self.column + 1 :]
        self.column += 1


def watch(trajectory: Trajectory, widths: list[int], height: int = 30) -> tuple[Screen, list[str]]:
    screen = Screen(widths[0])
    stream = io.StringIO()
    current = [widths[0]]
    terminal = Terminal(stream, lambda: (current[0], height), True, True)
    view = LiveView(terminal, 8)
    shown = []
    for number, frame in enumerate(trajectory.frames):
        current[0] = screen.width = widths[min(number, len(widths) - 1)]
        view.show(frame, trajectory.wording)
        screen.feed(stream.getvalue()[len("".join(shown)) :])
        shown.append(stream.getvalue()[len("".join(shown)) :])
    view.finish()
    screen.feed(stream.getvalue()[len("".join(shown)) :])
    return screen, shown


@pytest.mark.parametrize("width", [30, 80, 200])
def test_live_leaves_one_frame_on_the_screen(trajectory: Trajectory, width: int) -> None:
    screen, _ = watch(trajectory, [width])
    expected = matrix_block(
        trajectory.frames[-1], trajectory.wording, steps=8, width=width, has_colour=False
    )
    assert [row.rstrip() for row in screen.rows if row.strip()] == [
        row for row in expected.splitlines() if row
    ]


def test_live_is_no_taller_than_the_screen(trajectory: Trajectory) -> None:
    _, shown = watch(trajectory, [30], height=6)
    assert all(part.count("\n") <= 5 for part in shown)


def test_live_goes_back_further_when_the_window_became_narrower(trajectory: Trajectory) -> None:
    stream = io.StringIO()
    width = [100]
    view = LiveView(Terminal(stream, lambda: (width[0], 40), True, False), 8)
    view.show(trajectory.frames[0], trajectory.wording)
    lines = re.sub("\x1b\\[.", "", stream.getvalue()).splitlines()
    width[0] = 40
    view.show(trajectory.frames[1], trajectory.wording)
    rows = sum(-(-len(line) // 40) for line in lines)
    assert f"\x1b[{rows}A\r" in stream.getvalue()
    assert rows > len(lines)


def test_live_on_a_pipe_is_the_last_frame_only(trajectory: Trajectory) -> None:
    stream = io.StringIO()
    view = LiveView(terminal_of(stream, {"TERM": "xterm"}), 8)
    for frame in trajectory.frames:
        view.show(frame, trajectory.wording)
    assert stream.getvalue() == ""
    view.finish()
    assert "\x1b" not in stream.getvalue()
    assert stream.getvalue().startswith("step 8 of 8\n")


class Teletype(io.StringIO):
    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        raise OSError("none")


def test_what_a_terminal_can_do() -> None:
    assert terminal_of(Teletype(), {"TERM": "xterm"}).has_colour
    assert not terminal_of(Teletype(), {"TERM": "xterm", "NO_COLOR": "1"}).has_colour
    assert terminal_of(Teletype(), {"TERM": "xterm", "NO_COLOR": "1"}).is_interactive
    assert not terminal_of(Teletype(), {"TERM": "dumb"}).is_interactive
    assert not terminal_of(io.StringIO(), {"TERM": "xterm"}).is_interactive


def test_matrix_writes_every_step(trajectory: Trajectory) -> None:
    stream = io.StringIO()
    view = MatrixView(terminal_of(stream, {}), 8)
    for frame in trajectory.frames:
        view.show(frame, trajectory.wording)
    view.finish()
    assert stream.getvalue() == frames_text([trajectory])


def read_picture(image: Image.Image, columns: int) -> tuple[list[str], dict[tuple[int, int], str]]:
    """Text and colours of a picture, by comparing each cell with every letter's own picture."""
    from PIL import ImageDraw

    font = load_font()
    width, height = cell_size(font)
    letters = sorted(set("".join(WORDS) + "the Moon step of more lines 0123456789[?],."))
    shapes = {}
    for letter in letters:
        cell = Image.new("L", (width, height))
        ImageDraw.Draw(cell).text((0, 0), letter, font=font, fill=255)
        shapes[letter] = np.asarray(cell, dtype=float) / 255
    pixels = np.asarray(image.convert("RGB"), dtype=float)
    lines, colours = [], {}
    for row in range((pixels.shape[0] - 2 * MARGIN) // height):
        line = ""
        for column in range(columns):
            top, left = MARGIN + row * height, MARGIN + column * width
            cell = np.abs(pixels[top : top + height, left : left + width] - BACKGROUND).sum(axis=2)
            share = cell / max(cell.max(), 1)
            line += min(letters, key=lambda letter: np.abs(shapes[letter] - share).sum())
            peak = np.unravel_index(cell.argmax(), cell.shape)
            ink = pixels[top + peak[0], left + peak[1]]
            if line[-1] != " ":
                distance = {kind: np.abs(np.array(COLOURS[kind]) - ink).sum() for kind in COLOURS}
                colours[row, column] = min(distance, key=distance.__getitem__)
        lines.append(line.rstrip())
    return lines, colours


def test_the_gif_shows_what_frames_txt_says(trajectory: Trajectory, tmp_path: Path) -> None:
    path = tmp_path / "samples.gif"
    write_gif(path, [trajectory], columns=80)
    blocks = frames_text([trajectory], width=80).split("\n\n")
    with Image.open(path) as image:
        assert image.n_frames == len(trajectory.frames)
        for number in (0, 4, 8):
            image.seek(number)
            lines, colours = read_picture(image, 80)
            heading, *text = blocks[number].splitlines()
            assert lines[0] == heading
            assert lines[2 : 2 + len(text)] == text
            assert ("new" in colours.values()) == (number > 0)
    assert [p.name for p in tmp_path.iterdir()] == ["samples.gif"]


def test_a_gif_of_64_words_and_32_steps_is_small(tmp_path: Path) -> None:
    denoiser = TableDenoiser(5 + len(WORDS), 64)
    request = Request("the", 32, length=64, batch=2, can_end=False)
    trajectory = sample(denoiser, toy_tokenizer(*WORDS), request, window=64)
    write_gif(tmp_path / "a.gif", [trajectory])
    assert (tmp_path / "a.gif").stat().st_size < 300_000
    with Image.open(tmp_path / "a.gif") as image:
        assert image.n_frames == 33


def test_a_gif_of_much_text_is_no_file_to_fear(tmp_path: Path) -> None:
    denoiser = TableDenoiser(5 + len(WORDS), 256)
    request = Request("", 300, length=256, batch=8, sampler="ancestral", can_end=False)
    trajectory = sample(denoiser, toy_tokenizer(*WORDS), request, window=256)
    write_gif(tmp_path / "a.gif", [trajectory])
    assert (tmp_path / "a.gif").stat().st_size < 2_500_000
    with Image.open(tmp_path / "a.gif") as image:
        assert image.n_frames == FEWEST_PICTURES
        assert image.height < 2 * MARGIN + (MOST_ROWS + 3) * cell_size(load_font())[1]


@pytest.mark.parametrize("most", [1, 2, 5, 9, 100])
def test_thinning_keeps_both_ends_and_what_changed(trajectory: Trajectory, most: int) -> None:
    frames = trajectory.frames
    kept = thin(frames, most)
    assert len(kept) == min(max(2, most), len(frames))
    assert kept[0] is frames[0]
    assert kept[-1].step == frames[-1].step
    for before, after in itertools.pairwise(kept):
        changed = before.token_ids != after.token_ids
        np.testing.assert_array_equal(after.is_changed, changed)  # nothing is remasked here
        np.testing.assert_array_equal(after.token_ids, frames[after.step].token_ids)


def test_steps_without_a_change_are_left_out() -> None:
    denoiser = TableDenoiser(5 + len(WORDS), 10)
    request = Request("the", 60, length=10, can_end=False)
    frames = sample(denoiser, toy_tokenizer(*WORDS), request, window=10).frames
    assert len(thin(frames, 100)) == 10 < len(frames)


def test_a_picture_of_too_many_lines_says_how_many_more() -> None:
    denoiser = TableDenoiser(5 + len(WORDS), 900)
    request = Request("", 1, length=900, batch=1, can_end=False)
    trajectory = sample(denoiser, toy_tokenizer(*WORDS), request, window=900)
    lines = len(lay_out(trajectory.frames[-1], trajectory.wording, 24))
    images, _ = render([trajectory], 24, 2)
    shown, _ = read_picture(images[-1], 24)
    assert len(shown) == 2 + MOST_ROWS < lines
    assert shown[-1] == f"... {lines - MOST_ROWS + 1} more lines"
