"""The original's order of ``generate``'s arguments, or without a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

from perigee.errors import SettingsError

ViewName = Literal["matrix", "live"]

USAGE = (
    '[<config> [<checkpoint>]] "<prompt>", or [<config> <checkpoint>] "<prompt>" <steps> '
    "[matrix|live] [batch] [frames.txt] [gif.gif]"
)
LEAST_ORIGINAL, MOST_ORIGINAL = 3, 8


@dataclass(frozen=True)
class Positional:
    """What was given by place and not by name."""

    prompt: str
    config: str | None = None
    checkpoint: str | None = None
    steps: int | None = None
    view: ViewName | None = None
    batch: int | None = None
    frames: str | None = None
    gif: str | None = None


def read_positional(arguments: list[str]) -> Positional:
    """The arguments by their places: the original's order, or that without settings and checkpoint.

    Raises
    ------
    SettingsError
        If there are too many, or one is not what its place asks for.
    """
    if len(arguments) == 1:
        return Positional(arguments[0])
    count = len(arguments)
    if arguments[1].isdigit() and not arguments[0].endswith(".toml"):
        arguments = ["", "", *arguments]
    if len(arguments) < LEAST_ORIGINAL:
        return Positional(arguments[1], config=arguments[0])
    if len(arguments) > MOST_ORIGINAL:
        raise SettingsError(f"{count} arguments", place="generate", expected=USAGE)
    config, checkpoint, prompt, *rest = arguments
    steps, view, batch, frames, gif = [*rest, *[""] * (MOST_ORIGINAL - len(arguments))]
    if view not in ("", "matrix", "live"):
        raise SettingsError(f"the view is {view!r}", place="generate", expected="matrix or live")
    return Positional(
        prompt,
        config or None,
        checkpoint or None,
        _count("steps", steps),
        cast(ViewName, view) if view else None,
        _count("batch", batch),
        frames or None,
        gif or None,
    )


def _count(name: str, value: str) -> int | None:
    if not value:
        return None
    if not (value.isascii() and value.isdigit() and int(value) > 0):
        raise SettingsError(
            f"{name} is {value!r}", place="generate", expected="a whole number above 0"
        )
    return int(value)
