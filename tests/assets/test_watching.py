"""What of the library's reports reaches Dagster, and what its errors become."""

import dagster as dg
import pytest

from assets.names import TRAINING_METRICS
from assets.watching import RETRIES, DagsterObserver, watched
from perigee.errors import (
    BusyError,
    DownloadError,
    Interrupted,
    NonFiniteError,
    PerigeeError,
    SourceError,
)


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def run(instance: dg.DagsterInstance, body: object) -> dg.ExecuteInProcessResult:
    """A run of one asset, whose body gets the context."""

    @dg.asset
    def subject(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        assert callable(body)
        body(context)
        return dg.MaterializeResult()

    return dg.materialize([subject], instance=instance, raise_on_error=False)


def messages(instance: dg.DagsterInstance, result: dg.ExecuteInProcessResult) -> list[str]:
    """The lines that the body logged."""
    logged = instance.all_logs(result.run_id)
    return [entry.user_message for entry in logged if entry.dagster_event is None]


def test_progress_is_thinned_and_short_tasks_say_nothing(instance: dg.DagsterInstance) -> None:
    clock = Clock()

    def body(context: dg.AssetExecutionContext) -> None:
        observer = DagsterObserver(context, seconds=10.0, clock=clock)
        for done in range(101):
            observer.progress("reading", done, 100, "documents")
            clock.now += 0.3
        observer.progress("a short one", 1, None, "bytes")

    result = run(instance, body)
    assert messages(instance, result) == [
        "reading: 34 of 100 documents",
        "reading: 68 of 100 documents",
    ]


def test_steps_become_metrics_and_other_events_lines(instance: dg.DagsterInstance) -> None:
    clock = Clock()

    def body(context: dg.AssetExecutionContext) -> None:
        observer = DagsterObserver(context, seconds=10.0, clock=clock)
        for step in range(1, 31):
            observer.record("step", {"step": step, "loss": 1.0 / step, "note": None})
            clock.now += 1.0
        observer.record("validation", {"epoch": 1, "nats_per_word": 5.43219})
        observer.say("a card is missing", "warning")
        assert not observer.should_stop()

    result = run(instance, body)
    observations = instance.fetch_observations(TRAINING_METRICS, limit=10).records
    steps = sorted(o.asset_observation.metadata["step"].value for o in observations)
    assert steps == [1, 11, 21]
    assert "validation: epoch 1, nats per word 5.432" in messages(instance, result)
    warned = [e for e in instance.all_logs(result.run_id) if e.user_message == "a card is missing"]
    assert [entry.level for entry in warned] == [30]


@pytest.mark.parametrize("kind", [SourceError, NonFiniteError])
def test_a_users_mistake_is_one_line_and_not_retried(
    instance: dg.DagsterInstance, kind: type[PerigeeError]
) -> None:
    attempts = []

    def body(context: dg.AssetExecutionContext) -> None:
        attempts.append(1)
        with watched(context):
            raise kind("is cut short", place="a.parquet", remedy="copy it again")

    result = run(instance, body)
    assert not result.success
    (failure,) = result.get_step_failure_events()
    error = failure.event_specific_data.error
    assert error.cls_name == "Failure"
    assert error.message.strip().endswith("Failure: a.parquet: is cut short; copy it again")
    assert error.cause is None
    assert len(attempts) == 1


@pytest.mark.parametrize("kind", [DownloadError, BusyError])
def test_what_passes_by_itself_is_tried_again(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, kind: type[PerigeeError]
) -> None:
    monkeypatch.setattr("assets.watching.FIRST_WAIT_SECONDS", 0.0)
    attempts = []

    def twice(context: dg.AssetExecutionContext) -> None:
        attempts.append(context.retry_number)
        with watched(context):
            if len(attempts) < 3:
                raise kind("not now", place="http://127.0.0.1")

    assert run(instance, twice).success
    assert attempts == [0, 1, 2]

    def always(context: dg.AssetExecutionContext) -> None:
        attempts.append(context.retry_number)
        with watched(context):
            raise kind("not now", place="http://127.0.0.1")

    attempts.clear()
    result = run(instance, always)
    assert attempts == list(range(RETRIES + 1))
    error = result.get_step_failure_events()[0].event_specific_data.error
    assert error.message.strip().endswith("Failure: http://127.0.0.1: not now")


@pytest.mark.parametrize(("asked", "status"), [(True, "CANCELED"), (False, "FAILURE")])
def test_a_stop_cancels_the_run_if_the_ui_asked_for_it(
    instance: dg.DagsterInstance, asked: bool, status: str
) -> None:
    def body(context: dg.AssetExecutionContext) -> None:
        if asked:
            context.instance.report_run_canceling(context.run)
        with watched(context):
            raise Interrupted("stopped by SIGTERM after step 3", remedy="a resume goes on")

    result = run(instance, body)
    assert "stopped by SIGTERM after step 3; a resume goes on" in messages(instance, result)
    (stored,) = instance.get_runs()
    assert stored.status.value == status
