"""Old epochs give their optimiser's state up, and nothing else changes."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from assets.checkpoint_checks import verified_and_finite
from perigee.errors import CheckpointError, TrainingError
from perigee.manifest import read_manifest, write_manifest
from perigee.observer import ListObserver
from perigee.settings import Settings
from perigee.training import retention
from perigee.training.checkpoint import load_checkpoint
from perigee.training.layout import verify_checkpoint
from perigee.training.retention import release_optimizers
from perigee.training.trainer import EpochReport, train_epochs

Make = Callable[..., Settings]


def run(settings: Settings, **options: object) -> list[EpochReport]:
    return list(train_epochs(settings, **options))


def with_state(settings: Settings) -> list[int]:
    """Epochs whose optimiser's state is on disk."""
    epochs = range(1, settings.training.epochs + 1)
    return [e for e in epochs if (settings.checkpoint_path(e) / "optimizer.safetensors").exists()]


def versions(reports: list[EpochReport]) -> list[str]:
    return [report.manifest.version for report in reports]


@pytest.fixture
def whole(make_training: Make) -> list[str]:
    return versions(run(make_training("whole", epochs=4)))


@pytest.mark.parametrize(
    ("kept", "left"), [(0, [1, 2, 3, 4]), (1, [4]), (2, [3, 4]), (9, [1, 2, 3, 4])]
)
def test_the_newest_epochs_keep_their_state(
    make_training: Make, whole: list[str], kept: int, left: list[int]
) -> None:
    settings, observer = make_training(epochs=4, kept_optimizers=kept), ListObserver()
    assert versions(run(settings)) == whole
    assert with_state(settings) == left
    again = run(settings, observer=observer)
    assert all(report.reused for report in again)
    assert versions(again) == whole
    assert not any(level == "warning" for level, _ in observer.messages)


def test_a_released_epoch_is_whole_and_its_weights_are_the_same(make_training: Make) -> None:
    settings = make_training(epochs=3, kept_optimizers=1)
    path = settings.checkpoint_path(1)
    run(settings, epochs=[1])
    before = dict(load_checkpoint(path).denoiser.named_parameters())
    run(settings)
    assert not (path / "optimizer.safetensors").exists()
    after = dict(load_checkpoint(path).denoiser.named_parameters())
    assert all(torch.equal(after[name], value) for name, value in before.items())
    (path / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        verify_checkpoint(path)


def test_the_graphs_check_of_a_released_epoch_passes(make_training: Make) -> None:
    settings = make_training(epochs=2, kept_optimizers=1)
    run(settings)
    released, newest = (verified_and_finite(settings.checkpoint_path(e)) for e in (1, 2))
    assert (released.problem, newest.problem) == ("", "")
    assert 0 < released.metadata["numbers"] < newest.metadata["numbers"]


def test_a_state_that_is_missing_without_being_released_is_damage(make_training: Make) -> None:
    settings = make_training(epochs=1, kept_optimizers=1)
    run(settings)
    (settings.checkpoint_path(1) / "optimizer.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"optimizer\.safetensors: is missing"):
        verify_checkpoint(settings.checkpoint_path(1))


def test_a_finished_training_gives_up_what_is_asked_later_and_takes_more_epochs(
    make_training: Make, whole: list[str]
) -> None:
    settings = make_training(epochs=3)
    run(settings)
    assert all(report.reused for report in run(make_training(epochs=3, kept_optimizers=1)))
    assert with_state(settings) == [3]
    longer = run(make_training(epochs=4, kept_optimizers=1))
    assert [report.reused for report in longer] == [True, True, True, False]
    assert versions(longer) == whole


def test_an_epoch_that_the_next_one_needs_keeps_its_state(
    make_training: Make, whole: list[str]
) -> None:
    settings = make_training(epochs=4)
    run(settings)
    settings.checkpoint_path(3).rename(settings.checkpoint_path(3).with_name("lost"))
    kept = make_training(epochs=4, kept_optimizers=1)
    assert [p.name for p in release_optimizers(kept)] == ["perigee_epoch1"]
    again = run(kept)
    assert [report.reused for report in again] == [True, True, False, True]
    assert versions(again) == whole
    assert with_state(kept) == [4]


def test_a_damaged_newest_epoch_is_made_again_from_the_one_before(
    make_training: Make, whole: list[str]
) -> None:
    settings = make_training(epochs=4, kept_optimizers=2)
    run(settings)
    (settings.checkpoint_path(4) / "model.safetensors").write_bytes(b"damaged")
    again = run(settings)
    assert [report.reused for report in again] == [True, True, True, False]
    assert versions(again) == whole


def test_from_a_released_epoch_no_training_goes_on(make_training: Make) -> None:
    settings = make_training(epochs=3, kept_optimizers=1)
    run(settings)
    (settings.checkpoint_path(3) / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match="epoch2: has given up its optimiser's state"):
        run(settings)
    assert with_state(settings) == []


def test_a_full_disk_is_told_in_one_line_and_loses_nothing(
    make_training: Make, monkeypatch: pytest.MonkeyPatch, whole: list[str]
) -> None:
    run(make_training(epochs=4))
    kept = make_training(epochs=4, kept_optimizers=1)

    def full(path: Path, manifest: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(retention, "write_manifest", full)
    with pytest.raises(TrainingError, match="No space left on device"):
        run(kept)
    monkeypatch.undo()
    assert with_state(kept) == [1, 2, 3, 4]
    assert versions(run(kept)) == whole
    assert with_state(kept) == [4]


def test_a_kill_before_the_file_is_gone_leaves_no_damage(
    make_training: Make, monkeypatch: pytest.MonkeyPatch, whole: list[str]
) -> None:
    settings = make_training(epochs=4)
    run(settings)

    class Killed(BaseException):
        pass

    def killed_after(path: Path, manifest: object) -> None:
        write_manifest(path, manifest)
        raise Killed

    monkeypatch.setattr(retention, "write_manifest", killed_after)
    kept = make_training(epochs=4, kept_optimizers=3)
    with pytest.raises(Killed):
        run(kept)
    monkeypatch.undo()
    assert with_state(kept) == [1, 2, 3, 4]
    assert read_manifest(settings.checkpoint_path(1) / "manifest.json").version == whole[0]
    assert versions(run(kept)) == whole
    assert with_state(kept) == [2, 3, 4]
