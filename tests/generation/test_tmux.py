from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from generation_toys import TableDenoiser, toy_tokenizer

from perigee.generation.frames import matrix_block
from perigee.generation.request import Request
from perigee.generation.sampler import sample
from perigee.generation.trajectory import Trajectory

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")

WORDS = ("moon", "orbit", "perigee", "of", "the", ",", ".", "circumlunar")
REQUEST = Request("the moon", 8, length=60, batch=3, can_end=False, seed=3)
SCRIPT = """
import os, sys, time
from pathlib import Path
import numpy as np
from perigee.generation.terminal import open_view, terminal_of
from perigee.generation.trajectory import Frame, Wording
from perigee.tokenizer.prime import PrimeTokenizer
assert "torch" not in sys.modules  # a view needs no model
folder, saved = Path(sys.argv[2]), np.load(Path(sys.argv[2], "frames.npz"))
wording = Wording(PrimeTokenizer(tuple(saved["tokens"].tolist())), saved["is_prompt"])
view = open_view(sys.argv[1], terminal_of(sys.stdout, os.environ), 8)
print("before")
for step, parts in enumerate(zip(*(saved[k] for k in ("ids", "masked", "changed", "probability")))):
    view.show(Frame(step, *parts), wording)
    if step == 4:
        (folder / "half").touch()
        if len(sys.argv) > 3:  # tmux tells its programs of a new size a little later
            while os.get_terminal_size().columns != int(sys.argv[3]):
                time.sleep(0.02)
            (folder / "resized").touch()
        while not (folder / "go").exists():
            time.sleep(0.02)
view.finish()
print("after")
"""


@pytest.fixture(scope="module")
def run() -> Trajectory:
    return sample(TableDenoiser(5 + len(WORDS), 60), toy_tokenizer(*WORDS), REQUEST, window=60)


def save(run: Trajectory, path: Path) -> None:
    np.savez(
        path,
        tokens=np.array(run.wording.tokenizer.tokens),
        is_prompt=run.wording.is_prompt,
        ids=np.stack([frame.token_ids for frame in run.frames]),
        masked=np.stack([frame.is_masked for frame in run.frames]),
        changed=np.stack([frame.is_changed for frame in run.frames]),
        probability=np.stack([frame.probability for frame in run.frames]),
    )


class Tmux:
    """A terminal of a given size in which the script runs."""

    def __init__(
        self, folder: Path, view: str, width: int, height: int, later: int = 0, **environ: str
    ) -> None:
        self._folder, self._socket = folder, str(folder / "socket")
        (folder / "script.py").write_text(SCRIPT)
        settings = [f"{k}={v}" for k, v in {"PYTHONPATH": str(ROOT), **environ}.items()]
        more = [str(later)] if later else []
        command = [
            "env",
            *settings,
            sys.executable,
            str(folder / "script.py"),
            view,
            str(folder),
            *more,
        ]
        size = ["-x", str(width), "-y", str(height)]
        # What is left on the screen is read after the script's end.
        self._tmux(
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            *size,
            *command,
            ";",
            "set-option",
            "remain-on-exit",
            "on",
        )

    def _tmux(self, *arguments: str) -> str:
        command = ["tmux", "-S", self._socket, *arguments]
        return subprocess.run(
            command, check=True, capture_output=True, text=True, timeout=20
        ).stdout

    def wait(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 120
        while not condition():
            assert time.monotonic() < deadline, self.screen()
            time.sleep(0.05)

    def half(self) -> None:
        self.wait((self._folder / "half").exists)

    def resize(self, width: int) -> None:
        self._tmux("resize-window", "-x", str(width), "-y", "40")
        self.wait((self._folder / "resized").exists)

    def go(self) -> None:
        (self._folder / "go").touch()
        self.wait(lambda: "\nafter" in self.screen())

    def screen(self, *more: str) -> str:
        return self._tmux("capture-pane", "-p", *more)

    def close(self) -> None:
        subprocess.run(["tmux", "-S", self._socket, "kill-server"], capture_output=True, timeout=20)


@pytest.fixture
def terminal(tmp_path: Path, run: Trajectory) -> Iterator[Callable[..., Tmux]]:
    opened: list[Tmux] = []
    save(run, tmp_path / "frames.npz")

    def open_(*arguments, **environ) -> Tmux:
        opened.append(Tmux(tmp_path, *arguments, **environ))
        return opened[-1]

    yield open_
    for each in opened:
        each.close()


def expected(run: Trajectory, step: int, width: int) -> list[str]:
    block = matrix_block(run.frames[step], run.wording, steps=8, width=width - 1, has_colour=False)
    return [line for line in block.splitlines() if line]


def text_lines(screen: str) -> list[str]:
    found = [line.rstrip() for line in screen.splitlines()]
    return [line for line in found if line and not line.startswith("Pane is dead")]


@pytest.mark.parametrize("width", [80, 200])
def test_live_rewrites_the_same_rows(terminal, run: Trajectory, width: int) -> None:
    tmux = terminal("live", width, 50)
    tmux.half()
    tmux.wait(lambda: "step 4 of 8" in tmux.screen())
    assert text_lines(tmux.screen()) == ["before", *expected(run, 4, width)]
    assert "\x1b[32m" in tmux.screen("-e")
    tmux.go()
    assert text_lines(tmux.screen("-S", "-")) == ["before", *expected(run, 8, width), "after"]


def test_live_after_the_window_was_made_narrower(terminal, run: Trajectory) -> None:
    tmux = terminal("live", 120, 60, later=70)
    tmux.half()
    tmux.resize(70)
    tmux.go()
    # tmux keeps the cursor's row when it wraps lines anew, and moves what no longer fits above it
    # into its history, where no program can reach it: the top of the frame at the old width. All
    # frames since stand in the same rows.
    everything = text_lines(tmux.screen("-S", "-"))
    assert [*expected(run, 8, 70), "after"] == everything[-len(expected(run, 8, 70)) - 1 :]
    headings = [line for line in everything if line.startswith("step ")]
    assert headings in (["step 4 of 8", "step 8 of 8"], ["step 8 of 8"])


def test_live_on_a_small_screen_ends_with_the_whole_text(terminal, run: Trajectory) -> None:
    tmux = terminal("live", 60, 9)
    tmux.half()
    tmux.go()
    everything = text_lines(tmux.screen("-S", "-"))
    assert everything[0] == "before"
    assert [*expected(run, 8, 60), "after"] == everything[-len(expected(run, 8, 60)) - 1 :]
    assert len([line for line in everything if line.startswith("step ")]) == 1


def test_matrix_writes_one_block_under_the_other(terminal, run: Trajectory) -> None:
    tmux = terminal("matrix", 80, 24, NO_COLOR="1")
    tmux.half()
    tmux.go()
    everything = tmux.screen("-e", "-S", "-")
    assert re.findall(r"^step (\d) of 8", everything, re.M) == list("012345678")
    assert "\x1b[3" not in everything
    blocks = [line for step in range(9) for line in expected(run, step, 80)]
    assert text_lines(everything) == ["before", *blocks, "after"]
