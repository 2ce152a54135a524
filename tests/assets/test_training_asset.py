"""The epochs' assets: each reported when it is there, subsets, failures; training is a script."""

import json
import os
import signal
import sys
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import dagster as dg
import pytest
from small_checkpoints import write_checkpoint

from assets.checkpoint_checks import bound_falling, verified_and_finite
from assets.names import checkpoint_key
from assets.settings_file import SettingsFile
from assets.training import build_training
from perigee.manifest import read_manifest
from perigee.settings import Settings


@dataclass
class Script:
    """What the training process does; see scripted_training.py."""

    weight: float = 1.0
    bounds: tuple[float, ...] = (6.0, 5.5, 5.6)
    at: dict[int, str] = field(default_factory=dict)

    def command(self, _settings: Settings) -> list[str]:
        program = Path(__file__).with_name("scripted_training.py")
        return [sys.executable, str(program), json.dumps(asdict(self))]

    def calls(self) -> list[tuple[list[int], str]]:
        """Epochs asked for and what to do if something changed, call by call."""
        lines = Path("calls.jsonl").read_text().splitlines()
        return [(epochs, on_change) for epochs, on_change, _ in map(json.loads, lines)]

    def process(self) -> int:
        """The number of the last process."""
        number: int = json.loads(Path("calls.jsonl").read_text().splitlines()[-1])[2]
        return number


@pytest.fixture
def trainer(project: Path, monkeypatch: pytest.MonkeyPatch) -> Script:
    script = Script()
    monkeypatch.setattr("assets.training_run.command", script.command)
    return script


def materialize(
    instance: dg.DagsterInstance, *epochs: int, fail: bool = False
) -> dg.ExecuteInProcessResult:
    """Run the epochs (all three if none is named)."""
    keys = [checkpoint_key(epoch) for epoch in epochs]
    result = dg.materialize(
        [build_training(3)],
        selection=dg.AssetSelection.assets(*keys) if keys else None,
        instance=instance,
        resources={"settings_file": SettingsFile()},
        raise_on_error=False,
    )
    assert result.success is not fail
    return result


def materialized(result: dg.ExecuteInProcessResult) -> list[str]:
    events = result.get_asset_materialization_events()
    return [event.asset_key.to_user_string() for event in events]


def test_epochs_are_reported_with_version_curve_and_checks(
    settings: Settings, instance: dg.DagsterInstance, trainer: Script
) -> None:
    result = materialize(instance)
    assert materialized(result) == [f"checkpoint.epoch_{epoch}" for epoch in (1, 2, 3)]
    assert trainer.calls() == [([1, 2, 3], "restart")]
    event = instance.get_latest_materialization_event(checkpoint_key(2))
    assert event is not None
    shown = event.asset_materialization
    assert shown is not None
    manifest = read_manifest(settings.checkpoint_path(2) / "manifest.json")
    assert shown.tags is not None
    assert shown.tags["dagster/data_version"] == manifest.version
    assert shown.metadata["validation bound (nats a word)"].value == 5.5
    assert str(shown.metadata["loss so far"].value).startswith(
        "![loss so far](data:image/png;base64,"
    )
    assert shown.metadata["sample text"].value == "the text of epoch 2"
    assert shown.metadata["reused"].value is False
    checks = {
        (c.asset_key.to_user_string()[-1], c.check_name): c
        for c in result.get_asset_check_evaluations()
    }
    assert len(checks) == 5
    failed = [name for name, check in checks.items() if not check.passed]
    assert failed == [("3", "bound_below_previous")]  # 5.6 after 5.5
    assert checks[failed[0]].severity == dg.AssetCheckSeverity.WARN


def test_a_second_run_has_the_same_versions_and_says_reused(
    instance: dg.DagsterInstance, project: Path, trainer: Script
) -> None:
    def versions() -> list[tuple[str, object]]:
        found = []
        for epoch in (1, 2, 3):
            event = instance.get_latest_materialization_event(checkpoint_key(epoch))
            assert event is not None
            shown = event.asset_materialization
            assert shown is not None
            assert shown.tags is not None
            found.append((shown.tags["dagster/data_version"], shown.metadata["reused"].value))
        return found

    materialize(instance)
    first = versions()
    materialize(instance)
    assert versions() == [(version, True) for version, _ in first]
    assert [reused for _, reused in first] == [False] * 3


def test_later_epochs_alone_may_not_start_a_new_lineage(
    settings: Settings, instance: dg.DagsterInstance, trainer: Script
) -> None:
    write_checkpoint(settings.checkpoint_path(1), 1, 6.0)
    result = materialize(instance, 2, 3)
    assert materialized(result) == ["checkpoint.epoch_2", "checkpoint.epoch_3"]
    assert trainer.calls() == [([2, 3], "refuse")]


def failure(result: dg.ExecuteInProcessResult) -> str:
    """The line with which the step failed."""
    error = result.get_step_failure_events()[0].event_specific_data.error
    return str(error.message.strip())


def messages(instance: dg.DagsterInstance, result: dg.ExecuteInProcessResult) -> list[str]:
    return [entry.user_message for entry in instance.all_logs(result.run_id)]


def wait_for_epoch_1(instance: dg.DagsterInstance) -> None:
    deadline = time.monotonic() + 20
    while instance.get_latest_materialization_event(checkpoint_key(1)) is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_failure_in_epoch_2_keeps_epoch_1(instance: dg.DagsterInstance, trainer: Script) -> None:
    trainer.at = {2: "CheckpointError"}
    result = materialize(instance, fail=True)
    assert materialized(result) == ["checkpoint.epoch_1"]
    assert failure(result).endswith("Failure: epoch 2 cannot go on; select 1 too")


@pytest.mark.parametrize(
    ("name", "why"),
    [("SIGKILL", "SIGKILL (by hand, or because memory ran out"), ("SIGSEGV", "SIGSEGV; run")],
)
def test_a_process_that_is_killed_fails_the_run_in_one_line(
    instance: dg.DagsterInstance, trainer: Script, name: str, why: str
) -> None:
    trainer.at = {2: name}
    result = materialize(instance, fail=True)
    assert materialized(result) == ["checkpoint.epoch_1"]
    line = failure(result)
    assert f"Failure: the training process was ended by {why}" in line
    assert line.endswith("run the job again: it goes on with epoch 2")
    assert "epoch 1 is scripted" in messages(instance, result)


def test_what_nobody_foresaw_leaves_its_trace_in_the_log(
    instance: dg.DagsterInstance, trainer: Script
) -> None:
    trainer.at = {2: "bug"}
    result = materialize(instance, fail=True)
    assert materialized(result) == ["checkpoint.epoch_1"]
    logged = [entry.dagster_event for entry in instance.all_logs(result.run_id)]
    errors = [e.event_specific_data.error for e in logged if e and e.is_engine_event]
    assert any(error and "a bug of ours" in error.to_string() for error in errors)


def test_other_processes_are_busy_and_the_step_is_tried_again(
    instance: dg.DagsterInstance, trainer: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("assets.watching.FIRST_WAIT_SECONDS", 0.0)
    monkeypatch.setattr("assets.watching.RETRIES", 1)
    trainer.at = {1: "BusyError"}
    materialize(instance, fail=True)
    assert len(trainer.calls()) == 2


def test_a_stop_by_the_ui_cancels_the_run_and_is_not_retried(
    instance: dg.DagsterInstance, trainer: Script
) -> None:
    trainer.at = {2: "wait"}

    def terminate() -> None:
        """What the UI's button does."""
        wait_for_epoch_1(instance)
        (run,) = instance.get_runs()
        instance.report_run_canceling(run)
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGINT)

    button = threading.Thread(target=terminate)
    button.start()
    result = materialize(instance, fail=True)
    button.join()
    (run,) = instance.get_runs()
    assert run.status == dg.DagsterRunStatus.CANCELED
    assert "stopped by request" in messages(instance, result)
    assert len(trainer.calls()) == 1
    assert not Path(f"/proc/{trainer.process()}").exists()


def epochs_job() -> dg.JobDefinition:
    """A job of the epochs that another run can follow up."""
    definitions = dg.Definitions(
        assets=[build_training(3)],
        resources={"settings_file": SettingsFile()},
        jobs=[dg.define_asset_job("epochs", executor_def=dg.in_process_executor)],
    )
    return definitions.resolve_job_def("epochs")


def test_a_re_execution_from_failure_goes_on(trainer: Script) -> None:
    trainer.at = {2: "SIGKILL"}
    with dg.DagsterInstance.local_temp() as instance:
        job = dg.reconstructable(epochs_job)
        with dg.execute_job(job, instance) as first:
            assert not first.success
        trainer.at = {}
        options = dg.ReexecutionOptions.from_failure(first.run_id, instance)
        with dg.execute_job(job, instance, reexecution_options=options) as again:
            assert again.success
        kind = dg.DagsterEventType.ASSET_MATERIALIZATION
        events = [
            entry.asset_materialization
            for run in (first, again)
            for entry in instance.all_logs(run.run_id, of_type=kind)
        ]
    shown = [event.metadata for event in events if event is not None]
    assert [(m["epoch"].value, m["reused"].value) for m in shown] == [
        (1, False),
        (1, True),
        (2, False),
        (3, False),
    ]


def test_a_signal_to_the_training_process_alone_ends_the_run(
    instance: dg.DagsterInstance, trainer: Script
) -> None:
    trainer.at = {2: "wait"}

    def terminate() -> None:
        wait_for_epoch_1(instance)
        for _ in range(3):  # more than one makes no difference
            os.kill(trainer.process(), signal.SIGTERM)

    other = threading.Thread(target=terminate)
    other.start()
    result = materialize(instance, fail=True)
    other.join()
    assert "stopped by request" in messages(instance, result)


def test_a_checkpoint_of_nan_stops_the_training(
    instance: dg.DagsterInstance, trainer: Script
) -> None:
    trainer.weight = float("nan")
    trainer.at = {2: "wait"}
    result = materialize(instance, fail=True)
    assert not Path(f"/proc/{trainer.process()}").exists()
    assert materialized(result) == ["checkpoint.epoch_1"]
    (check,) = result.get_asset_check_evaluations()
    assert not check.passed
    assert str(check.description).endswith("model.safetensors: w is not finite")


def test_a_damaged_checkpoint_is_found(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "epoch1", 1, 6.0)
    assert verified_and_finite(tmp_path / "epoch1").problem == ""
    with (tmp_path / "epoch1" / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x00")
    assert (
        "does not hold what its manifest says" in verified_and_finite(tmp_path / "epoch1").problem
    )


def test_a_bound_that_does_not_fall(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "epoch1", 1, 6.0)
    assert bound_falling(5.9, tmp_path / "epoch1").problem == ""
    assert bound_falling(6.0, tmp_path / "epoch1").problem == "6.0000 nats a word, 6.0000 before"
