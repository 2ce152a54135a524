"""Retraining, once a week unless the settings say otherwise; off until somebody turns it on."""

import dagster as dg


def build_retraining(cron: str) -> dg.ScheduleDefinition:
    """The schedule of ``train_perigee``; a week in which nothing changed trains nothing."""
    return dg.ScheduleDefinition(
        name="weekly_retraining",
        job_name="train_perigee",
        cron_schedule=cron,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description="Trains on what the sources hold then. Start: the switch in the UI, or "
        "`dagster schedule start weekly_retraining`.",
    )
