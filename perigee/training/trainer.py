"""Training, epoch by epoch: what stands is used, what is missing is computed.

Data order, masks and noise are functions of (seed, epoch, step, position), and the learner is the
only thing that changes; so a run that was killed and resumed makes the same weights, bit for bit on
one device kind, as one that was never touched.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Literal

from perigee.errors import CheckpointError, SettingsError
from perigee.files import exclusive_lock
from perigee.manifest import Manifest
from perigee.observer import SILENT, Observer
from perigee.settings import Settings
from perigee.training.curve import curve_path, draw_curve
from perigee.training.data import TrainingData, open_data
from perigee.training.device import choose_device
from perigee.training.epoch import EpochRunner
from perigee.training.log import read_log
from perigee.training.processes import OneProcess, Processes
from perigee.training.recipe import TrainingRecipe, decisive_settings, epoch_name
from perigee.training.remedies import disk_errors
from perigee.training.reports import EpochReport, TrainingReport, epoch_report
from perigee.training.retention import release_optimizers
from perigee.training.standing import (
    check_compatible,
    set_aside,
    set_damaged_aside,
    standing_epoch,
    tidy,
)

OnChange = Literal["refuse", "restart"]


__all__ = ["EpochReport", "OnChange", "TrainingReport", "train", "train_epochs"]


def train(
    settings: Settings,
    *,
    until_epoch: int | None = None,
    resume: bool = False,
    fresh: bool = False,
    observer: Observer = SILENT,
    on_epoch: Callable[[EpochReport], None] | None = None,
    processes: Processes | None = None,
) -> TrainingReport:
    """Train all epochs, or those up to ``until_epoch``.

    Parameters
    ----------
    resume:
        Go on from what an earlier run finished. Without it the training starts anew, as the
        original does; the earlier run's files are moved aside.
    fresh:
        Start anew even if ``resume`` is given.
    on_epoch:
        Called as each epoch's checkpoint is on disk.

    Raises
    ------
    CheckpointError
        If what stands was made from other settings or data.
    NonFiniteError
        If a loss or gradient is not finite.
    Interrupted
        If a signal or the observer asked for a stop; everything needed to go on is kept.
    """
    last = settings.training.epochs if until_epoch is None else until_epoch
    reports = []
    for report in train_epochs(
        settings,
        epochs=range(1, last + 1),
        fresh=fresh or not resume,
        observer=observer,
        processes=processes,
    ):
        reports.append(report)
        if on_epoch is not None:
            on_epoch(report)
    log = Path(settings.training.log_path)
    is_first = processes is None or processes.rank == 0
    curve = draw_curve(log) if is_first and read_log(log) else curve_path(log)
    return TrainingReport(tuple(reports), log, curve)


def train_epochs(
    settings: Settings,
    *,
    epochs: Collection[int] | None = None,
    fresh: bool = False,
    on_change: OnChange = "refuse",
    observer: Observer = SILENT,
    processes: Processes | None = None,
) -> Iterator[EpochReport]:
    """Yield each epoch's report as soon as its checkpoint is on disk.

    Epochs that stand already, made by the same recipe, are reported with ``reused=True`` and
    cost no work; an epoch begun is gone on with from its last snapshot.

    Parameters
    ----------
    epochs:
        Which ones, 1, 2, ...; all by default. An epoch needs the one before it: standing, or
        among these.
    fresh:
        Start anew; an earlier run's files are moved aside.
    on_change:
        What to do if what stands was made from other settings or data: ``refuse`` it with the
        list of differences, or move it aside and ``restart``.

    Raises
    ------
    SettingsError
        If an epoch is not one of 1 ... epochs.
    CheckpointError
        If the epoch before a wanted one is missing, or what stands is of another recipe.
    NonFiniteError, Interrupted
        See :func:`train`.
    """
    processes = OneProcess() if processes is None else processes
    wanted = _wanted(settings, epochs)
    directory = Path(settings.training.checkpoint_dir)
    first = processes.rank == 0
    observer = observer if first else SILENT
    lock = exclusive_lock(directory / f".{settings.checkpoint_stem}.lock", what="this training")
    with lock if first else nullcontext():
        data = open_data(settings)
        recipe = TrainingRecipe(decisive_settings(settings), data.inputs)
        if first:
            _prepare(settings, recipe, fresh, on_change, observer)
        processes.wait()
        _check_predecessors(settings, wanted)
        yield from _chain(settings, recipe, data, wanted, observer, processes)


def _wanted(settings: Settings, epochs: Collection[int] | None) -> list[int]:
    last = settings.training.epochs
    wanted = sorted(set(range(1, last + 1) if epochs is None else epochs))
    if wrong := [epoch for epoch in wanted if not 1 <= epoch <= last]:
        raise SettingsError(
            f"epoch {wrong[0]} was asked for",
            expected=f"1 to {last} ([training] epochs)",
            remedy="choose another, or raise [training] epochs",
        )
    return wanted


def _prepare(
    settings: Settings,
    recipe: TrainingRecipe,
    fresh: bool,
    on_change: OnChange,
    observer: Observer,
) -> None:
    tidy(settings)
    set_damaged_aside(settings, observer)
    if not fresh:
        try:
            check_compatible(settings, recipe)
            with disk_errors(Path(settings.training.checkpoint_dir)):
                release_optimizers(settings)
            return
        except CheckpointError as error:
            if on_change == "refuse":
                raise
            observer.say(f"starting anew: {error}", "warning")
    if aside := set_aside(settings):
        observer.say(f"the earlier run's checkpoints and log are now in {aside}")


def _check_predecessors(settings: Settings, wanted: list[int]) -> None:
    for epoch in wanted:
        before = settings.checkpoint_path(epoch - 1)
        if epoch > 1 and epoch - 1 not in wanted and not before.is_dir():
            raise CheckpointError(
                f"epoch {epoch} was asked for, but epoch {epoch - 1} is not there",
                place=before,
                remedy=f"select {epoch_name(epoch - 1)} too, or train it first",
            )


def _chain(
    settings: Settings,
    recipe: TrainingRecipe,
    data: TrainingData,
    wanted: list[int],
    observer: Observer,
    processes: Processes,
) -> Iterator[EpochReport]:
    runner: EpochRunner | None = None
    previous: Manifest | None = None
    worked = False
    for epoch in sorted({e for w in wanted for e in (w - 1, w)} - {0}):
        manifest = standing_epoch(settings, recipe, epoch, previous)
        reused = manifest is not None
        if manifest is None:
            _check_predecessors(settings, [epoch if epoch in wanted else epoch + 1])
            runner = runner or _runner(settings, recipe, data, observer, processes)
            manifest = runner.run(epoch, previous)
            worked = True
        previous = manifest
        if epoch in wanted:
            yield epoch_report(settings, epoch, manifest, reused=reused)
    if wanted and not worked:
        observer.say(
            f"training is finished: {_names(wanted)} of {settings.training.epochs} stand in "
            f"{settings.training.checkpoint_dir}, nothing was done"
        )


def _runner(
    settings: Settings,
    recipe: TrainingRecipe,
    data: TrainingData,
    observer: Observer,
    processes: Processes,
) -> EpochRunner:
    device = choose_device(settings.training.use_gpu, observer, index=processes.local_rank)
    return EpochRunner(settings, data, recipe, device, observer, processes)


def _names(epochs: list[int]) -> str:
    return f"epoch {epochs[0]}" if len(epochs) == 1 else f"epochs {epochs[0]} to {epochs[-1]}"
