"""The code location: what `workspace.yaml` and `dagster job execute` load."""

import dagster as dg

from assets.lineage import build_assets, build_checks
from assets.settings_file import SettingsFile
from perigee.config import load_settings
from perigee.errors import PerigeeError
from perigee.settings import Settings
from pipelines.jobs import build_jobs
from pipelines.orphans import orphaned_runs
from pipelines.schedules import build_retraining
from pipelines.sensors import new_source_data
from pipelines.terminal import refuse, terminal


def build_definitions(settings: Settings) -> dg.Definitions:
    """Everything; the settings decide how many epochs the graph has, and when it is retrained."""
    return dg.Definitions(
        assets=build_assets(settings.training.epochs),
        asset_checks=build_checks(),
        jobs=build_jobs(),
        schedules=[build_retraining(settings.operation.retraining_cron)],
        sensors=[new_source_data, orphaned_runs],
        resources={"settings_file": SettingsFile()},
        loggers={"console": terminal},
        executor=dg.in_process_executor,
    )


def load() -> dg.Definitions:
    """The definitions of the settings that PERIGEE_CONFIG names; the steps read theirs again."""
    try:
        return build_definitions(load_settings())
    except PerigeeError as error:
        refuse(str(error))


defs = load()
