"""Retraining, once a week unless the settings say otherwise; off until somebody turns it on."""

import dagster as dg
from dagster import DagsterRunStatus, RunsFilter

from assets import code_versions
from assets.settings_file import SettingsFile
from perigee.errors import SettingsError
from perigee.files import fingerprint
from perigee.settings import Settings
from pipelines.sensors import archive_state, pg19_state

JOB = "train_perigee"
BASIS_TAG = "perigee/basis"
"""On the schedule's runs: fingerprint of what a training follows from."""


def basis(settings: Settings) -> str:
    """Fingerprint of sources, settings and the code of training."""
    sources = [pg19_state(settings), archive_state(settings)]
    return fingerprint([sources, settings.model_dump(mode="json"), code_versions.CHECKPOINT])


def retrain(
    context: dg.ScheduleEvaluationContext, settings_file: SettingsFile
) -> dg.RunRequest | dg.SkipReason:
    """A run, unless one of the schedule's has done all of it already."""
    now = {BASIS_TAG: basis(settings_file.read())}
    done = RunsFilter(job_name=JOB, statuses=[DagsterRunStatus.SUCCESS], tags=now)
    if runs := context.instance.get_runs(done, limit=1):
        return dg.SkipReason(f"nothing has changed since run {runs[0].run_id}")
    return dg.RunRequest(tags=now)


def build_retraining(cron: str) -> dg.ScheduleDefinition:
    """The schedule of ``train_perigee``; a week in which nothing changed starts nothing.

    Raises
    ------
    perigee.errors.SettingsError
        If ``cron`` is no cron expression.
    """
    schedule = dg.schedule(
        name="weekly_retraining",
        job_name=JOB,
        cron_schedule=cron,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description="Trains on what the sources hold then, unless that is done. Start: the switch "
        "in the UI, or `dagster schedule start weekly_retraining`.",
    )
    try:
        return schedule(retrain)
    except dg.DagsterInvalidDefinitionError:
        raise SettingsError(
            f"[operation] retraining_cron is {cron!r}",
            expected="five fields of cron, such as '0 3 * * 0' for Sundays at 3",
        ) from None
