"""torchrun, started by what is to run in several processes: ``python -m perigee.cli.torchrun``.

``python -m perigee.cli.torchrun N MODULE ARGUMENT ...`` does what ``torchrun --standalone
--nproc-per-node N -m MODULE ARGUMENT ...`` does, but tells what ended a worker by the exit status,
as a shell does, and not by a page of traces; and the processes find each other by a file, not by
a server that listens to the network.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

from perigee.errors import Interrupted

LOOPBACK = "lo0" if sys.platform == "darwin" else "lo"
SIGNALLED = 128
"""Added to a signal's number: the exit status of what it ended."""


def is_wanted(processes: int, environ: Mapping[str, str]) -> bool:
    """Whether torchrun is to be started: for more than one process, and not by torchrun itself."""
    return processes > 1 and "RANK" not in environ


def launch(processes: int, module: str, arguments: Sequence[str] = ()) -> int:
    """Run ``module`` in so many processes of this machine; the exit status."""
    from perigee.training.processes import MEETING_VARIABLE

    logging.disable(logging.ERROR)  # torchrun's own account of what the exit status tells
    for library in ("GLOO", "NCCL"):
        # otherwise an interface of the network, and gloo looks for it by the machine's name
        os.environ.setdefault(f"{library}_SOCKET_IFNAME", LOOPBACK)
    threads = max(1, (os.cpu_count() or 1) // processes)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    with TemporaryDirectory(prefix="perigee-") as folder:
        os.environ[MEETING_VARIABLE] = str(Path(folder, "workers"))
        started = ["--module", module, *arguments]
        return _run(
            [*_meet_in(Path(folder, "agent")), "--nproc-per-node", str(processes), *started]
        )


def _meet_in(file: Path) -> list[str]:
    """What keeps torchrun from opening servers: a store in a file, and none for the workers."""
    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    meeting = ["--rdzv-backend", "c10d", "--rdzv-endpoint", str(file), "--rdzv-id", "perigee"]
    return [*meeting, "--rdzv-conf", "store_type=file", "--local-addr", "127.0.0.1"]


def _run(arguments: list[str]) -> int:
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    torchrun = import_module("torch.distributed.run")  # which torch has given no types
    try:
        torchrun.run(torchrun.parse_args(arguments))
    except ChildFailedError as error:
        return exit_status(failure.exitcode for failure in error.failures.values())
    except SignalException:
        return Interrupted.exit_status
    return 0


def exit_status(statuses: Iterable[int]) -> int:
    """One exit status for those of the failed workers; a signal's comes before its consequences."""
    found = list(statuses)
    killed = [status for status in found if status < 0]
    return SIGNALLED - killed[0] if killed else max(found, default=0)


if __name__ == "__main__":
    sys.exit(launch(int(sys.argv[1]), sys.argv[2], sys.argv[3:]))
