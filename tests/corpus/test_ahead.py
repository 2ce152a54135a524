from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from perigee.corpus.ahead import in_order, worker_count


def test_results_come_in_the_order_of_the_items() -> None:
    def late_if_even(number: int) -> int:
        time.sleep(0.002 * (number % 2 == 0))
        return number

    assert list(in_order(late_if_even, iter(range(1, 60)), 1.0)) == list(range(1, 60))


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_no_more_is_drawn_ahead_than_the_share_of_what_was_read(share: float) -> None:
    drawn = 0

    def items() -> Iterator[int]:
        nonlocal drawn
        for number in range(1, 100):
            drawn = number
            yield number

    for read, _ in enumerate(in_order(lambda number: number, items(), share), start=1):
        assert drawn - read <= min(share * (read - 1), worker_count() + 1)


def test_without_a_share_nothing_leaves_the_thread() -> None:
    threads = set(in_order(lambda _: threading.get_ident(), iter(range(1, 9)), 0.0))
    assert threads == {threading.get_ident()}


def test_what_goes_wrong_is_raised_in_its_place() -> None:
    def items() -> Iterator[int]:
        yield from range(1, 20)
        raise ValueError("source")

    results = in_order(lambda number: number, items(), 1.0)
    assert [next(results) for _ in range(19)] == list(range(1, 20))
    with pytest.raises(ValueError, match="source"):
        next(results)
    results = in_order(lambda number: 60 // (10 - number), iter(range(1, 20)), 1.0)
    assert len([next(results) for _ in range(9)]) == 9
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_a_reader_who_leaves_stops_the_threads() -> None:
    results = in_order(lambda number: number, iter(range(1, 1000)), 1.0)
    for _ in range(20):
        next(results)
    results.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("ThreadPoolExecutor")]
