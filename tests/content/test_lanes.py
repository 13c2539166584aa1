"""Work side by side: in order, nothing lost, no error swallowed, and nobody waits for somebody who left."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import closing

import pytest

from vvmigrate.content.delivery.lanes import DEPTH, Channel, Lane, ahead, within


class OddError(Exception):
    """What goes wrong here."""


def failing_after(count: int) -> Iterator[int]:
    """So many numbers, then an error."""
    yield from range(count)
    raise OddError


def test_what_is_produced_ahead_comes_in_its_order() -> None:
    """Far more items than a channel holds, all of them, one after the other."""
    assert list(ahead(iter(range(1000)))) == list(range(1000))


def test_no_more_is_produced_than_may_wait() -> None:
    """However slow the consumer is, only `depth` items and the one in hand exist: memory is bounded."""
    made: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            yield number

    for taken in ahead(items(), 3):
        assert len(made) <= taken + 1 + 3 + 2  # taken, waiting, and one in each hand


def test_an_error_comes_after_what_was_produced_before_it() -> None:
    """What came before an error is given out first."""
    seen: list[int] = []
    with pytest.raises(OddError):
        seen.extend(ahead(failing_after(20)))
    assert seen == list(range(20))


def test_a_consumer_that_stops_stops_the_producer() -> None:
    """Its thread has ended when the loop is left: nobody goes on writing behind one's back."""
    before = threading.active_count()
    endless = ahead(iter(int, 1))
    next(endless)
    endless.close()
    assert threading.active_count() == before


def test_channels_in_a_row_end_with_the_last_one() -> None:
    """An error in one stage ends those before it as well."""
    before = threading.active_count()
    with (
        pytest.raises(ZeroDivisionError),
        closing(ahead(iter(range(100_000)))) as numbers,
        closing(ahead(x * 2 for x in numbers)) as doubled,
        closing(ahead(1 // (x - 500) for x in doubled)) as stages,
    ):
        list(stages)
    assert threading.active_count() == before


def test_nobody_waits_for_a_reader_who_left() -> None:
    """Whoever hands out is told, and goes on."""
    channel: Channel[int] = Channel(1)
    assert channel.put(1)
    assert channel.leave() == [1]
    assert not channel.put(2)


@pytest.mark.parametrize("threaded", [False, True])
def test_a_lane_works_in_order(threaded: bool) -> None:
    """Everything that was handed out is done when it has settled."""
    done: list[int] = []
    with Lane(done.append, threaded=threaded) as lane:
        for number in range(500):
            lane.put(number)
        lane.settle()
        assert done == list(range(500))


@pytest.mark.parametrize("threaded", [False, True])
def test_a_lane_tells_of_a_failure_once_and_goes_on(threaded: bool) -> None:
    """After a failure nothing more is done until it was told; then work goes on."""
    done: list[int] = []

    def work(number: int) -> None:
        if number == 5:
            raise OddError
        done.append(number)

    with Lane(work, threaded=threaded) as lane:
        with pytest.raises(OddError):
            deque(map(lane.put, range(5 + DEPTH * 4)), maxlen=0)
        assert done == list(range(5))
        lane.put(99)
        lane.settle()
        assert done == [*range(5), 99]


def test_work_in_time_gives_its_result_or_its_error() -> None:
    """The limit changes nothing for whoever keeps it."""
    assert within(3600, lambda: 7, print) == 7
    with pytest.raises(OddError):
        within(3600, lambda: next(failing_after(0)), print)


def test_a_late_result_is_discarded() -> None:
    """Whoever takes too long is not waited for, and what it brings in the end is not left lying about."""
    over, late = threading.Event(), threading.Event()

    def work() -> int:
        over.wait()
        return 7

    with pytest.raises(TimeoutError):
        within(0, work, lambda _: late.set())
    over.set()
    assert late.wait(60)
