"""torchrun for a training of several processes: ``python -m assets.torchrun PROCESSES``.

As ``torchrun --standalone --nproc-per-node PROCESSES -m assets.training_process``, but what ended a
worker is told by the exit status, as a shell does, and not by a page of traces.
"""

import logging
import os
import sys
from collections.abc import Iterable

from perigee.errors import Interrupted

SIGNALLED = 128
"""Added to a signal's number: the exit status of what it ended."""


def exit_status(statuses: Iterable[int]) -> int:
    """One exit status for those of the failed workers; a signal's comes before its consequences."""
    found = list(statuses)
    killed = [status for status in found if status < 0]
    return SIGNALLED - killed[0] if killed else max(found, default=0)


def main(processes: int) -> int:
    """Run the training in so many processes; the exit status."""
    logging.disable(logging.ERROR)  # torchrun's own account of what the exit status tells
    # gloo looks for the machine's name otherwise, which need not lead anywhere
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    threads = max(1, (os.cpu_count() or 1) // processes)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args, run

    options = ["--standalone", "--local-addr", "127.0.0.1", "--nproc-per-node", str(processes)]
    try:
        run(parse_args([*options, "--module", "assets.training_process"]))
    except ChildFailedError as error:
        return exit_status(failure.exitcode for failure in error.failures.values())
    except SignalException:
        return Interrupted.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
