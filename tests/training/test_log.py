from __future__ import annotations

import json
from pathlib import Path

import pytest

from perigee.observer import ListObserver
from perigee.training.log import TrainingLog, read_log


def open_log(path: Path, *, step: int = 0, epoch: int = 0, board: str = "") -> TrainingLog:
    return TrainingLog(path, step=step, epoch=epoch, tensorboard_dir=board, observer=ListObserver())


def write(path: Path, *, step: int = 0, epoch: int = 0, until: int = 6) -> None:
    """Three steps an epoch, a validation after each."""
    with open_log(path, step=step, epoch=epoch) as log:
        for number in range(step + 1, until + 1):
            log.write("step", {"epoch": (number + 2) // 3, "step": number, "loss": number / 7})
            if number % 3 == 0:
                log.write("validation", {"epoch": number // 3, "step": number, "bound": 1.5})


def steps(path: Path) -> list[tuple[str, int]]:
    return [(record["event"], record["step"]) for record in read_log(path)]


def test_a_resume_never_repeats_a_step(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "log.jsonl"
    write(path)
    whole = steps(path)
    with path.open("a") as file:
        file.write('{"event": "step", "epoch": 3, "st')  # killed while writing
    write(path, step=4, epoch=1)
    assert steps(path) == whole
    assert len(whole) == 8


def test_a_resume_before_a_validation_takes_it_out(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    write(path)
    open_log(path, step=6, epoch=1).__exit__(None, None, None)
    assert steps(path)[-2:] == [("step", 5), ("step", 6)]
    assert ("validation", 3) in steps(path)


def test_a_new_run_overwrites(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    write(path)
    write(path, until=2)
    assert steps(path) == [("step", 1), ("step", 2)]


def test_floats_survive_and_a_timestamp_is_there(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    with open_log(path) as log:
        log.write("step", {"epoch": 1, "step": 1, "loss": 0.1 + 0.2})
    open_log(path, step=1, epoch=0).__exit__(None, None, None)
    (record,) = read_log(path)
    assert record["loss"] == 0.1 + 0.2
    assert record["timestamp"].endswith("+00:00")


def test_lines_that_are_no_records_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    good = {"event": "step", "epoch": 1, "step": 1}
    lines = [
        "[]",
        "3",
        '{"event": "step"}',
        json.dumps(good),
        "\ufffd",
        json.dumps({**good, "event": 1}),
    ]
    path.write_text("\n".join(lines))
    assert read_log(path) == [good]


def test_a_number_that_is_not_finite_is_never_written(tmp_path: Path) -> None:
    with open_log(tmp_path / "log.jsonl") as log, pytest.raises(ValueError, match="JSON"):
        log.write("step", {"epoch": 1, "step": 1, "loss": float("nan")})


def test_tensorboard_gets_the_same_numbers(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with open_log(tmp_path / "log.jsonl", board=str(tmp_path / "board")) as log:
        for step in (1, 2):
            log.write("step", {"epoch": 1, "step": step, "loss": step / 2})
    events = EventAccumulator(str(tmp_path / "board"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("step/loss")] == [(1, 0.5), (2, 1.0)]
