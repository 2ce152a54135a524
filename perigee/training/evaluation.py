"""The evaluation of a checkpoint as an artifact: figures as JSON and as a Markdown table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from perigee.errors import ArtifactError
from perigee.files import atomic_file, write_json
from perigee.manifest import (
    Built,
    Input,
    Manifest,
    current_manifest,
    recipe,
    record_file,
    write_manifest,
)
from perigee.observer import SILENT, Observer
from perigee.settings import Settings
from perigee.tokenizer.blocks import RawReader
from perigee.tokenizer.prime import PrimeTokenizer
from perigee.training import measures
from perigee.training.checkpoint import Checkpoint, load_checkpoint
from perigee.training.data import open_windows
from perigee.training.device import choose_device
from perigee.training.evaluation_table import as_markdown
from perigee.training.held_out import SPELLED_WORDS, find_origins, read_text
from perigee.training.layout import find_checkpoint
from perigee.training.recipe import windows_input

STAGE = "evaluation"
CODE_VERSION = "2"


def evaluate(
    settings: Settings,
    checkpoint: Path | None = None,
    observer: Observer = SILENT,
    fresh: bool = False,
) -> Built:
    """Evaluate a checkpoint's averaged weights on the test windows of the settings.

    Writes ``settings.evaluation_path()`` (JSON), the same as a Markdown table beside it, and a
    manifest. Nothing is done if that stands already, made from the same checkpoint and windows.

    Parameters
    ----------
    checkpoint:
        A checkpoint's directory; by default that of the last epoch there is.
    fresh:
        Evaluate again even so.

    Raises
    ------
    ArtifactError
        If the checkpoint or the windows are missing or damaged, or do not belong together.
    """
    loaded = load_checkpoint(find_checkpoint(settings, checkpoint))
    _check_vocabulary(settings, loaded)
    windows = {
        split: open_windows(settings, split, loaded.tokenizer) for split in ("train", "test")
    }
    if len(windows["test"]) == 0:
        raise ArtifactError("holds no windows", place=settings.windows_path("test"))
    inputs = (
        Input(loaded.manifest.artifact, loaded.manifest.version),
        *(windows_input(split, opened.manifest) for split, opened in windows.items()),
        *_documents(settings),
    )
    chosen = {
        "evaluation_times": settings.diffusion.evaluation_times,
        "seed": settings.training.seed,
        "few_steps": list(measures.FEW_STEPS),
        "sampler_words": measures.SAMPLER_WORDS,
        "spelled_words": SPELLED_WORDS,
        "texts": asdict(measures.text_request(settings)),
    }
    path = settings.evaluation_path()
    place = path.with_suffix(".manifest.json")
    current = current_manifest(place, recipe(STAGE, CODE_VERSION, chosen, inputs))
    if current is not None and not fresh:
        observer.say(f"{path}: reused, nothing it was made from has changed")
        return Built(place, current, reused=True)
    test, device = windows["test"], choose_device(settings.training.use_gpu, observer)
    origins = find_origins(settings.raw_path("unified", "test"), test)
    report = measures.measure(
        measures.Subject(
            settings=settings,
            checkpoint=loaded,
            train=windows["train"].tokens,
            test=test.tokens,
            origins=origins,
            text=read_text(settings, test, origins, loaded.tokenizer, observer),
            device=device,
            observer=observer,
        )
    )
    write_json(path, report)
    table = path.with_suffix(".md")
    with atomic_file(table) as aside:
        aside.write_text(as_markdown(report), encoding="utf-8")
    manifest = Manifest(
        artifact=STAGE,
        stage=STAGE,
        code_version=CODE_VERSION,
        settings=chosen,
        inputs=inputs,
        files=(record_file(path, path.parent), record_file(table, path.parent)),
        counts={
            "windows": report["windows"],
            "words": report["words"],
            "nats_per_word": report["bound"]["nats_per_word"],
            "standard_error": report["bound"]["standard_error"],
            "perplexity": report["bound"]["perplexity"],
            "device": device.name,
        },
    )
    write_manifest(place, manifest)
    return Built(place, manifest, reused=False)


def _documents(settings: Settings) -> Iterator[Input]:
    """The documents behind the windows, where they still are."""
    directory = settings.evaluation_path().parent
    for split in ("train", "test"):
        path = settings.raw_path("unified", split)
        if path.is_file():
            yield RawReader(path).as_input(directory)


def _check_vocabulary(settings: Settings, loaded: Checkpoint) -> None:
    place = Path(settings.training.vocab_path)
    if PrimeTokenizer.load(place).fingerprint != loaded.tokenizer.fingerprint:
        raise ArtifactError(
            f"is not the vocabulary that {loaded.path} was trained with",
            place=place,
            remedy="train again, or evaluate with the settings of that training",
        )
