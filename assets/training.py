"""Windows to checkpoints: one asset an epoch, all of them one subsettable materialisation."""

from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import dagster as dg

from assets import code_versions
from assets.checkpoint_checks import (
    FALLING,
    VERIFIED,
    bound_falling,
    checkpoint_check_specs,
    verified_and_finite,
)
from assets.curves import training_curve
from assets.device import device_lease
from assets.findings import Finding
from assets.names import (
    DEVICE_POOL,
    MODEL_OWNERS,
    TRAINING,
    TRAINING_METRICS,
    VOCABULARY,
    checkpoint_key,
    windows_key,
)
from assets.results import materialized
from assets.retention import drop_oldest_trainings
from assets.settings_file import SettingsFile
from assets.training_run import train_apart
from assets.watching import watched
from perigee.errors import CheckpointError
from perigee.manifest import Built
from perigee.settings import Settings
from perigee.training.layout import MANIFEST
from perigee.training.log import read_log
from perigee.training.reports import EpochReport

training_metrics = dg.AssetSpec(
    TRAINING_METRICS,
    group_name=TRAINING,
    owners=MODEL_OWNERS,
    kinds={"tensorboard"},
    description="Loss, gradient norm, learning rate, words a second while training: see Plots.",
)


def checkpoint_specs(epochs: int) -> list[dg.AssetSpec]:
    """``checkpoint.epoch_1`` to ``checkpoint.epoch_<epochs>``, each made from the one before."""
    data = [windows_key("train"), windows_key("valid"), VOCABULARY]
    return [
        dg.AssetSpec(
            checkpoint_key(epoch),
            deps=data + ([checkpoint_key(epoch - 1)] if epoch > 1 else []),
            group_name=TRAINING,
            code_version=code_versions.CHECKPOINT,
            kinds={"pytorch", "safetensors"},
            owners=MODEL_OWNERS,
            description=(
                f"Weights, averaged weights, optimiser and provenance after epoch {epoch}, with "
                "the validation bound. Made by another seed, settings or data, it is made anew."
            ),
        )
        for epoch in range(1, epochs + 1)
    ]


def epoch_metadata(settings: Settings, report: EpochReport, text: str) -> dict[str, Any]:
    """What the UI shows of an epoch: its bound, its speed, the loss so far, a text of it."""
    return {
        "epoch": report.epoch,
        "training loss (nats a word)": report.train_loss,
        "validation bound (nats a word)": report.validation["nats_per_word"],
        "validation": dg.MetadataValue.json(dict(report.validation)),
        "words a second": report.tokens_per_second,
        "seconds": report.seconds,
        "loss so far": training_curve(read_log(Path(settings.training.log_path)), report.epoch),
        "sample text": text,
        "checkpoint": dg.MetadataValue.path(report.checkpoint.absolute()),
    }


def epoch_findings(
    settings: Settings, report: EpochReport
) -> Iterator[tuple[dg.AssetCheckKey, Finding]]:
    """The checks of an epoch."""
    key = checkpoint_key(report.epoch)
    yield dg.AssetCheckKey(key, VERIFIED), verified_and_finite(report.checkpoint)
    if report.epoch > 1:
        before = settings.checkpoint_path(report.epoch - 1)
        bound = report.validation["nats_per_word"]
        yield dg.AssetCheckKey(key, FALLING), bound_falling(bound, before)


def epoch_result(
    context: dg.AssetExecutionContext,
    settings: Settings,
    report: EpochReport,
    text: str,
    findings: Mapping[dg.AssetCheckKey, Finding],
) -> dg.MaterializeResult:
    """The epoch with its metadata, and those of its checks that were asked for."""
    checks = [
        finding.result(check, context)
        for check, finding in findings.items()
        if check in context.selected_asset_check_keys
    ]
    built = Built(report.checkpoint / MANIFEST, report.manifest, report.reused)
    key = checkpoint_key(report.epoch)
    return materialized(key, built, epoch_metadata(settings, report, text), checks)


def build_training(epochs: int) -> dg.AssetsDefinition:
    """The materialisation of ``epochs`` epochs, any of which can be selected.

    No retry policy: Dagster takes a terminated run for one to retry (1.13), and the next run
    goes on from the last epoch anyway.
    """

    @dg.multi_asset(
        name="train",
        specs=checkpoint_specs(epochs),
        check_specs=checkpoint_check_specs(epochs),
        can_subset=True,
        pool=DEVICE_POOL,
    )
    def train(
        context: dg.AssetExecutionContext, settings_file: SettingsFile
    ) -> Iterator[dg.MaterializeResult]:
        """Train epoch after epoch, each reported as its checkpoint is on disk."""
        with watched(context) as observer, device_lease(context) as lock:
            settings = settings_file.read()
            keys = context.selected_asset_keys
            selected = [e for e in range(1, epochs + 1) if checkpoint_key(e) in keys]
            # other data or settings: a new lineage, the old one kept aside, but only from epoch 1
            on_change = "restart" if 1 in selected else "refuse"
            trained = train_apart(
                context,
                settings,
                epochs=selected,
                on_change=on_change,
                observer=observer,
                descriptors=[lock],
            )
            with closing(trained):  # a checkpoint that is found wanting stops it
                for report, text in trained:
                    findings = dict(epoch_findings(settings, report))
                    yield epoch_result(context, settings, report, text, findings)
                    verified = findings[dg.AssetCheckKey(checkpoint_key(report.epoch), VERIFIED)]
                    if verified.problem:
                        raise CheckpointError(verified.problem)
            drop_oldest_trainings(settings, observer)

    return train
