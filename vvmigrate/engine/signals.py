"""Signals that ask us to end: an exception where we can be interrupted, and put off where we must not be."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Ended(BaseException):
    """A signal asked the process to end; like KeyboardInterrupt, no error to be handled on the way."""

    def __init__(self, number: int) -> None:
        """Remember which signal it was."""
        super().__init__(f"ended by {signal.Signals(number).name}")
        self.number = number


def _raise(number: int, _frame: FrameType | None) -> None:
    raise Ended(number)


def is_signal(error: BaseException) -> bool:
    """Whether a signal has raised an exception, and not the code that it came through.

    `KeyboardInterrupt` is one only where nobody has called `install`: in a program that calls Alembic's functions.
    """
    ours = signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    return isinstance(error, Ended) or (isinstance(error, KeyboardInterrupt) and not ours)


def install() -> None:
    """From now on a signal that asks us to end raises `Ended`; a broken pipe is an ordinary error."""
    for number in ENDING:
        signal.signal(number, _raise)


def stand_down() -> None:
    """From now on a signal ends the process at once: the work is settled, only its report is not yet read."""
    for number in ENDING:
        signal.signal(number, signal.SIG_DFL)


@contextmanager
def put_off() -> Iterator[None]:
    """Hold signals back until the block has ended: publishing, committing and undoing take milliseconds."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
