"""``perigee train`` and ``perigee evaluate``."""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from perigee.cli.console import ConsoleObserver
from perigee.cli.torchrun import is_wanted, launch

if TYPE_CHECKING:
    from perigee.training.reports import TrainingReport

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
    """Train on the unified documents: vocabulary and windows if they are missing, then epochs.

    With [training] processes above 1, torchrun starts so many of it, one for each device.
    """
    from perigee import stages
    from perigee.config import load_settings, resume_requested
    from perigee.observer import SILENT

    settings = load_settings(config)
    if is_wanted(settings.training.processes, os.environ):
        sys.exit(launch(settings.training.processes, "perigee", sys.argv[1:]))
    resume = (resume or resume_requested()) and not fresh
    first = os.environ.get("RANK", "0") == "0"
    with ConsoleObserver() if first else nullcontext(SILENT) as observer:
        if first:
            stages.prepare(settings, observer)
        from perigee.training.processes import joined_processes
        from perigee.training.trainer import train as run

        with joined_processes(os.environ, settings.training.use_gpu, SILENT) as processes:
            processes.wait()
            report = run(
                settings,
                until_epoch=until_epoch,
                resume=resume,
                fresh=fresh,
                observer=observer,
                processes=processes,
            )
    if first:
        _print_report(report)


def _print_report(report: TrainingReport) -> None:
    from perigee.cli.show import bound_text

    for epoch in report.epochs:
        state = "unchanged" if epoch.reused else "written"
        bound = bound_text(epoch.validation)
        print(f"{epoch.checkpoint}: {state}, validation bound {bound} nats a word")
    print(f"log: {report.log}")
    print(f"loss curve: {report.curve}")


def evaluate(
    config: Config = None,
    checkpoint: Annotated[
        Path | None, typer.Argument(help="An epoch's directory; the last one of the settings.")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Do again what is done already.")] = False,
) -> None:
    """Bound, exact perplexity of the sampler, statistics of its texts, on the test windows."""
    from perigee.config import load_settings

    settings = load_settings(config)
    from perigee.training.evaluation import evaluate as run

    with ConsoleObserver() as observer:
        run(settings, checkpoint, observer, fresh=fresh)
    path = settings.evaluation_path()
    print(path.with_suffix(".md").read_text(encoding="utf-8").rstrip())
    print(f"\nthe same as JSON: {path}")
