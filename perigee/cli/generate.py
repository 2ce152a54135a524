"""``perigee generate``: the original's order of arguments, and options with names."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from perigee.cli.console import ConsoleObserver
from perigee.cli.original_order import USAGE, ViewName, read_positional

if TYPE_CHECKING:
    from perigee.generation.request import Request
    from perigee.generation.trajectory import Trajectory
    from perigee.settings import Settings


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
    remasking_strength: Annotated[
        float | None, typer.Option(help="How readily it takes words back, above 0 and at most 1.")
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
    schedule: Annotated[
        Literal["linear", "cosine"] | None,
        typer.Option(help="How many words a step decides: as many in each, or few at first."),
    ] = None,
    length: Annotated[int | None, typer.Option(min=0, help="Words, prompt included.")] = None,
    can_end: Annotated[
        bool | None, typer.Option("--end/--no-end", help="Whether a text may end by itself.")
    ] = None,
    block_length: Annotated[
        int | None, typer.Option(min=0, help="Words denoised together, block after block.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Decides every draw.")] = None,
) -> None:
    """Denoise a prompt; [MASK] and [MASK:5] in it are filled in."""
    given = read_positional(arguments)
    asked: dict[str, Any] = {
        "steps": steps or given.steps,
        "batch": batch or given.batch or 1,
        "sampler": sampler,
        "certainty": certainty,
        "order_noise": order_noise,
        "schedule": schedule,
        "temperature": temperature,
        "top_p": top_p,
        "top_k": top_k,
        "no_repeat": no_repeat,
        "can_end": can_end,
        "length": length,
        "block_length": block_length,
        "seed": seed,
    }
    asked = {name: value for name, value in asked.items() if value is not None}
    taking_back: dict[str, Any] = {"kind": remasking, "strength": remasking_strength}
    taking_back = {name: value for name, value in taking_back.items() if value is not None}

    from perigee.config import load_settings
    from perigee.generation.samples import request_for

    settings = load_settings(config or given.config)
    base = request_for(settings.generation, given.prompt)
    request = replace(base, remasking=replace(base.remasking, **taking_back), **asked)
    place, is_own = _checkpoint(settings, config or given.config, checkpoint or given.checkpoint)
    trajectory = _run(settings, request, place, view or given.view, is_own=is_own)
    _write_files(trajectory, place, frames or given.frames, gif or given.gif, html, json)


def _checkpoint(
    settings: Settings, config: str | Path | None, checkpoint: str | Path | None
) -> tuple[Path, bool]:
    """The checkpoint to use, and whether it should be one of the settings' own model.

    Where nobody named a settings file, it may be another's.
    """
    from perigee.config import CONFIG_VARIABLE, DEFAULT_CONFIG
    from perigee.errors import CheckpointError
    from perigee.generation.session import newest_checkpoint, only_training

    is_named = config is not None or bool(os.environ.get(CONFIG_VARIABLE))
    try:
        return newest_checkpoint(settings, checkpoint), is_named
    except CheckpointError:
        other = only_training(settings.checkpoint_path(1).parent)
        if is_named or checkpoint is not None or other is None:
            raise
        print(f"{DEFAULT_CONFIG} is not trained; {other} is", file=sys.stderr)
        return other, False


def _run(
    settings: Settings, request: Request, place: Path, view: ViewName | None, *, is_own: bool
) -> Trajectory:
    from perigee.generation.session import open_session
    from perigee.generation.terminal import open_view, terminal_of

    with ConsoleObserver() as observer:
        session = open_session(place, use_gpu=settings.training.use_gpu, observer=observer)
        if is_own and settings.model != session.checkpoint.settings.model:
            observer.say(f"the model has the shape of {place}, not that of the settings", "warning")
        if view is None:
            trajectory = session.sample(request, observer)
            print("\n\n".join(trajectory.texts))
            return trajectory
    shown = open_view(view, terminal_of(sys.stdout, os.environ), request.steps)
    trajectory = session.sample(request, on_frame=shown.show)
    shown.finish()
    for warning in trajectory.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    return trajectory


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
