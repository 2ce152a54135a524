"""Started by test_processes.py: train in forked processes that talk by gloo.

    python forked_ranks.py '[{"settings": ..., "port": 1234, "count": 2, "dies_at": null}, ...]'

One job after the other; each prints the exit statuses of its processes.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from importlib import import_module
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from perigee.errors import PerigeeError
from perigee.observer import SILENT
from perigee.settings import Settings
from perigee.training import epoch as epochs
from perigee.training.processes import joined_processes
from perigee.training.trainer import train_epochs


def work(settings: Settings, environ: dict[str, str], dies_at: int | None) -> None:
    honest = epochs.take_step

    def deadly(learner, *rest):
        if environ["RANK"] == "1" and learner.progress.step == dies_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return honest(learner, *rest)

    epochs.take_step = deadly
    with joined_processes(environ, settings.training.use_gpu, SILENT) as processes:
        list(train_epochs(settings, processes=processes))


def run_job(document: str, port: int, count: int, dies_at: int | None) -> list[int]:
    settings = Settings.model_validate_json(document)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    children = []
    for rank in range(count):
        process = os.fork()
        if process:
            children.append(process)
            continue
        environ = {"RANK": str(rank), "WORLD_SIZE": str(count), "LOCAL_RANK": str(rank)}
        status = 1
        try:
            work(settings, environ, dies_at)
            status = 0
        except PerigeeError as error:
            print(error, file=sys.stderr)
            status = 2
        finally:
            sys.stderr.flush()
            os._exit(status)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def main() -> None:
    import_module("torch._dynamo")  # once here, and not in every process
    for job in json.loads(sys.argv[1]):
        statuses = run_job(job["settings"], job["port"], job["count"], job["dies_at"])
        print(*statuses, flush=True)


if __name__ == "__main__":
    main()
