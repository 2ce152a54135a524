"""The jobs, each a selection of the graph."""

import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING

import dagster as dg

from assets.names import CORPUS, EVALUATION, SAMPLES, SOURCES, TOKENS, checkpoint_key
from assets.settings_file import SettingsFile
from pipelines.orphans import HOST_TAG
from pipelines.reports import report_failure, report_success

if TYPE_CHECKING:
    from dagster._core.definitions.unresolved_asset_job_definition import (
        UnresolvedAssetJobDefinition as AssetJob,
    )

SMOKE_CONFIG = "configs/perigee_smoke.toml"

HOUR = 3600
MAX_RUNTIME = "dagster/max_runtime"
"""Tag: seconds after which the daemon ends a run."""


def _job(
    name: str,
    selection: dg.AssetSelection,
    description: str,
    *,
    hours: int,
    settings: str = "",
) -> "AssetJob":
    return dg.define_asset_job(
        name,
        selection,
        description=description,
        config=dg.RunConfig(
            resources={"settings_file": SettingsFile(path=settings)}, loggers={"console": {}}
        ),
        # a process for each step would cost 1.7 s a step, and a CUDA context for each epoch
        executor_def=dg.in_process_executor,
        run_tags={MAX_RUNTIME: str(hours * HOUR), HOST_TAG: socket.gethostname()},
        hooks={report_success, report_failure},
    )


def build_jobs() -> Sequence["AssetJob"]:
    """Every job; a step whose work is done already reports it as reused and does nothing."""
    first_epoch = dg.AssetSelection.assets(checkpoint_key(1))
    return [
        _job(
            "train_perigee",
            dg.AssetSelection.all(),
            "Everything: sources, corpora, vocabulary, windows, epochs, evaluation, samples, card.",
            hours=7 * 24,
        ),
        _job(
            "prepare_corpus",
            dg.AssetSelection.groups(SOURCES, CORPUS, TOKENS),
            "Sources to windows: all that training reads, and no training.",
            hours=24,
        ),
        _job(
            "smoke_perigee",
            first_epoch.upstream(),
            f"One epoch of {SMOKE_CONFIG}: does everything fit and run on this machine? It has "
            "checkpoints and windows of its own; the first epoch's asset shows it until the next "
            "train_perigee, which finds its own work done.",
            hours=2,
            settings=SMOKE_CONFIG,
        ),
        _job(
            "evaluate_perigee",
            dg.AssetSelection.assets(EVALUATION),
            "The last checkpoint on the test windows.",
            hours=24,
        ),
        _job(
            "generate_samples",
            dg.AssetSelection.assets(SAMPLES),
            "Samples of the last checkpoint, from the prompts of the settings.",
            hours=2,
        ),
    ]
