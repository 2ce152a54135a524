"""One text of an epoch's checkpoint: what training has come to, for whoever follows it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from perigee.errors import ArtifactError
from perigee.files import fingerprint, read_json, write_json
from perigee.generation.samples import CODE_VERSION, request_for
from perigee.generation.session import open_session
from perigee.manifest import read_manifest
from perigee.settings import Settings
from perigee.training.layout import MANIFEST


def epoch_text(settings: Settings, checkpoint: Path) -> str:
    """The first prompt of ``[generation]``, denoised once by ``checkpoint``.

    It is kept under ``samples/<checkpoint_name>_epochs/`` and read from there the next time.

    Raises
    ------
    CheckpointError
        If ``checkpoint`` is missing or damaged.
    GenerationError
        If the prompt does not fit the model.
    """
    generation = settings.generation
    decisive = [read_manifest(checkpoint / MANIFEST).version, generation.model_dump(mode="json")]
    recipe = fingerprint([CODE_VERSION, *decisive])
    directory = settings.samples_path().with_name(f"{settings.checkpoint_stem}_epochs")
    path = directory / f"{checkpoint.name}.json"
    if (kept := _kept(path, recipe)) is not None:
        return kept
    prompt = generation.prompts[0] if generation.prompts else ""
    session = open_session(checkpoint, use_gpu=settings.training.use_gpu)
    text = session.sample(replace(request_for(generation, prompt), batch=1)).texts[0]
    write_json(path, {"recipe": recipe, "text": text})
    return text


def _kept(path: Path, recipe: str) -> str | None:
    try:
        match read_json(path):
            case {"recipe": str(made_by), "text": str(text)} if made_by == recipe:
                return text
    except ArtifactError:
        pass
    return None
