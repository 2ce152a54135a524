from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from stopping import StopAfter, run

from perigee.errors import BusyError, CheckpointError, Interrupted, SettingsError
from perigee.files import exclusive_lock
from perigee.observer import ListObserver
from perigee.settings import ScheduleSettings, Settings
from perigee.training import keeper
from perigee.training.checkpoint import load_checkpoint
from perigee.training.layout import find_checkpoint
from perigee.training.log import read_log
from perigee.training.trainer import train, train_epochs

Make = Callable[..., Settings]


def versions(settings: Settings) -> list[str]:
    """Hashes of all that the checkpoints hold: weights, averages, optimiser, state, settings."""
    return [report.manifest.version for report in run(settings)]


def log_of(settings: Settings) -> list[dict[str, object]]:
    """The log without what a clock decides."""
    clocked = ("timestamp", "tokens_per_second")
    records = read_log(Path(settings.training.log_path))
    return [{k: v for k, v in record.items() if k not in clocked} for record in records]


def test_epochs_are_reported_as_their_checkpoints_stand(make_training: Make) -> None:
    settings = make_training()
    reports = []
    for report in train_epochs(settings):
        assert (report.checkpoint / "manifest.json").is_file()
        assert not settings.checkpoint_path(report.epoch + 1).exists()
        reports.append(report)
    assert [r.epoch for r in reports] == [1, 2, 3]
    assert not any(r.reused for r in reports)
    bounds = [r.validation["nats_per_word"] for r in reports]
    assert bounds[2] < bounds[0]
    assert all(r.tokens_per_second > 0 and r.seconds > 0 for r in reports)
    assert {p.name for p in Path(settings.training.checkpoint_dir).iterdir()} == {
        "perigee_epoch1",
        "perigee_epoch2",
        "perigee_epoch3",
        ".perigee.lock",
    }


def test_the_log_has_every_second_step_and_each_validation(make_training: Make) -> None:
    settings = make_training()
    run(settings)
    records = read_log(Path(settings.training.log_path))
    assert [r["step"] for r in records if r["event"] == "step"] == list(range(2, 16, 2))
    assert [(r["epoch"], r["step"]) for r in records if r["event"] == "validation"] == [
        (1, 5),
        (2, 10),
        (3, 15),
    ]
    for record in records:
        if record["event"] == "step":
            assert set(record) == {
                "event",
                "epoch",
                "step",
                "loss",
                "grad_norm",
                "learning_rate",
                "tokens_per_second",
                "timestamp",
            }


def test_a_finished_training_says_so_and_changes_nothing(make_training: Make) -> None:
    settings, observer = make_training(), ListObserver()
    first = run(settings)
    log = Path(settings.training.log_path).read_bytes()
    again = run(settings, observer=observer)
    assert [r.reused for r in again] == [True] * 3
    assert [r.manifest for r in again] == [r.manifest for r in first]
    assert [r.validation for r in again] == [r.validation for r in first]
    assert Path(settings.training.log_path).read_bytes() == log
    (message,) = (text for _, text in observer.messages)
    assert "training is finished: epochs 1 to 3 of 3" in message


def test_the_same_training_twice_gives_the_same_bytes(make_training: Make) -> None:
    a, b = make_training("a"), make_training("b")
    assert versions(a) == versions(b)
    assert log_of(a) == log_of(b)
    assert versions(make_training("c", seed=8)) != versions(a)


@pytest.mark.parametrize("stops", [[1], [5], [4, 3, 7], [1] * 6])
def test_stopped_and_resumed_is_bit_for_bit_uninterrupted(
    make_training: Make, stops: list[int]
) -> None:
    whole, stopped = make_training("whole"), make_training("stopped")
    for count in stops:
        with pytest.raises(Interrupted, match=r"snapshots/step\d+"):
            run(stopped, observer=StopAfter(count=count))
    assert versions(stopped) == versions(whole)
    assert log_of(stopped) == log_of(whole)


def test_a_stop_during_validation_is_bit_for_bit_too(make_training: Make) -> None:
    whole, stopped = make_training("whole"), make_training("stopped")
    with pytest.raises(Interrupted, match="after step 5 of 5 of epoch 1"):
        run(stopped, observer=StopAfter(count=2, unit="windows"))
    assert not stopped.checkpoint_path(1).exists()
    assert versions(stopped) == versions(whole)
    assert log_of(stopped) == log_of(whole)


def test_a_signal_while_a_checkpoint_is_written_waits_for_it(
    make_training: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, stopped = make_training("whole"), make_training("stopped")
    honest = keeper.save_checkpoint

    def signalled(*arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        return honest(*arguments)

    monkeypatch.setattr(keeper, "save_checkpoint", signalled)
    epochs = train_epochs(stopped)
    assert next(epochs).epoch == 1
    with pytest.raises(Interrupted, match="stopped by SIGTERM after step 0 of 5 of epoch 2"):
        next(epochs)
    monkeypatch.undo()
    assert versions(stopped) == versions(whole)
    assert log_of(stopped) == log_of(whole)


def test_resumed_from_a_checkpoint_is_bit_for_bit_uninterrupted(make_training: Make) -> None:
    """Each epoch in a run of its own: all that passes from one to the next is on disk."""
    whole, parts = make_training("whole"), make_training("parts")
    for epoch in (1, 2, 3):
        assert [r.epoch for r in run(parts, epochs=[epoch])] == [epoch]
    assert versions(parts) == versions(whole)
    assert log_of(parts) == log_of(whole)


@pytest.mark.parametrize(
    "training",
    [
        {"optimizer": "muon"},
        {"ema_decay": 0.0},
        {"unmask_fraction": 0.5},
        {"accumulate": 3, "precision": "bfloat16"},
        {"lr_schedule": ScheduleSettings(type="warmup_stable_decay", warmup_steps=3)},
    ],
)
def test_every_kind_of_training_resumes_bit_for_bit(
    make_training: Make, training: dict[str, object]
) -> None:
    whole, stopped = make_training("whole", **training), make_training("stopped", **training)
    with pytest.raises(Interrupted):
        run(stopped, observer=StopAfter(count=7))
    assert versions(stopped) == versions(whole)
    assert log_of(stopped) == log_of(whole)


def test_more_epochs_go_on_where_a_constant_rate_ended(make_training: Make) -> None:
    whole, longer = make_training("whole"), make_training("longer", epochs=2)
    run(longer)
    assert versions(make_training("longer", epochs=3)) == versions(whole)


def test_accumulation_is_the_same_to_rounding(make_training: Make) -> None:
    one, three = make_training("one"), make_training("three", accumulate=3)
    a, b = run(one), run(three)
    for x, y in zip(a, b, strict=True):
        assert x.train_loss == pytest.approx(y.train_loss, rel=1e-4)


def test_an_epoch_needs_the_one_before(make_training: Make) -> None:
    settings = make_training()
    with pytest.raises(CheckpointError, match=r"epoch1: epoch 2 was asked for.*checkpoint.epoch_1"):
        run(settings, epochs=[2])
    with pytest.raises(CheckpointError, match="epoch 3 was asked for, but epoch 2"):
        run(settings, epochs=[1, 3])
    assert not settings.checkpoint_path(1).exists()


@pytest.mark.parametrize("epochs", [[0], [4], [1, 9]])
def test_an_epoch_that_the_settings_have_not(make_training: Make, epochs: list[int]) -> None:
    with pytest.raises(SettingsError, match="expected 1 to 3"):
        run(make_training(), epochs=epochs)


def test_other_settings_are_refused_with_the_list(make_training: Make) -> None:
    run(make_training(epochs=1))
    changed = make_training(learning_rate=0.5, batch_size=2, log_every=1)
    with pytest.raises(CheckpointError) as caught:
        run(changed)
    line = str(caught.value)
    assert "[training] batch_size: 3 -> 2; [training] learning_rate: 0.01 -> 0.5;" in line
    assert "--fresh" in line
    assert "log_every" not in line
    assert "\n" not in line


def test_other_settings_are_refused_inside_an_epoch_too(make_training: Make) -> None:
    with pytest.raises(Interrupted):
        run(make_training(), observer=StopAfter(count=2))
    with pytest.raises(CheckpointError, match=r"step000000002: .*seed: 7 -> 9"):
        run(make_training(seed=9))


def test_other_data_are_refused_with_the_reason(make_training: Make) -> None:
    from perigee import stages

    settings = make_training(epochs=1)
    run(settings)
    fewer = make_training(epochs=1, max_sequences=9)
    stages.build_windows(fewer, "train")
    with pytest.raises(CheckpointError, match=r"windows.train: .* \(max_sequences: 14 -> 9\)"):
        run(fewer)


def test_fresh_keeps_the_earlier_run(make_training: Make) -> None:
    settings, observer = make_training(epochs=2), ListObserver()
    before = versions(settings)
    log = Path(settings.training.log_path).read_bytes()
    with pytest.raises(Interrupted):
        run(make_training(epochs=3), observer=StopAfter(count=2))
    other = make_training(epochs=2, seed=9)
    reports = run(other, fresh=True, observer=observer)
    assert not any(r.reused for r in reports)
    aside = Path(settings.training.checkpoint_dir) / "perigee_earlier1"
    assert str(aside) in observer.messages[0][1]
    kept = [load_checkpoint(aside / f"perigee_epoch{n}").manifest.version for n in (1, 2)]
    assert kept == before
    assert (aside / "log.jsonl").read_bytes().startswith(log)
    assert (aside / "perigee_snapshots").is_dir()
    run(other, fresh=True)
    assert (aside.parent / "perigee_earlier2" / "perigee_epoch2").is_dir()


def test_a_change_can_restart(make_training: Make) -> None:
    run(make_training(epochs=1))
    observer = ListObserver()
    (report,) = run(make_training(epochs=1, seed=9), on_change="restart", observer=observer)
    assert not report.reused
    assert observer.messages[0][0] == "warning"
    assert "seed: 7 -> 9" in observer.messages[0][1]
    (again,) = run(make_training(epochs=1, seed=9), on_change="restart")
    assert again.reused


def test_train_starts_anew_unless_it_resumes(make_training: Make) -> None:
    settings = make_training()
    seen: list[int] = []
    first = train(settings, until_epoch=2, on_epoch=lambda report: seen.append(report.epoch))
    assert seen == [1, 2]
    assert not first.reused
    assert first.curve.read_bytes().startswith(b"\x89PNG")
    resumed = train(settings, resume=True)
    assert [r.reused for r in resumed.epochs] == [True, True, False]
    assert train(settings, resume=True).reused
    assert not train(settings, until_epoch=1).reused
    assert len(log_of(settings)) == 3
    assert not train(settings, until_epoch=1, resume=True, fresh=True).reused


def test_a_second_trainer_is_told_to_wait(make_training: Make) -> None:
    settings = make_training()
    lock = Path(settings.training.checkpoint_dir) / ".perigee.lock"
    with exclusive_lock(lock, what="x"), pytest.raises(BusyError, match="this training is in use"):
        run(settings)


def test_the_last_epoch_is_found_and_loaded(make_training: Make) -> None:
    settings = make_training(epochs=2)
    with pytest.raises(CheckpointError, match="no epoch has a checkpoint yet"):
        find_checkpoint(settings)
    run(settings)
    path = find_checkpoint(settings)
    assert path == settings.checkpoint_path(2)
    checkpoint = load_checkpoint(path.with_suffix(".jls"))
    assert checkpoint.settings.model == settings.model
    assert checkpoint.tokenizer.tokens[5:] != ()
    assert checkpoint.state["progress"]["step"] == 10
    assert not checkpoint.denoiser.training
    last = load_checkpoint(path, weights="last").denoiser
    differs = [
        not a.equal(b)
        for a, b in zip(last.parameters(), checkpoint.denoiser.parameters(), strict=True)
    ]
    assert any(differs)


def test_a_checkpoint_says_what_it_was_made_from(make_training: Make) -> None:
    settings = make_training(epochs=2)
    run(settings)
    manifest = json.loads((settings.checkpoint_path(2) / "manifest.json").read_text())
    assert [i["name"] for i in manifest["inputs"]] == [
        "windows.train",
        "windows.valid",
        "vocabulary",
        "checkpoint.epoch_1",
    ]
    first = json.loads((settings.checkpoint_path(1) / "manifest.json").read_text())
    assert manifest["inputs"][3]["version"] == first["version"]
    assert manifest["settings"]["training"]["learning_rate"] == 0.01
    assert {f["path"] for f in manifest["files"]} == {
        "model.safetensors",
        "ema.safetensors",
        "optimizer.safetensors",
        "state.json",
        "settings.json",
        "perigee_vocab.json",
        "tokenizer.json",
    }
