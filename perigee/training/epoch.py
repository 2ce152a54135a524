"""One epoch: steps, records, snapshots, stops, validation, checkpoint."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, NoReturn

from perigee.errors import Interrupted
from perigee.manifest import Manifest
from perigee.observer import Observer, Scalar
from perigee.settings import Settings
from perigee.training.batches import Batch, make_batch
from perigee.training.checkpoint import restore
from perigee.training.compiling import compile_layers
from perigee.training.data import TrainingData
from perigee.training.device import Device, deterministic
from perigee.training.keeper import Keeper
from perigee.training.learner import build_learner, build_objective
from perigee.training.learning_rate import learning_rate
from perigee.training.log import TrainingLog
from perigee.training.order import batch_rows, divide, epoch_order, steps_per_epoch
from perigee.training.processes import Processes
from perigee.training.provenance import documents_of
from perigee.training.recipe import TrainingRecipe
from perigee.training.remedies import (
    disk_errors,
    is_out_of_memory,
    non_finite_error,
    out_of_memory_error,
)
from perigee.training.signals import StopRequest, catch_stop_signals
from perigee.training.standing import refuse_differences
from perigee.training.step import StepReport, StepRules, take_step
from perigee.training.validation import StoppableObserver, StopValidation, validate


class EpochRunner:
    """Carries the learner from epoch to epoch."""

    def __init__(
        self,
        settings: Settings,
        data: TrainingData,
        recipe: TrainingRecipe,
        device: Device,
        observer: Observer,
        processes: Processes,
    ) -> None:
        training = settings.training
        self.settings, self.data, self.recipe = settings, data, recipe
        self.device, self.observer, self.processes = device, observer, processes
        self.learner = build_learner(settings, len(data.tokenizer), device.torch_device)
        if training.compile:
            compile_layers(self.learner.denoiser, device.torch_device)
        self.rules = StepRules(
            objective=build_objective(settings, len(data.tokenizer)),
            device=device,
            precision=training.precision,
            gradient_clip=training.gradient_clip,
            accumulate=training.accumulate,
        )
        self.keeper = Keeper(settings, recipe, data.tokenizer, device, processes)
        self.steps = steps_per_epoch(len(data.train), training.batch_size)
        self._standing: str | None = None
        """Version of the checkpoint that the learner is at; ``None`` at the beginning."""
        self._stop = StopRequest()
        self._recorded = (0.0, 0)
        """Seconds and words of this process since its last record."""

    def run(self, epoch: int, previous: Manifest | None) -> Manifest:
        """Train ``epoch`` from the checkpoint ``previous`` and write its own; its manifest.

        Raises
        ------
        CheckpointError
            If a snapshot of this epoch was made from something else.
        Interrupted
            If a stop was asked for; a snapshot is on disk.
        NonFiniteError
            If a loss or gradient is not finite; a snapshot of the state before it is on disk.
        TrainingError
            If memory or the disk is full.
        """
        training = self.settings.training
        with disk_errors(Path(training.checkpoint_dir)), deterministic(self.device):
            self._begin(epoch, previous)
            # A signal is honoured after a step and during validation; one that comes while the
            # checkpoint is written, at the beginning of the next epoch.
            with catch_stop_signals(self._stop), self._open_log(epoch) as log:
                if any(self.processes.largest([self._is_stop_asked_for()])):
                    self._interrupt()
                self._take_steps(epoch, log)
                results = self._validate(log)
                manifest = self.keeper.write_checkpoint(epoch, self.learner, results)
        self._standing = manifest.version
        return manifest

    def _begin(self, epoch: int, previous: Manifest | None) -> None:
        """Bring the learner to the beginning of ``epoch``, or to its last snapshot."""
        self._recorded = (0.0, 0)
        inputs, seconds = self.recipe.inputs(epoch, previous), 0.0
        snapshot = self.keeper.snapshots.latest(self.observer)
        if snapshot is not None and snapshot.progress.epoch == epoch:
            refuse_differences(snapshot.path, snapshot.manifest, self.recipe.settings, inputs)
            restore(snapshot.path, self.learner)
            seconds = float(snapshot.manifest.counts.get("seconds", 0.0))
            done = self.learner.progress.epoch_step
            self.observer.say(f"epoch {epoch} goes on after {done} of {self.steps} steps")
        elif previous is not None:
            if self._standing != previous.version:
                restore(self.settings.checkpoint_path(epoch - 1), self.learner)
            self.learner.progress = self.learner.progress.next_epoch()
        self.processes.wait()
        self.keeper.begin(inputs, seconds, self.learner.progress.step)

    def _open_log(self, epoch: int) -> TrainingLog:
        training, first = self.settings.training, self.processes.rank == 0
        return TrainingLog(
            Path(training.log_path) if first else None,
            step=self.learner.progress.step,
            epoch=epoch - 1,
            tensorboard_dir=training.tensorboard_dir if first else "",
            observer=self.observer,
        )

    def _take_steps(self, epoch: int, log: TrainingLog) -> None:
        training, learner = self.settings.training, self.learner
        order = epoch_order(training.seed, epoch, len(self.data.train))
        while learner.progress.epoch_step < self.steps:
            step = learner.progress.epoch_step
            batch = make_batch(
                self.data.train.tokens,
                batch_rows(order, step, training.batch_size),
                seed=training.seed,
                epoch=epoch,
                step=step,
                parts=self.rules.objective.parts,
            )
            self._step(batch, log)
            self.observer.progress(f"epoch {epoch}", step + 1, self.steps, "steps")
            self._keep_or_stop()

    def _step(self, batch: Batch, log: TrainingLog) -> None:
        training, learner = self.settings.training, self.learner
        total = self.steps * training.epochs
        rate = learning_rate(training, learner.progress.step, total)
        begun = time.perf_counter()
        try:
            report = take_step(learner, batch, rate, self.rules, self.processes)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            share = divide(len(batch.rows), self.processes.count)[0]
            raise out_of_memory_error(
                self.settings,
                step=learner.progress.step + 1,
                device=self.device.name,
                share=share.stop - share.start,
            ) from error
        seconds = time.perf_counter() - begun
        if not report.is_finite:
            raise self._non_finite(report, batch)
        self.keeper.seconds += seconds
        self._recorded = (self._recorded[0] + seconds, self._recorded[1] + batch.words)
        if learner.progress.step % training.log_every == 0:
            self._record(report, rate, log)

    def _non_finite(self, report: StepReport, batch: Batch) -> Exception:
        raw = self.settings.raw_path("unified", "train")
        return non_finite_error(
            self.settings,
            report,
            epoch=self.learner.progress.epoch,
            step=self.learner.progress.step + 1,
            kept=self.keeper.write_snapshot(self.learner),
            documents=documents_of(self.data.train, batch.rows.tolist(), raw),
        )

    def _record(self, report: StepReport, rate: float, log: TrainingLog) -> None:
        progress = self.learner.progress
        seconds, words = self._recorded
        log.write(
            "step",
            {
                "epoch": progress.epoch,
                "step": progress.step,
                "loss": progress.record_loss / max(progress.record_words, 1),
                "grad_norm": report.gradient_norm,
                "learning_rate": rate,
                "tokens_per_second": words / seconds if seconds > 0.0 else 0.0,
            },
        )
        self.learner.progress = progress.after_record()
        self._recorded = (0.0, 0)

    def _keep_or_stop(self) -> None:
        """Write a snapshot if it is time or a stop was asked for, in any of the processes."""
        asked, is_due = self._is_stop_asked_for(), self.keeper.is_due()
        anywhere, due = self.processes.largest([asked, is_due])
        if anywhere:
            self._interrupt()
        if due:
            self.keeper.write_snapshot(self.learner)

    def _is_stop_asked_for(self) -> bool:
        return self._stop.signal_name is not None or self.observer.should_stop()

    def _interrupt(self) -> NoReturn:
        progress = self.learner.progress
        kept = self.keeper.write_snapshot(self.learner) or "the first process's snapshot"
        raise Interrupted(
            f"stopped by {self._stop.signal_name or 'request'} after step {progress.epoch_step} of "
            f"{self.steps} of epoch {progress.epoch}; everything is kept in {kept}",
            remedy="go on with --resume, or by running the job again",
        )

    def _validate(self, log: TrainingLog) -> dict[str, Any]:
        """Validate, record it, and give the results that the checkpoint holds."""
        asked = False

        def check() -> None:
            nonlocal asked
            asked = asked or self._is_stop_asked_for()
            if asked and self.processes.count == 1:
                raise StopValidation

        try:
            values = validate(
                self.learner,
                self.data.valid.tokens,
                self.rules.objective,
                self.settings,
                self.device,
                StoppableObserver(self.observer, check),
            )
        except StopValidation:
            self._interrupt()
        progress = self.learner.progress
        loss = progress.epoch_loss / max(progress.epoch_words, 1)
        place: dict[str, Scalar] = {"epoch": progress.epoch, "step": progress.step}
        log.write("validation", {**place, "train_loss": loss, **values})
        return {"train_loss": loss, "validation": values}
