"""torchrun, started by what is to run in several processes: ``python -m perigee.cli.torchrun``.

``python -m perigee.cli.torchrun N MODULE ARGUMENT ...`` does what ``torchrun --standalone
--nproc-per-node N -m MODULE ARGUMENT ...`` does, but tells what ended a worker by the exit status,
as a shell does, and not by a page of traces.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module

from perigee.errors import Interrupted

SIGNALLED = 128
"""Added to a signal's number: the exit status of what it ended."""


def is_wanted(processes: int, environ: Mapping[str, str]) -> bool:
    """Whether torchrun is to be started: for more than one process, and not by torchrun itself."""
    return processes > 1 and "RANK" not in environ


def launch(processes: int, module: str, arguments: Sequence[str] = ()) -> int:
    """Run ``module`` in so many processes of this machine; the exit status."""
    logging.disable(logging.ERROR)  # torchrun's own account of what the exit status tells
    # gloo looks for the machine's name otherwise, which need not lead anywhere
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    threads = max(1, (os.cpu_count() or 1) // processes)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    torchrun = import_module("torch.distributed.run")  # which torch has given no types
    options = ["--standalone", "--local-addr", "127.0.0.1", "--nproc-per-node", str(processes)]
    try:
        torchrun.run(torchrun.parse_args([*options, "--module", module, *arguments]))
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
