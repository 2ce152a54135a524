"""``perigee lineage``, ``perigee trace``, ``perigee model``: look, and change nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def lineage(
    artifact: Annotated[
        Path, typer.Argument(help="A .raw file, vocabulary, windows, checkpoint, samples ...")
    ],
) -> None:
    """The tree from an artifact down to the source shards, with fingerprints."""
    from perigee.corpus.lineage import lineage as read
    from perigee.corpus.lineage import render

    print(render(read(artifact)))


def trace(
    windows: Annotated[Path, typer.Argument(help="A windows file (.arrow).")],
    number: Annotated[int, typer.Argument(min=0, help="Number of the window, from 0.")],
) -> None:
    """The documents in a window: title or URL, and where in the shard they stand."""
    from perigee.corpus.lineage import trace as read

    window = read(windows, number)
    print(f"window {window.window} of {windows}, from word {window.first_word:,} of the documents")
    for document in window.documents:
        name = document.title or document.url or "untitled"
        place = f"{document.shard}, row {document.row}"
        print(f"  line {document.line}: {name}\n    {document.source}, {place}\n    {document.url}")


def model(
    config: Annotated[
        Path | None,
        typer.Argument(help="Settings file; PERIGEE_CONFIG, or else configs/perigee_train.toml."),
    ] = None,
    batch: Annotated[
        int | None, typer.Option(min=1, help="Windows in a step; without, the settings'.")
    ] = None,
) -> None:
    """Layers, parameters by part, operations, memory: what a model costs before it is built."""
    from perigee.config import load_settings
    from perigee.model.report import report_model
    from perigee.model.shape import shape_from_settings
    from perigee.tokenizer.prime import SPECIAL_TOKENS

    settings = load_settings(config)
    words = settings.training.vocab_size + len(SPECIAL_TOKENS)
    moduli: tuple[int, ...] = ()
    if settings.training.unmask_fraction > 0.0:
        from perigee.training.learner import code_moduli

        moduli = code_moduli(settings, words)
    report = report_model(
        shape_from_settings(settings, words),
        batch=batch or settings.training.batch_size,
        glimpse_moduli=moduli,
    )
    print(report.table())
