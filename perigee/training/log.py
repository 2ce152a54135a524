"""The training log: one JSON object a line, and the same numbers to TensorBoard if asked.

A run that starts anew overwrites the log. A resumed one first takes out what was recorded after
the point it resumes from, so that no step ever stands there twice.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from perigee.files import atomic_file
from perigee.observer import Observer, Scalar

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

Event = Literal["step", "validation"]


class TrainingLog:
    """Appends records to the log, to TensorBoard and to the observer.

    Parameters
    ----------
    path:
        The JSONL file; ``None`` for none, as in all processes but the first.
    step:
        Optimiser steps finished; later records of an earlier attempt are taken out. 0 starts
        the log anew.
    epoch:
        Epochs finished; validations of later ones are taken out.
    tensorboard_dir:
        Directory of TensorBoard's event files; empty for none.
    """

    def __init__(
        self, path: Path | None, *, step: int, epoch: int, tensorboard_dir: str, observer: Observer
    ) -> None:
        self._file = None
        if path is not None:
            keep_records(path, step=step, epoch=epoch)
            self._file = path.open("a", encoding="utf-8")
        self._board = _board(tensorboard_dir, step)
        self._observer = observer

    def write(self, event: Event, values: Mapping[str, Scalar]) -> None:
        """Record ``values``, which hold at least ``epoch`` and ``step``."""
        stamp = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"event": event, **values, "timestamp": stamp}, allow_nan=False)
        if self._file is not None:
            self._file.write(line + "\n")
            self._file.flush()
        if self._board is not None:
            for name, value in values.items():
                if isinstance(value, float):
                    self._board.add_scalar(f"{event}/{name}", value, values["step"])
        self._observer.record(event, values)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()
        if self._board is not None:
            self._board.close()


def _board(directory: str, step: int) -> SummaryWriter | None:
    if not directory:
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(directory, purge_step=step + 1)


def keep_records(path: Path, *, step: int, epoch: int) -> None:
    """Take out of the log what came after ``step``, validations after ``epoch``, broken lines."""
    records = [
        record
        for record in read_log(path)
        if record["step"] <= step and (record["event"] == "step" or record["epoch"] <= epoch)
    ]
    with atomic_file(path) as aside:
        aside.write_text(
            "".join(json.dumps(record, allow_nan=False) + "\n" for record in records if step),
            encoding="utf-8",
        )


def read_log(path: Path) -> list[dict[str, Any]]:
    """The log's whole records, in order; a line cut off by a kill is left out."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
    records = []
    for line in lines:
        try:
            record = json.loads(line)
            known = isinstance(record["step"], int) and isinstance(record["epoch"], int)
        except (ValueError, KeyError, TypeError):
            continue
        if known and record.get("event") in ("step", "validation"):
            records.append(record)
    return records
