"""``perigee generate``: the original's order of arguments, and options with names."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from perigee.cli.console import ConsoleObserver
from perigee.errors import SettingsError

if TYPE_CHECKING:
    from perigee.generation.request import Request
    from perigee.generation.trajectory import Trajectory
    from perigee.settings import Settings

ViewName = Literal["matrix", "live"]

USAGE = (
    '"<prompt>", or <config> "<prompt>", or <config> <checkpoint> "<prompt>" [steps] '
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
    """The arguments by their places: the original's order, or just a prompt.

    Raises
    ------
    SettingsError
        If there are too many, or one is not what its place asks for.
    """
    if len(arguments) == 1:
        return Positional(arguments[0])
    if len(arguments) < LEAST_ORIGINAL:
        return Positional(arguments[1], config=arguments[0])
    if len(arguments) > MOST_ORIGINAL:
        raise SettingsError(f"{len(arguments)} arguments", place="generate", expected=USAGE)
    config, checkpoint, prompt, *rest = arguments
    steps, view, batch, frames, gif = [*rest, *[""] * (MOST_ORIGINAL - len(arguments))]
    if view not in ("", "matrix", "live"):
        raise SettingsError(f"the view is {view!r}", place="generate", expected="matrix or live")
    return Positional(
        prompt,
        config,
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


def generate(
    arguments: Annotated[list[str], typer.Argument(metavar="ARGUMENTS", help=USAGE)],
    config: Annotated[Path | None, typer.Option(help="Settings file.")] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="An epoch's directory, or the one above: its newest.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Denoising steps.")] = None,
    view: Annotated[ViewName | None, typer.Option(help="Show every step.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Texts at once.")] = None,
    frames: Annotated[Path | None, typer.Option(help="Write every step as text.")] = None,
    gif: Annotated[Path | None, typer.Option(help="Write an animated GIF.")] = None,
    html: Annotated[
        Path | None, typer.Option(help="Write a page that plays the denoising.")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write texts, seed, likelihoods.")] = None,
    sampler: Annotated[
        Literal["ancestral", "confidence", "remasking"] | None,
        typer.Option(help="Which words first."),
    ] = None,
    certainty: Annotated[
        Literal["probability", "entropy", "margin"] | None,
        typer.Option(help="Of the confidence sampler."),
    ] = None,
    remasking: Annotated[
        Literal["cap", "rescale", "loop"] | None, typer.Option(help="Of the remasking sampler.")
    ] = None,
    temperature: Annotated[float | None, typer.Option(help="Divides the logits.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Least set of this probability.")] = None,
    top_k: Annotated[int | None, typer.Option(min=0, help="That many most probable words.")] = None,
    order_noise: Annotated[
        float | None, typer.Option(min=0.0, help="Gumbel noise on the confidence sampler's order.")
    ] = None,
    no_repeat: Annotated[
        int | None, typer.Option(min=0, help="A word is not repeated within this many words.")
    ] = None,
    length: Annotated[int | None, typer.Option(min=0, help="Words, prompt included.")] = None,
    block_length: Annotated[
        int | None, typer.Option(min=0, help="Words denoised together, block after block.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Decides every draw.")] = None,
) -> None:
    """Denoise a prompt; [MASK] and [MASK:5] in it are filled in."""
    given = read_positional(arguments)
    from perigee.config import load_settings
    from perigee.generation.samples import request_for

    settings = load_settings(config or given.config)
    base = request_for(settings.generation, given.prompt)
    request = replace(
        base,
        steps=steps or given.steps or base.steps,
        batch=batch or given.batch or 1,
        sampler=sampler or base.sampler,
        temperature=base.temperature if temperature is None else temperature,
        top_p=base.top_p if top_p is None else top_p,
        length=base.length if length is None else length,
        seed=base.seed if seed is None else seed,
        certainty=certainty or base.certainty,
        remasking=replace(base.remasking, kind=remasking or base.remasking.kind),
        top_k=base.top_k if top_k is None else top_k,
        order_noise=base.order_noise if order_noise is None else order_noise,
        no_repeat=base.no_repeat if no_repeat is None else no_repeat,
        block_length=base.block_length if block_length is None else block_length,
    )
    trajectory, place = _run(settings, request, checkpoint or given.checkpoint, view or given.view)
    _write_files(trajectory, place, frames or given.frames, gif or given.gif, html, json)


def _run(
    settings: Settings, request: Request, checkpoint: str | Path | None, view: ViewName | None
) -> tuple[Trajectory, Path]:
    from perigee.generation.session import newest_checkpoint, open_session
    from perigee.generation.terminal import open_view, terminal_of

    place = newest_checkpoint(settings, checkpoint)
    with ConsoleObserver() as observer:
        session = open_session(place, use_gpu=settings.training.use_gpu, observer=observer)
        if settings.model != session.checkpoint.settings.model:
            observer.say(f"the model has the shape of {place}, not that of the settings", "warning")
        if view is None:
            trajectory = session.sample(request, observer)
            print("\n\n".join(trajectory.texts))
            return trajectory, place
    shown = open_view(view, terminal_of(sys.stdout, os.environ), request.steps)
    trajectory = session.sample(request, on_frame=shown.show)
    shown.finish()
    for warning in trajectory.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    return trajectory, place


def _write_files(
    trajectory: Trajectory,
    checkpoint: Path,
    frames: str | Path | None,
    gif: str | Path | None,
    html: Path | None,
    json: Path | None,
) -> None:
    from perigee.files import atomic_file, write_json
    from perigee.generation.frames import frames_text
    from perigee.generation.gif import write_gif
    from perigee.generation.page import write_page
    from perigee.generation.samples import about, sample_records
    from perigee.manifest import Input, read_manifest

    manifest = read_manifest(checkpoint / "manifest.json")
    source = Input(manifest.artifact, manifest.version)
    if frames is not None:
        with atomic_file(Path(frames)) as aside:
            aside.write_text(frames_text([trajectory]), encoding="utf-8")
    if gif is not None:
        write_gif(Path(gif), [trajectory])
    if html is not None:
        write_page(html, [trajectory], title="Perigee", about=about(trajectory.request, source))
    if json is not None:
        write_json(json, sample_records([trajectory], source))
    for path in (frames, gif, html, json):
        if path is not None:
            print(f"written: {path}", file=sys.stderr)
