"""How long a download waits, for what, and when it gives up.

Clock and sleep are given, so that a test need not wait.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from vvmigrate.content.delivery.answers import AttemptError
from vvmigrate.errors import DeliveryError


@dataclass(frozen=True)
class Pace:
    """The limits of one download.

    Attributes:
        connect_s: for a connection to be made.
        stall_s: without a single byte.
        answer_s: until the headers of an answer are there; a server may send them one byte at a time.
        min_bytes_per_s: over each window; the socket's timeout alone is defeated by one byte every half second.
        window_s: length of that window.
        rounds: how often all sources are tried again without any progress.
        wait_s: before the second round; doubles with each further one.
        wait_max_s: the longest wait, also when a server asks for more with Retry-After.
        deadline: moment on `clock` at which everything ends, None for never.
        clock: seconds that only go forward.
        sleep: waits for so many seconds.
    """

    connect_s: float = 15
    stall_s: float = 30
    answer_s: float = 60
    min_bytes_per_s: int = 1024
    window_s: float = 60
    rounds: int = 5
    wait_s: float = 1
    wait_max_s: float = 60
    deadline: float | None = None
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def left_s(self) -> float:
        """Seconds until the deadline; infinite without one."""
        return float("inf") if self.deadline is None else self.deadline - self.clock()

    def check_deadline(self) -> None:
        """End everything when the time is up.

        Raises:
            DeliveryError: the deadline has passed.
        """
        if self.left_s() <= 0:
            raise DeliveryError("the time allowed for the download is over")

    def timeouts(self) -> tuple[float, float]:
        """Socket timeouts for connecting and for each read, none of them longer than what is left."""
        self.check_deadline()
        return min(self.connect_s, self.left_s()), min(self.stall_s, self.left_s())

    def pause(self, fruitless: int, asked_s: float) -> None:
        """Wait after the `fruitless`-th round in a row that brought nothing, at least as long as a server asked for."""
        backoff = self.wait_s * 2.0 ** max(0, fruitless - 1)
        delay = min(max(backoff, asked_s), self.wait_max_s)
        if delay >= self.left_s():
            raise DeliveryError("the time allowed for the download is over")
        self.sleep(delay)


class Rate:
    """Counts what comes and refuses a connection that only trickles."""

    def __init__(self, pace: Pace) -> None:
        """Begin the first window now."""
        self._pace = pace
        self._since = pace.clock()
        self._bytes = 0

    def count(self, size_bytes: int) -> None:
        """Note that so many bytes came.

        Raises:
            AttemptError: the window that ends here brought too little.
            DeliveryError: the deadline has passed.
        """
        self._pace.check_deadline()
        self._bytes += size_bytes
        passed = self._pace.clock() - self._since
        if passed < self._pace.window_s:
            return
        if self._bytes < passed * self._pace.min_bytes_per_s:
            raise AttemptError(f"too slow: {self._bytes} bytes in {passed:.0f} s")
        self._since, self._bytes = self._pace.clock(), 0
