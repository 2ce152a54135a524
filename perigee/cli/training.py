"""``perigee train`` and ``perigee evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from perigee.cli.console import ConsoleObserver

Config = Annotated[
    Path | None,
    typer.Argument(help="Settings file; PERIGEE_CONFIG, or else configs/perigee_train.toml."),
]


def train(
    config: Config = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from what stands; as PERIGEE_RESUME=1.")
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start anew; an earlier run's files are moved aside.")
    ] = False,
    until_epoch: Annotated[int | None, typer.Option(min=1, help="Stop after this epoch.")] = None,
) -> None:
    """Train on the unified documents: vocabulary and windows if they are missing, then epochs."""
    from perigee import stages
    from perigee.config import load_settings, resume_requested

    settings = load_settings(config)
    resume = (resume or resume_requested()) and not fresh
    with ConsoleObserver() as observer:
        stages.prepare(settings, observer)
        from perigee.training.trainer import train as run

        report = run(
            settings, until_epoch=until_epoch, resume=resume, fresh=fresh, observer=observer
        )
    for epoch in report.epochs:
        bound = epoch.validation
        print(
            f"{epoch.checkpoint}: {'unchanged' if epoch.reused else 'written'}, validation bound "
            f"{bound['nats_per_word']:.4f} ± {bound['standard_error']:.4f} nats a word"
        )
    print(f"log: {report.log}")


def evaluate(
    config: Config = None,
    checkpoint: Annotated[
        Path | None, typer.Argument(help="An epoch's directory; the last one of the settings.")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Do again what is done already.")] = False,
) -> None:
    """Bound, exact perplexity of the sampler, unigram perplexity on the test windows."""
    from perigee.config import load_settings

    settings = load_settings(config)
    from perigee.training.evaluation import evaluate as run

    with ConsoleObserver() as observer:
        run(settings, checkpoint, observer, fresh=fresh)
    path = settings.evaluation_path()
    print(path.with_suffix(".md").read_text(encoding="utf-8").rstrip())
    print(f"\nthe same as JSON: {path}")
