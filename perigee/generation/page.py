"""The denoising as one HTML page that plays by itself: no network, no other file."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from perigee.errors import GenerationError
from perigee.files import atomic_file
from perigee.generation.trajectory import Slot, Trajectory

DATA_MARK = "/*DATA*/"


def write_page(
    path: Path, trajectories: Sequence[Trajectory], *, title: str, about: Mapping[str, str]
) -> None:
    """Write the page, atomically.

    Raises
    ------
    GenerationError
        If the file cannot be written.
    """
    try:
        with atomic_file(path) as aside:
            aside.write_text(page(trajectories, title=title, about=about), encoding="utf-8")
    except OSError as error:
        raise GenerationError(f"cannot be written ({error})", place=path) from None


def page(trajectories: Sequence[Trajectory], *, title: str, about: Mapping[str, str]) -> str:
    """The page's text; ``about`` (seed, checkpoint, sampler ...) is shown below the samples."""
    data = {
        "title": title,
        "about": dict(about),
        "runs": [_run(trajectory) for trajectory in trajectories],
    }
    # "<" would let a word such as </script> end the data.
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    template = (files("perigee.generation") / "page.html").read_text(encoding="utf-8")
    return template.replace(DATA_MARK, text)


def _run(trajectory: Trajectory) -> dict[str, Any]:
    return {
        "prompt": trajectory.request.prompt,
        "steps": trajectory.request.steps,
        "last": trajectory.frames[-1].step,
        "texts": [_text(trajectory, row) for row in range(trajectory.batch)],
    }


def _text(trajectory: Trajectory, row: int) -> dict[str, Any]:
    """What the page's script replays.

    For each position its events [step, text, kind, attached, step of the decision, probability];
    for each step the number of positions that are shown.
    """
    events: list[list[list[Any]]] = []
    lengths: list[int] = []
    before: dict[int, tuple[str, str, int]] = {}
    decided: dict[int, int] = {}
    for frame in trajectory.frames:
        slots = trajectory.wording.slots(frame, row)
        lengths.append(len(slots))
        for slot in slots:
            while len(events) <= slot.position:
                events.append([])
            look, position = _look(slot), slot.position
            is_changed = bool(frame.is_changed[row, position])
            if is_changed or before.get(position) != look:
                # A space alone may come or go with the next word: that decides nothing.
                if is_changed or position not in decided:
                    decided[position] = frame.step
                before[position] = look
                probability = float(frame.probability[row, position])
                shown = None if math.isnan(probability) else round(probability, 4)
                events[position].append([frame.step, *look, decided[position], shown])
    return {"events": events, "lengths": lengths}


def _look(slot: Slot) -> tuple[str, str, int]:
    kind = "word" if slot.kind == "new" else slot.kind
    return slot.text, kind, int(slot.is_attached)
