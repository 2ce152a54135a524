"""``perigee show``: what a training has come to, and where everything lies."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from perigee.settings import Settings

MANIFEST, STATE = "manifest.json", "state.json"


def show(
    config: Annotated[
        Path | None,
        typer.Argument(help="Settings file; PERIGEE_CONFIG, or else configs/perigee_train.toml."),
    ] = None,
) -> None:
    """Each epoch's validation bound, the evaluation, a sample, and where the files are."""
    from perigee.config import load_settings

    settings = load_settings(config)
    for part in (_epochs(settings), _evaluation(settings), _samples(settings), _places(settings)):
        if part:
            print(part + "\n")


def bound_text(bound: Mapping[str, Any]) -> str:
    """A bound with its standard error; of a single window there is none."""
    error = bound["standard_error"]
    value = f"{bound['nats_per_word']:.4f}"
    return value if error is None else f"{value} ± {error:.4f}"


def _epochs(settings: Settings) -> str:
    from perigee.files import read_json

    lines = []
    for epoch in range(1, settings.training.epochs + 1):
        place = settings.checkpoint_path(epoch)
        if not (place / MANIFEST).is_file():
            continue
        state: dict[str, Any] = read_json(place / STATE)
        bound = state["validation"]
        lines.append(
            f"{epoch:>5}  {state['train_loss']:>13.4f}  {bound_text(bound):>16}  "
            f"{bound['perplexity']:>16.1f}"
        )
    if not lines:
        return "no epoch is trained yet"
    head = "epoch  training loss  validation bound     perplexity bound"
    return "\n".join([head, *lines, "bounds: nats a word of the validation windows, valid NELBO"])


def _evaluation(settings: Settings) -> str:
    table = settings.evaluation_path().with_suffix(".md")
    return table.read_text(encoding="utf-8").strip() if table.is_file() else ""


def _samples(settings: Settings) -> str:
    import textwrap

    path = settings.samples_path() / "samples.txt"
    if not path.is_file():
        return ""
    texts = path.read_text(encoding="utf-8").strip().split("\n\n")
    return "\n\n".join(textwrap.fill(text, 96, initial_indent="» ") for text in texts)


def _places(settings: Settings) -> str:
    samples = settings.samples_path()
    places = {
        "checkpoints": settings.checkpoint_path(settings.training.epochs).parent,
        "log": Path(settings.training.log_path),
        "evaluation": settings.evaluation_path(),
        "samples": samples / "samples.txt",
        "frames": samples / "frames.txt",
        "GIF": samples / "samples.gif",
        "page": samples / "samples.html",
    }
    return "\n".join(f"{name:<12} {place}" for name, place in places.items() if place.exists())
