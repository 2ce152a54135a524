"""The model card: what a model was made from and how, what it is worth, what it is not for.

Nothing in it is typed in by hand but its limits; every figure comes from the manifests and from
what evaluation and generation wrote (Mitchell et al., "Model cards for model reporting", 2019).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from perigee.corpus.documents import SPLITS, raw_paths
from perigee.corpus.lineage import lineage, render
from perigee.files import atomic_file, read_json
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
from perigee.settings import Settings

STAGE = "model_card"
CODE_VERSION = "2"

LIMITS = """\
- It writes what its sources are like, errors, prejudice and private matters included; nothing was
  filtered for them. It knows no facts and follows no instructions.
- Words outside the vocabulary are [UNK] to it; text is lower case.
- A bound is an upper bound of the negative log-likelihood a word, [EOS] and [UNK] included, and can
  be compared with figures of the same vocabulary and windows only. The open-vocabulary figure
  can be compared across vocabularies, for the same text in lower case."""


def build_model_card(
    settings: Settings, observer: Observer = SILENT, *, fresh: bool = False
) -> Built:
    """Write the card of the last epoch's checkpoint; one that is current is kept.

    Raises
    ------
    ArtifactError
        If checkpoint, evaluation or samples are missing or damaged.
    """
    path = settings.model_card_path()
    manifest_path = path.with_suffix(".manifest.json")
    inputs = tuple(_inputs(settings, path.parent))
    expected = recipe(STAGE, CODE_VERSION, {}, inputs)
    manifest = None if fresh else current_manifest(manifest_path, expected)
    if manifest is not None:
        observer.say(f"model card: reused, nothing that it tells of has changed ({path})")
        return Built(manifest_path, manifest, reused=True)
    text = render_card(settings)
    with atomic_file(path) as aside:
        aside.write_text(text, encoding="utf-8")
    files = (record_file(path, path.parent),)
    counts = {"words": len(text.split())}
    manifest = Manifest(STAGE, STAGE, CODE_VERSION, {}, inputs, files, counts)
    write_manifest(manifest_path, manifest)
    return Built(manifest_path, manifest, reused=False)


def render_card(settings: Settings) -> str:
    """The card as Markdown."""
    checkpoint = settings.checkpoint_path(settings.training.epochs)
    manifest = read_manifest(checkpoint / "manifest.json")
    parts = [
        f"# {settings.checkpoint_stem}",
        f"A masked-diffusion language model of {manifest.counts['parameters']:,} parameters, "
        f"trained for {manifest.counts['steps']:,} steps; version `{manifest.version[:12]}`.",
        "## Validation",
        "\n".join(_epochs(settings)),
        _evaluation(settings),
        "## Samples",
        "\n\n".join(_samples(settings)),
        "## Data",
        "\n".join(_data(settings)),
        "## Settings",
        f"```json\n{json.dumps(dict(manifest.settings), indent=1)}\n```",
        "## Lineage",
        f"```\n{_lineage(checkpoint)}\n```",
        "## Limits",
        LIMITS,
    ]
    return "\n\n".join(parts) + "\n"


def _inputs(settings: Settings, directory: Path) -> Iterator[Input]:
    checkpoint = settings.checkpoint_path(settings.training.epochs)
    for path in (
        checkpoint / "manifest.json",
        settings.evaluation_path().with_suffix(".manifest.json"),
        settings.samples_path() / "manifest.json",
    ):
        manifest = read_manifest(path)
        relative = Path(os.path.relpath(path, directory)).as_posix()
        yield Input(manifest.artifact, manifest.version, relative)


def _epochs(settings: Settings) -> Iterator[str]:
    yield "| epoch | training loss | validation bound | standard error | perplexity bound |"
    yield "|---:|---:|---:|---:|---:|"
    for epoch in range(1, settings.training.epochs + 1):
        state = read_json(settings.checkpoint_path(epoch) / "state.json")
        bound: dict[str, Any] = state["validation"]
        yield (
            f"| {epoch} | {state['train_loss']:.4f} | {bound['nats_per_word']:.4f} "
            f"| {bound['standard_error']:.4f} | {bound['perplexity']:.1f} |"
        )


def _evaluation(settings: Settings) -> str:
    report = settings.evaluation_path().with_suffix(".md").read_text(encoding="utf-8").strip()
    return report if not report.startswith("# ") else f"#{report}"


def _lineage(checkpoint: Path) -> str:
    """The tree, with paths from the project's root: the card is the same wherever that is."""
    return render(lineage(checkpoint)).replace(f"{Path.cwd()}{os.sep}", "")


def _samples(settings: Settings) -> Iterator[str]:
    samples = read_json(settings.samples_path() / "samples.json")["samples"]
    for sample in samples:
        yield f"> **{sample['prompt']}** → {sample['text']}"


def _data(settings: Settings) -> Iterator[str]:
    yield "| split | documents | words | left out |"
    yield "|---|---:|---:|---|"
    for split in SPLITS:
        manifest = read_manifest(raw_paths(settings.raw_path("unified", split)).manifest)
        dropped = ", ".join(f"{n} {reason}" for reason, n in manifest.dropped.items() if n)
        counts = manifest.counts
        yield f"| {split} | {counts['documents']:,} | {counts['words']:,} | {dropped or 'none'} |"
