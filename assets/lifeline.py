"""The pipe between a run and its training process: orders go in, and its end is the run's end.

It is the training process's standard input. The kernel closes it when the run's process ends,
however that happens, SIGKILL included; so a training whose run is gone knows it at once, keeps a
snapshot at the end of its step and ends too. No process number is compared, and torchrun's workers
inherit it as any other process does.
"""

import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from queue import SimpleQueue

GO_ON, STOP = b"g", b"s"
STOP_SECONDS = 50
"""Within which a training has to end after a stop was asked for: a step, and a snapshot. Below the
minute after which Dagster's daemon calls a run cancelled by force (dagster.yaml)."""
SECONDS_BETWEEN_LOOKS = 0.05


@contextmanager
def ignored_signals() -> Iterator[None]:
    """Let no SIGTERM or SIGINT interrupt the block, in the main thread, which alone they do."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {
        number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


class Lifeline:
    """The training process's end."""

    def __init__(self, descriptor: int = 0) -> None:
        self.is_cut = False
        """Whether training should end: the run asked for it, or is gone, or a signal came."""
        self._descriptor = descriptor
        self._permits: SimpleQueue[None] = SimpleQueue()  # may be filled by a signal's handler
        threading.Thread(target=self._listen, name="lifeline", daemon=True).start()

    def cut(self) -> None:
        """Ask for the end of training; a process that is stuck is ended by the kernel's clock."""
        if not self.is_cut:
            signal.alarm(STOP_SECONDS)
        self.is_cut = True
        self._permits.put(None)

    def wait_for_permit(self) -> None:
        """Return when the run has taken note of an epoch, or training should end."""
        if not self.is_cut:
            self._permits.get()

    def _listen(self) -> None:
        while os.read(self._descriptor, 1) == GO_ON:
            self._permits.put(None)
        self.cut()


class Child:
    """The run's end: a process that is told to end, and does not outlive this one.

    Parameters
    ----------
    descriptors:
        Open files that the process is to have too.
    """

    def __init__(
        self, command: Sequence[str], environ: Mapping[str, str], descriptors: Sequence[int] = ()
    ) -> None:
        # a session of its own: Ctrl-C at the terminal is for the run, which passes it on once
        self._process = subprocess.Popen(
            command,
            env=dict(environ),
            stdin=subprocess.PIPE,
            pass_fds=descriptors,
            start_new_session=True,
        )
        assert self._process.stdin is not None
        self._lifeline = self._process.stdin.fileno()

    def is_running(self) -> bool:
        """Whether the process that was started is still there."""
        return self._process.poll() is None

    def go_on(self) -> None:
        """Let it begin the next epoch."""
        self._send(GO_ON)

    def stop(self) -> int:
        """Ask it to end, wait until it and all it started have ended; its exit status.

        What has not ended in :data:`STOP_SECONDS` is killed. Until then signals make no difference:
        a service manager sends them to the run twice, itself and by way of Dagster's server.
        """
        with ignored_signals():
            self._send(STOP)
            deadline = time.monotonic() + STOP_SECONDS
            while (self.is_running() or self._is_held()) and time.monotonic() < deadline:
                time.sleep(SECONDS_BETWEEN_LOOKS)
            if self.is_running():
                os.killpg(self._process.pid, signal.SIGKILL)
            if self._process.stdin is not None:
                self._process.stdin.close()
            return self._process.wait()

    def _send(self, order: bytes) -> None:
        try:
            os.write(self._lifeline, order)
        except BrokenPipeError:  # it has ended, and says why by its exit status
            return

    def _is_held(self) -> bool:
        """Whether any process still holds the other end of the lifeline: a worker of torchrun's."""
        poll = select.poll()
        poll.register(self._lifeline, 0)
        return not poll.poll(0)
