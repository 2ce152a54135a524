"""Started by test_training_asset.py: the training process as it is, with a trainer of no torch.

    python scripted_training.py '{"weight": 1.0, "bounds": [6.0, 5.5], "at": {"2": "SIGKILL"}}'

``at``: what happens before an epoch. A signal's name ends the process by it; ``wait`` waits until
training should end; ``bug`` raises what nobody foresaw; a class of perigee.errors is raised.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from small_checkpoints import write_checkpoint

from assets import training_process
from perigee import errors
from perigee.errors import Interrupted
from perigee.manifest import read_manifest
from perigee.observer import Observer
from perigee.settings import Settings
from perigee.training.reports import EpochReport

SCRIPT = json.loads(sys.argv[1])


def happen(what: str, observer: Observer) -> None:
    match what:
        case "":
            return
        case "wait":
            while not observer.should_stop():
                time.sleep(0.01)
            raise Interrupted("stopped by request")
        case "bug":
            raise ZeroDivisionError("a bug of ours")
        case name if name.startswith("SIG"):
            os.kill(os.getpid(), signal.Signals[name])
        case name:
            raise getattr(errors, name)("epoch 2 cannot go on", remedy="select 1 too")


def train(extras: Mapping[str, Any], observer: Observer) -> Iterator[tuple[EpochReport, str]]:
    settings = Settings.model_validate_json(extras["settings"])
    with Path("calls.jsonl").open("a") as calls:
        calls.write(json.dumps([extras["epochs"], extras["on_change"], os.getpid()]) + "\n")
    for epoch in extras["epochs"]:
        happen(SCRIPT["at"].get(str(epoch), ""), observer)
        path, bound = settings.checkpoint_path(epoch), SCRIPT["bounds"][epoch - 1]
        reused = (path / "manifest.json").is_file()
        if reused:
            manifest = read_manifest(path / "manifest.json")
        else:
            manifest = write_checkpoint(path, epoch, bound, SCRIPT["weight"])
        record = {"event": "step", "epoch": epoch, "step": epoch, "loss": bound}
        log = Path(settings.training.log_path)
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a") as file:
            file.write(json.dumps(record) + "\n")
        observer.record("step", record)
        observer.say(f"epoch {epoch} is scripted")
        values = {"nats_per_word": bound}
        report = EpochReport(epoch, path, manifest, bound, values, 9.0, 1.0, reused)
        yield report, f"the text of epoch {epoch}"


if __name__ == "__main__":
    training_process.train = train
    sys.exit(training_process.main())
