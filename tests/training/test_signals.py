from __future__ import annotations

import os
import signal
import threading

import pytest

from perigee.training.signals import StopRequest, catch_stop_signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_is_a_request(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with catch_stop_signals(StopRequest()) as request:
        assert request.signal_name is None
        os.kill(os.getpid(), number)
        assert request.signal_name == number.name
        assert signal.getsignal(number) is before
    assert signal.getsignal(number) is before


def test_a_second_signal_acts_as_usual() -> None:
    with pytest.raises(KeyboardInterrupt), catch_stop_signals(StopRequest()) as request:
        os.kill(os.getpid(), signal.SIGINT)
        assert request.signal_name == "SIGINT"
        os.kill(os.getpid(), signal.SIGINT)


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with catch_stop_signals(StopRequest()) as request:
            os.kill(os.getpid(), signal.SIGINT)
            assert request.signal_name is None
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_are_left_alone() -> None:
    handlers = []

    def work() -> None:
        with catch_stop_signals(StopRequest()):
            handlers.append(signal.getsignal(signal.SIGTERM))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert handlers == [before]
