"""What a person sees who runs ``dagster job execute``: short lines, and the failure's at the end.

Dagster's own logger puts the run's id into every line and two stack traces of its machinery under
every failure, and ends with exit status 1 whatever happened. Stack traces are kept for what nobody
foresaw; a mistake that its reader can mend is one line, the last one, with exit status 2.
"""

import atexit
import logging
import sys
import time
from typing import NoReturn, TextIO

import click
import dagster as dg
from dagster import DagsterEventType

from perigee._dagster_cli import COMMANDS, dagster_arguments
from perigee.errors import Interrupted, PerigeeError

INTERRUPTED = "DagsterExecutionInterruptedError"
FAILURE_CLASSES = ("Failure", "DagsterAssetCheckFailedError", INTERRUPTED)
"""Errors whose message is meant for the person who started the run."""

FOLLOWS_FROM_FAILURE = "Dependencies for step "
OF_PIPES = "[pipes] "
"""How Dagster's notes on the way to another process begin; the event log keeps them."""


class TerminalFormatter(logging.Formatter):
    """``06:13:08 pg19_raw: reading shard 2 of 4``."""

    def __init__(self) -> None:
        super().__init__("%(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """One line, except for errors that nobody foresaw."""
        meta = getattr(record, "dagster_meta", None)
        if meta is None:
            return super().format(record)
        line = foreseen(meta["dagster_event"])
        where = meta["step_key"] or meta["job_name"]
        if line is None and _has_error(meta["dagster_event"]):
            return super().format(record)
        level = "" if record.levelno <= logging.INFO else f"{record.levelname.lower()}: "
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        return f"{clock} {where}: {level}{line or meta['orig_message']}"


def _has_error(event: dg.DagsterEvent | None) -> bool:
    return getattr(getattr(event, "event_specific_data", None), "error", None) is not None


def foreseen(event: dg.DagsterEvent | None) -> str | None:
    """The line of a failure that was meant for the reader; ``None`` for any other event."""
    error = getattr(getattr(event, "event_specific_data", None), "error", None)
    while error is not None and error.cls_name not in FAILURE_CLASSES:
        error = error.cause
    if error is None:
        return None
    # Dagster keeps "module.Class: message" with a line's end
    line = " ".join(error.message.partition(": ")[2].split())
    return line or "interrupted; the same command goes on from what is finished"


def was_interrupted(event: dg.DagsterEvent | None) -> bool:
    """Whether a failure is a stop that somebody asked for."""
    error = getattr(getattr(event, "event_specific_data", None), "error", None)
    return error is not None and error.cls_name == INTERRUPTED


class TerminalHandler(logging.StreamHandler[TextIO]):
    """Writes the lines; the one that explains why the run failed becomes the command's last."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self.setFormatter(TerminalFormatter())

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record, unless it tells of what only follows from another, or of Dagster."""
        meta = getattr(record, "dagster_meta", None) or {"dagster_event": None, "orig_message": ""}
        if meta["orig_message"].startswith(FOLLOWS_FROM_FAILURE):
            return
        event = meta["dagster_event"]
        if meta["orig_message"].startswith(OF_PIPES) and not _has_error(event):
            return
        if event is not None and event.event_type == DagsterEventType.RUN_FAILURE:
            reason = foreseen(event)
            if reason is not None and is_command_line():
                stop = was_interrupted(event)
                end_with(reason, Interrupted.exit_status if stop else PerigeeError.exit_status)
                return
        super().emit(record)


def is_command_line() -> bool:
    """Whether this process is a command that a person waits for, and not one of Dagster's own."""
    arguments = dagster_arguments(sys.orig_argv) or []
    return tuple(arguments[:2]) in COMMANDS


def end_with(line: str, status: int) -> None:
    """Make ``line`` the command's last one, and ``status`` its exit status."""
    # the command reports a failed run as a ClickException, whose status is an attribute
    click.ClickException.exit_code = status
    atexit.register(click.echo, f"perigee: {line}", err=True)


@dg.logger(
    config_schema={"level": dg.Field(str, is_required=False, default_value="INFO")},
    description="Short lines on the terminal.",
)
def terminal(init: dg.InitLoggerContext) -> logging.Logger:
    """The logger of every job, under the name of the one that Dagster would take."""
    logger = logging.Logger("perigee.terminal", level=init.logger_config["level"])
    logger.addHandler(TerminalHandler(sys.stderr))
    return logger


def refuse(line: str) -> NoReturn:
    """End before anything has begun: a command with its line, a code server with its error.

    Raises
    ------
    dagster.DagsterInvalidDefinitionError
        In a process of Dagster's own, which shows it where the graph would be.
    """
    if is_command_line():
        click.echo(f"perigee: {line}", err=True)
        raise SystemExit(PerigeeError.exit_status)
    raise dg.DagsterInvalidDefinitionError(line)
