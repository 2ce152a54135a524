"""Retraining, once a week unless the settings say otherwise; off until somebody turns it on."""

import dagster as dg

from perigee.errors import SettingsError


def build_retraining(cron: str) -> dg.ScheduleDefinition:
    """The schedule of ``train_perigee``; a week in which nothing changed trains nothing.

    Raises
    ------
    perigee.errors.SettingsError
        If ``cron`` is no cron expression.
    """
    try:
        return dg.ScheduleDefinition(
            name="weekly_retraining",
            job_name="train_perigee",
            cron_schedule=cron,
            execution_timezone="UTC",
            default_status=dg.DefaultScheduleStatus.STOPPED,
            description="Trains on what the sources hold then. Start: the switch in the UI, or "
            "`dagster schedule start weekly_retraining`.",
        )
    except dg.DagsterInvalidDefinitionError:
        raise SettingsError(
            f"[operation] retraining_cron is {cron!r}",
            expected="five fields of cron, such as '0 3 * * 0' for Sundays at 3",
        ) from None
