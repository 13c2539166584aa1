"""Work that goes on side by side: a bounded channel between two threads, and the two shapes in which it is used.

`ahead` lets whoever produces run before whoever consumes; a `Lane` lets work follow behind whoever hands it out. Both
keep the order, never hold more than a few items, and raise what went wrong on the other side.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from typing import Generic, Self, TypeVar

Item = TypeVar("Item")
DEPTH = 8  # blocks of 256 KiB: enough to ride out a slow write, and 2 MiB


class Channel(Generic[Item]):
    """A queue of a few items with an end that both sides can make."""

    def __init__(self, depth: int = DEPTH) -> None:
        """Hold at most `depth` items."""
        self._depth = depth
        self._items: deque[Item] = deque()
        self._changed = threading.Condition()
        self._ended = self._left = False
        self._error: BaseException | None = None

    def put(self, item: Item) -> bool:
        """Wait for room and add an item; False where nobody takes items any more."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._items) < self._depth or self._left)
            if self._left:
                return False
            self._items.append(item)
            self._changed.notify_all()
            return True

    def end(self, error: BaseException | None = None) -> None:
        """No more items follow; the other side raises `error` after the last one."""
        with self._changed:
            self._ended, self._error = True, self._error or error
            self._changed.notify_all()

    def leave(self) -> list[Item]:
        """Nobody takes items any more; returns those that nobody took."""
        with self._changed:
            self._left = True
            left = list(self._items)
            self._items.clear()
            self._changed.notify_all()
            return left

    def wait(self, seconds: float) -> bool:
        """Wait for an item, or for the end; False if neither came in time."""
        with self._changed:
            return self._changed.wait_for(lambda: bool(self._items) or self._ended, min(seconds, threading.TIMEOUT_MAX))

    def __iter__(self) -> Generator[Item]:
        """Take items until the end; whoever stops taking them has left."""
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: self._items or self._ended)
                    if not self._items:
                        break
                    item = self._items.popleft()
                    self._changed.notify_all()
                yield item
            if self._error is not None:
                raise self._error
        finally:
            self.leave()


def ahead(items: Iterable[Item], depth: int = DEPTH) -> Generator[Item]:
    """The same items, produced in a thread of their own up to `depth` before they are asked for.

    Whoever may stop early closes it (`contextlib.closing`): a traceback would keep it, and the thread, alive.
    """
    channel: Channel[Item] = Channel(depth)
    thread = threading.Thread(target=_produce, args=(items, channel), daemon=True)
    thread.start()
    try:
        yield from channel
    finally:
        channel.leave()
        thread.join()


def _produce(items: Iterable[Item], channel: Channel[Item]) -> None:
    try:
        for item in items:
            if not channel.put(item):
                break
    except BaseException as error:  # noqa: BLE001 - raised again on the other side
        channel.end(error)
    else:
        channel.end()


def within(seconds: float, work: Callable[[], Item], discard: Callable[[Item], object]) -> Item:
    """Do something in a thread that is left to itself when it takes too long; it ends with the process at the latest.

    Args:
        seconds: how long is long enough.
        work: what to do.
        discard: what to do with a result that comes too late.

    Raises:
        TimeoutError: it took longer.
        BaseException: what `work` raised.
    """
    channel: Channel[Item] = Channel()

    def run() -> None:
        try:
            item = work()
        except BaseException as error:  # noqa: BLE001 - raised again on the other side
            channel.end(error)
        else:
            if not channel.put(item):
                discard(item)

    threading.Thread(target=run, daemon=True).start()
    if not channel.wait(seconds):
        for late in channel.leave():
            discard(late)
        raise TimeoutError
    return next(iter(channel))


class Lane(Generic[Item]):
    """Work on items in their order, a few items behind whoever hands them out.

    After a failure nothing more is worked on, until somebody has been told of it.
    """

    def __init__(self, work: Callable[[Item], object], *, threaded: bool) -> None:
        """Work in a thread of its own, or at once."""
        self._work = work
        self._channel: Channel[Item] = Channel()
        self._done = threading.Condition()
        self._open = 0
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True) if threaded else None
        if self._thread is not None:
            self._thread.start()

    def __enter__(self) -> Self:
        """End the thread with the block."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Finish what was handed out, in silence: whoever wants to know asks `settle`."""
        if self._thread is not None:
            self._channel.end()
            self._thread.join()

    def put(self, item: Item) -> None:
        """Hand out an item.

        Raises:
            BaseException: what work on an earlier item raised (on this one, without a thread).
        """
        if self._thread is None:
            self._work(item)
            return
        if self._error is not None:
            self.settle()
        with self._done:
            self._open += 1
        self._channel.put(item)

    def settle(self) -> None:
        """Wait until everything that was handed out is done.

        Raises:
            BaseException: what went wrong; from now on work goes on.
        """
        with self._done:
            self._done.wait_for(lambda: not self._open)
            error, self._error = self._error, None
        if error is not None:
            raise error

    def _run(self) -> None:
        for item in self._channel:
            if self._error is None:
                try:
                    self._work(item)
                except BaseException as error:  # noqa: BLE001 - raised again on the other side
                    self._error = error
            with self._done:
                self._open -= 1
                self._done.notify_all()
