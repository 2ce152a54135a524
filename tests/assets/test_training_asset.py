"""The epochs' assets: each reported when it is there, subsets, failures; the trainer is a fake."""

import json
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
import pytest
from small_checkpoints import write_checkpoint

from assets.checkpoint_checks import bound_falling, verified_and_finite
from assets.names import checkpoint_key
from assets.settings_file import SettingsFile
from assets.training import build_training
from perigee.errors import CheckpointError, Interrupted
from perigee.manifest import read_manifest
from perigee.observer import Observer
from perigee.settings import Settings
from perigee.training.trainer import EpochReport

BOUNDS = {1: 6.0, 2: 5.5, 3: 5.6}


@dataclass
class FakeTrainer:
    """Writes checkpoints; remembers how it was called."""

    calls: list[tuple[list[int], str]] = field(default_factory=list)
    before_epoch: Callable[[int], None] = lambda _epoch: None
    weight: float = 1.0

    def train_epochs(
        self,
        settings: Settings,
        *,
        epochs: Collection[int],
        on_change: str,
        observer: Observer,
    ) -> Iterator[EpochReport]:
        self.calls.append((sorted(epochs), on_change))
        log = Path(settings.training.log_path)
        log.parent.mkdir(parents=True, exist_ok=True)
        for epoch in sorted(epochs):
            self.before_epoch(epoch)
            path = settings.checkpoint_path(epoch)
            reused = (path / "manifest.json").is_file()
            bound = BOUNDS[epoch]
            manifest = (
                read_manifest(path / "manifest.json")
                if reused
                else write_checkpoint(path, epoch, bound, self.weight)
            )
            record = {"event": "step", "epoch": epoch, "step": epoch, "loss": bound}
            with log.open("a") as file:
                file.write(json.dumps(record) + "\n")
            observer.record("step", record)
            yield EpochReport(
                epoch, path, manifest, bound, {"nats_per_word": bound}, 9.0, 1.0, reused
            )


@pytest.fixture
def trainer(monkeypatch: pytest.MonkeyPatch) -> FakeTrainer:
    fake = FakeTrainer()
    monkeypatch.setattr("perigee.training.trainer.train_epochs", fake.train_epochs)
    return fake


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
    settings: Settings, instance: dg.DagsterInstance, trainer: FakeTrainer
) -> None:
    result = materialize(instance)
    assert materialized(result) == [f"checkpoint.epoch_{epoch}" for epoch in (1, 2, 3)]
    assert trainer.calls == [([1, 2, 3], "restart")]
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
    instance: dg.DagsterInstance, project: Path, trainer: FakeTrainer
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
    settings: Settings, instance: dg.DagsterInstance, trainer: FakeTrainer
) -> None:
    write_checkpoint(settings.checkpoint_path(1), 1, BOUNDS[1])
    result = materialize(instance, 2, 3)
    assert materialized(result) == ["checkpoint.epoch_2", "checkpoint.epoch_3"]
    assert trainer.calls == [([2, 3], "refuse")]


def test_a_failure_in_epoch_2_keeps_epoch_1(
    instance: dg.DagsterInstance, project: Path, trainer: FakeTrainer
) -> None:
    def fail(epoch: int) -> None:
        if epoch == 2:
            raise CheckpointError("epoch 2 cannot go on", remedy="select 1 too")

    trainer.before_epoch = fail
    result = materialize(instance, fail=True)
    assert materialized(result) == ["checkpoint.epoch_1"]
    error = result.get_step_failure_events()[0].event_specific_data.error
    assert error.message.strip().endswith("Failure: epoch 2 cannot go on; select 1 too")


def test_a_stop_by_the_ui_cancels_the_run_and_is_not_retried(
    instance: dg.DagsterInstance, project: Path, trainer: FakeTrainer
) -> None:
    def stop(epoch: int) -> None:
        if epoch == 2:
            (run,) = instance.get_runs()
            instance.report_run_canceling(run)
            raise Interrupted("stopped by SIGTERM")

    trainer.before_epoch = stop
    materialize(instance, fail=True)
    (run,) = instance.get_runs()
    assert run.status == dg.DagsterRunStatus.CANCELED
    assert len(trainer.calls) == 1


def test_a_checkpoint_of_nan_stops_the_training(
    instance: dg.DagsterInstance, project: Path, trainer: FakeTrainer
) -> None:
    trainer.weight = float("nan")
    result = materialize(instance, fail=True)
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
