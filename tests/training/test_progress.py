from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from perigee.errors import CheckpointError
from perigee.training.progress import Progress


def test_floats_survive_json_exactly() -> None:
    progress = Progress()
    for step in range(100):
        progress = progress.after_step(math.exp(math.sin(step)) / 3, 17)
    back = Progress.from_dict(json.loads(json.dumps(progress.to_dict())), Path("state.json"))
    assert back == progress
    assert back.step == back.epoch_step == 100
    assert back.epoch_words == 1700


def test_records_and_epochs_start_their_sums_anew() -> None:
    progress = Progress().after_step(2.0, 10).after_record().after_step(4.0, 10)
    assert (progress.record_loss, progress.epoch_loss) == (40.0, 60.0)
    following = progress.next_epoch()
    assert (following.epoch, following.epoch_step, following.epoch_loss) == (2, 0, 0.0)
    assert (following.step, following.record_loss) == (2, 40.0)


@pytest.mark.parametrize(
    "change",
    [{"step": -1}, {"step": 1.0}, {"epoch": True}, {"epoch_loss": "1"}, {"epoch_loss": math.inf}],
)
def test_wrong_values_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError, match=f"state.json: progress.{next(iter(change))}"):
        Progress.from_dict({**Progress().to_dict(), **change}, Path("state.json"))


@pytest.mark.parametrize("values", [None, [], {}, {**Progress().to_dict(), "more": 1}])
def test_wrong_fields_are_refused(values: Any) -> None:
    with pytest.raises(CheckpointError, match="fields"):
        Progress.from_dict(values, Path("state.json"))
