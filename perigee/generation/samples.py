"""The samples of a checkpoint: every prompt of ``[generation]`` denoised, in every view.

::

    samples/perigee/
        samples.txt     the texts
        frames.txt      every step of every prompt, one block a step
        samples.gif     the same, animated
        samples.html    the same, one page to play
        samples.json    texts with seed, sampler, checkpoint and log-likelihood
        manifest.json   recipe, hashes
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from perigee.files import atomic_directory, recover_directory, write_json
from perigee.generation.frames import frames_text
from perigee.generation.gif import write_gif
from perigee.generation.page import write_page
from perigee.generation.prompt import asks_to_fill
from perigee.generation.request import Remasking, Request
from perigee.generation.session import open_session
from perigee.generation.trajectory import Trajectory
from perigee.manifest import (
    Built,
    Input,
    Manifest,
    current_manifest,
    read_manifest,
    recipe,
    record_file,
    write_manifest,
)
from perigee.observer import SILENT, Observer
from perigee.settings import GenerationSettings, Settings
from perigee.training.layout import MANIFEST

STAGE = "samples"
CODE_VERSION = "2"
NATS_DIGITS = 6
"""Digits kept behind the point of a log-likelihood in nats."""


def build_samples(
    settings: Settings, checkpoint: Path, observer: Observer = SILENT, fresh: bool = False
) -> Built:
    """Denoise every prompt of ``settings.generation`` and write all views, at once or not at all.

    Samples that stand there whole, of the same checkpoint and settings, are kept.

    Raises
    ------
    CheckpointError
        If ``checkpoint`` is missing or damaged.
    GenerationError
        If a prompt does not fit the model.
    """
    directory = settings.samples_path()
    source = _input(checkpoint, directory)
    made_by = {"generation": settings.generation.model_dump(mode="json")}
    recover_directory(directory)
    manifest = current_manifest(
        directory / MANIFEST, recipe(STAGE, CODE_VERSION, made_by, (source,))
    )
    if manifest is not None and not fresh:
        observer.say(f"samples: reused, nothing has changed ({directory})")
        return Built(directory / MANIFEST, manifest, reused=True)

    session = open_session(checkpoint, use_gpu=settings.training.use_gpu, observer=observer)
    requests = [request_for(settings.generation, prompt) for prompt in settings.generation.prompts]
    trajectories = [session.sample(request, observer) for request in requests]
    with atomic_directory(directory) as aside:
        write_views(aside, trajectories, source)
        manifest = Manifest(
            artifact=STAGE,
            stage=STAGE,
            code_version=CODE_VERSION,
            settings=made_by,
            inputs=(source,),
            files=tuple(record_file(file, aside) for file in sorted(aside.iterdir())),
            counts={
                "prompts": len(trajectories),
                "texts": sum(t.batch for t in trajectories),
                "words": sum(len(ids) for t in trajectories for ids in t.word_ids),
            },
        )
        write_manifest(aside / MANIFEST, manifest)
    return Built(directory / MANIFEST, manifest, reused=False)


def request_for(generation: GenerationSettings, prompt: str) -> Request:
    """The request that ``[generation]`` makes for ``prompt``.

    A prompt with places to fill in keeps its own length.
    """
    named_alike = generation.model_dump(exclude={"prompts", "remasking", "remasking_strength"})
    remasking = Remasking(generation.remasking, generation.remasking_strength)
    request = Request(prompt, remasking=remasking, **named_alike)
    return replace(request, length=0) if asks_to_fill(prompt) else request


def write_views(directory: Path, trajectories: Sequence[Trajectory], checkpoint: Input) -> None:
    """Write text, frames, GIF, page and JSON into ``directory``."""
    texts = [text for trajectory in trajectories for text in trajectory.texts]
    (directory / "samples.txt").write_text("\n\n".join(texts) + "\n", encoding="utf-8")
    (directory / "frames.txt").write_text(frames_text(trajectories), encoding="utf-8")
    write_gif(directory / "samples.gif", trajectories)
    write_page(
        directory / "samples.html",
        trajectories,
        title="Perigee samples",
        about=about(trajectories[0].request, checkpoint),
    )
    write_json(directory / "samples.json", sample_records(trajectories, checkpoint))


def about(request: Request, checkpoint: Input) -> dict[str, str]:
    """What decided the texts, for a reader."""
    return {
        "checkpoint": checkpoint.name,
        "version": checkpoint.version,
        "sampler": request.sampler,
        "steps": str(request.steps),
        "temperature": f"{request.temperature:g}",
        "top-p": f"{request.top_p:g}",
        "seed": str(request.seed),
    }


def sample_records(trajectories: Sequence[Trajectory], checkpoint: Input) -> dict[str, Any]:
    """Every text with what decided it, and its exact log-likelihood in nats where it has one."""
    return {
        "checkpoint": {"name": checkpoint.name, "version": checkpoint.version},
        "samples": [
            _record(trajectory, row)
            for trajectory in trajectories
            for row in range(trajectory.batch)
        ],
    }


def _record(trajectory: Trajectory, row: int) -> dict[str, Any]:
    likelihood = trajectory.log_likelihood
    return {
        "prompt": trajectory.request.prompt,
        "text": trajectory.texts[row],
        "row": row,
        "seed": trajectory.request.seed,
        "words": len(trajectory.word_ids[row]),
        "drawn_words": trajectory.drawn_words[row],
        "log_likelihood": None if likelihood is None else round(likelihood[row], NATS_DIGITS),
        "steps_taken": trajectory.frames[-1].step,
        "warnings": list(trajectory.warnings),
        "request": asdict(trajectory.request),
    }


def _input(checkpoint: Path, directory: Path) -> Input:
    manifest = read_manifest(checkpoint / MANIFEST)
    relative = os.path.relpath(checkpoint / MANIFEST, directory)
    return Input(manifest.artifact, manifest.version, Path(relative).as_posix())
