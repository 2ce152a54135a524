"""Earlier trainings are kept, but not for ever."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from assets.retention import drop_oldest_trainings
from perigee.observer import ListObserver
from perigee.settings import OperationSettings, Settings, TrainingSettings


@pytest.mark.parametrize(("kept", "left"), [(0, "123"), (1, "1"), (2, "13"), (3, "123")])
def test_the_newest_stay(tmp_path: Path, kept: int, left: str) -> None:
    # numbers are given again: number 1 may be the newest
    for age, number in enumerate("231"):
        training = tmp_path / f"perigee_earlier{number}"
        training.mkdir()
        (training / "perigee_epoch1").mkdir()
        os.utime(training, (1000 + age, 1000 + age))
    (tmp_path / "perigee_epoch1").mkdir()
    (tmp_path / "perigee_sample_earlier1").mkdir()
    settings = Settings(
        training=TrainingSettings(checkpoint_dir=str(tmp_path)),
        operation=OperationSettings(kept_trainings=kept),
    )
    observer = ListObserver()
    dropped = drop_oldest_trainings(settings, observer)
    assert len(observer.messages) == len(dropped)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["perigee_epoch1", "perigee_sample_earlier1", *(f"perigee_earlier{n}" for n in left)]
    )
