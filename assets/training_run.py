"""A training in a process of its own, as the run that asked for it sees it."""

import os
import signal
import sys
import time
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

import dagster as dg

from assets.lifeline import SECONDS_BETWEEN_LOOKS, STOP_SECONDS, Child
from perigee import errors
from perigee.cli.torchrun import SIGNALLED
from perigee.errors import Interrupted, PerigeeError, TrainingError
from perigee.manifest import read_manifest
from perigee.observer import Observer
from perigee.settings import Settings
from perigee.threads import wait_patiently
from perigee.training.layout import MANIFEST
from perigee.training.reports import EpochReport, epoch_report

ROOT = Path(__file__).parents[1]


def command(settings: Settings) -> list[str]:
    """What is started: one process, or torchrun with several."""
    processes = settings.training.processes
    several = [] if processes == 1 else ["perigee.cli.torchrun", str(processes)]
    module = "assets.training_process"
    return [sys.executable, "-m", *several, module]


def environment() -> dict[str, str]:
    """The run's own, in which the project's modules are found from any directory."""
    environ = dict(os.environ)
    paths = [str(ROOT), environ.get("PYTHONPATH", "")]
    environ["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    wait_patiently(environ)
    return environ


class OneWriter(dg.PipesTempFileMessageReader):
    """Messages of one process; Dagster 1.13 warns of itself where its base class says so."""

    @property
    def expected_writer_count(self) -> int:
        """How many processes write."""
        return 1


class Inbox:
    """What the training process has sent: passed on, and taken note of."""

    def __init__(self, session: dg.PipesSession, observer: Observer) -> None:
        self.error: PerigeeError | None = None
        """The mistake with which training ended, if it told of one."""
        self._session = session
        self._observer = observer
        self._read = 0

    def epochs(self) -> Iterator[tuple[int, bool, str]]:
        """Pass on what is new; yields each epoch that is done, if it stood already, and a text."""
        for message in self._session.get_custom_messages()[self._read :]:
            self._read += 1
            match message:
                case "progress", task, done, total, unit:
                    self._observer.progress(task, done, total, unit)
                case "record", event, values:
                    self._observer.record(event, values)
                case "say", line, level:
                    self._observer.say(line, level)
                case "epoch", epoch, reused, text:
                    yield epoch, reused, text
                case "error", name, line:
                    self.error = getattr(errors, name)(line)
                case _:
                    raise AssertionError(message)


def train_apart(
    context: dg.AssetExecutionContext,
    settings: Settings,
    *,
    epochs: Sequence[int],
    on_change: str,
    observer: Observer,
    descriptors: Sequence[int] = (),
) -> Generator[tuple[EpochReport, str], None, None]:
    """Train in a process of its own; as each epoch is on disk, yield its report and a text of it.

    The process begins the next epoch when the report has been taken note of. Closing the generator,
    an interrupt of the run, and the end of this process stop it; it keeps a snapshot.

    Parameters
    ----------
    descriptors:
        Open files that the process has to hold as well: the device's lock.

    Raises
    ------
    PerigeeError
        What the training process raised; a TrainingError if something ended it from outside.
    RuntimeError
        If it failed otherwise; its trace is in the run's log.
    """
    extras = {
        "settings": settings.model_dump_json(),
        "epochs": list(epochs),
        "on_change": on_change,
    }
    interrupt: BaseException | None = None
    status: int | None = None
    # Pipes reads what Dagster 1.13 has deprecated of an asset's context, but not of an op's
    with dg.open_pipes_session(
        context.op_execution_context,
        dg.PipesTempFileContextInjector(),
        OneWriter(),
        extras,
    ) as session:
        inbox = Inbox(session, observer)
        environ = {**environment(), **session.get_bootstrap_env_vars()}
        child = Child(command(settings), environ, descriptors)
        try:
            while child.is_running():
                for epoch, reused, text in inbox.epochs():
                    yield report_of(settings, epoch, reused), text
                    child.go_on()
                time.sleep(SECONDS_BETWEEN_LOOKS)
        except (dg.DagsterExecutionInterruptedError, KeyboardInterrupt) as stop:
            interrupt = stop
            observer.say("asked to stop: training keeps a snapshot at the end of its step")
        finally:
            status = child.stop()
    for epoch, reused, text in inbox.epochs():
        yield report_of(settings, epoch, reused), text
    if error := explanation(status, settings, inbox.error, interrupt):
        raise error from None


def report_of(settings: Settings, epoch: int, reused: bool) -> EpochReport:
    """The report of an epoch from its checkpoint."""
    manifest = read_manifest(settings.checkpoint_path(epoch) / MANIFEST)
    return epoch_report(settings, epoch, manifest, reused=reused)


def explanation(
    status: int, settings: Settings, told: PerigeeError | None, interrupt: BaseException | None
) -> BaseException | None:
    """Why training ended before its epochs were done; ``None`` if it did not."""
    number = -status if status < 0 else status - SIGNALLED
    if interrupt is not None:
        return told or interrupt
    # a worker that was killed comes before what the others then tell
    if number in signal.valid_signals() and not isinstance(told, Interrupted):
        return ended_by(signal.Signals(number), settings)
    if told is not None:
        return told
    return RuntimeError(f"the training process ended with status {status}") if status else None


def ended_by(number: signal.Signals, settings: Settings) -> TrainingError:
    """A training that something ended from outside."""
    last = settings.training.epochs
    standing = (settings.checkpoint_path(e) / MANIFEST for e in range(1, last + 1))
    following = next((e for e, path in enumerate(standing, 1) if not path.is_file()), last)
    cause = {
        signal.SIGKILL: " (by hand, or because memory ran out: then lower [training] batch_size or "
        "raise accumulate)",
        signal.SIGALRM: f": it did not come to the end of a step within {STOP_SECONDS} s of a stop",
    }
    return TrainingError(
        f"the training process was ended by {number.name}{cause.get(number, '')}",
        remedy=f"run the job again: it goes on with epoch {following}",
    )
