"""The commands, and what happens to their errors."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from perigee import __version__
from perigee.cli import corpus, generate, inspection, show, training
from perigee.cli.console import ConsoleObserver
from perigee.errors import PerigeeError
from perigee.threads import wait_patiently

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Masked-diffusion language models from books and web pages, with their lineage.",
)
app.add_typer(corpus.app, name="corpus")

Config = Annotated[
    Path | None,
    typer.Argument(help="Settings file; PERIGEE_CONFIG, or else configs/perigee_train.toml."),
]
Fresh = Annotated[bool, typer.Option("--fresh", help="Do again what is done already.")]


def _version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which it is.")
    ] = False,
) -> None:
    pass


@app.command()
def vocabulary(config: Config = None, fresh: Fresh = False) -> None:
    """Count the training documents' words and write the vocabulary."""
    from perigee import stages
    from perigee.config import load_settings

    settings = load_settings(config)
    with ConsoleObserver() as observer:
        built = stages.build_vocabulary(settings, observer, fresh=fresh)
    state = "unchanged" if built.reused else "written"
    print(f"{settings.training.vocab_path}: {state}, {built.manifest.counts['words']:,} words")


@app.command()
def windows(config: Config = None, fresh: Fresh = False) -> None:
    """Cut the documents of every split into windows of word ids."""
    from perigee import stages
    from perigee.config import load_settings
    from perigee.corpus.documents import SPLITS

    settings = load_settings(config)
    with ConsoleObserver() as observer:
        for split in SPLITS:
            built = stages.build_windows(settings, split, observer, fresh=fresh)
            state = "unchanged" if built.reused else "written"
            count = built.manifest.counts["windows"]
            print(f"{settings.windows_path(split)}: {state}, {count:,} windows")


app.command()(training.train)
app.command()(training.evaluate)
app.command()(generate.generate)
app.command()(show.show)
app.command()(inspection.lineage)
app.command()(inspection.trace)
app.command()(inspection.model)


def main() -> None:
    """Run the command line; a user's error is one line on stderr and exit status 2."""
    wait_patiently(os.environ)
    try:
        sys.exit(app(standalone_mode=False))
    except typer.TyperException as error:
        _refuse(error)
        sys.exit(error.exit_code)
    except PerigeeError as error:
        print(f"perigee: {error}", file=sys.stderr)
        sys.exit(error.exit_status)
    except OSError as error:
        place = "" if error.filename is None else f"{error.filename}: "
        print(f"perigee: {place}{error.strerror or error}", file=sys.stderr)
        sys.exit(PerigeeError.exit_status)
    except KeyboardInterrupt:
        print("perigee: interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)


def _refuse(error: typer.TyperException) -> None:
    """Say in one line what is wrong with the arguments, instead of a framed paragraph."""
    message = error.format_message().rstrip(".")
    if message:  # it is empty where a group was given no command: its help stands there already
        context = getattr(error, "ctx", None)
        command = "perigee" if context is None else context.command_path
        print(f"perigee: {message}; see {command} --help", file=sys.stderr)
