"""Somebody acts, or the process dies, at a chosen moment of a command: no timing, the moment itself is the trigger.

A `Moment` is a step of the protocol; `Call` is any access to the file system, counted. What happens there is a
function: a user's save, or `die`. A command that is to die runs in a fork of this process.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any

from tests.conftest import HostFolder
from vvmigrate.engine import recovery, stage, step
from vvmigrate.engine.journal import Journal
from vvmigrate.engine.ledger import Ledger
from vvmigrate.files.look import Look
from vvmigrate.report import Report

Act = Callable[[], object]
MISSED, FAILED = 77, 78
"""Exit statuses of work that came to its end, and of work that ended in an exception."""


@dataclass(frozen=True)
class Moment:
    """A call of one of the engine's functions.

    Attributes:
        where: the module or class that has the function.
        function: its name.
        nth: which of its calls.
        after: whether the call has returned.
        target: only calls whose first argument is an effect on this path count.
    """

    where: Any
    function: str
    nth: int = 1
    after: bool = True
    target: str = ""

    def counts(self, arguments: tuple[Any, ...]) -> bool:
        """Whether a call with these arguments is one of those that are counted."""
        return not self.target or arguments[0].target.name == self.target


STAGED = Moment(stage, "stage")
SEALED = Moment(Journal, "seal")
PUBLISHED = Moment(recovery, "fsync_all")
WRITTEN = Moment(Ledger, "append_step")
COMMITTED = Moment(recovery, "finish", after=False)
ANCHORED = Moment(stage, "settle_images", after=False)
MOVED = Moment(stage, "settle_images")
PROTOCOL = (STAGED, SEALED, PUBLISHED, WRITTEN, COMMITTED, ANCHORED, MOVED)
"""The moments of one step, in their order; the first four are undone, the others finished."""


def applying(name: str, *, after: bool) -> Moment:
    """Right before or after the rename that makes one path's change visible."""
    return Moment(step, "publish", after=after, target=name)


def die() -> None:
    """The process is gone, as the kernel's out-of-memory killer would have it."""
    os.kill(os.getpid(), signal.SIGKILL)


@contextmanager
def at(moment: Moment, act: Act) -> Iterator[None]:
    """In this block, have somebody act at a moment; a moment that never comes is a failure of the test."""
    original = getattr(moment.where, moment.function)
    calls = 0

    @wraps(original)
    def watched(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        counted = moment.counts(arguments)
        calls += counted
        due = counted and calls == moment.nth
        if due and not moment.after:
            act()
        result = original(*arguments, **options)
        if due and moment.after:
            act()
        return result

    setattr(moment.where, moment.function, watched)
    try:
        yield
    finally:
        setattr(moment.where, moment.function, original)
    assert calls >= moment.nth, f"{moment} never came"


@contextmanager
def at_calls(acts: Mapping[int, Act]) -> Iterator[list[str]]:
    """In this block, have somebody act right before the accesses to the file system with these numbers, from 1.

    Yields:
        The names that were accessed so far.
    """
    original = Look.at
    seen: list[str] = []

    def watched(place: Look) -> Any:
        seen.append(place.name)
        if act := acts.get(len(seen)):
            act()
        return original(place)

    Look.at = watched  # type: ignore[method-assign, assignment]
    try:
        yield seen
    finally:
        Look.at = original  # type: ignore[method-assign]


def in_a_fork(work: Act) -> int:
    """Do some work in a child; its exit status, or the negative number of the signal that ended it.

    An exception is shown on standard error, and is an exit status of its own: it must not pass as an end.
    """
    child = os.fork()
    if child == 0:
        status = FAILED
        try:
            work()
            status = MISSED
        except BaseException:  # noqa: BLE001 - it must not reach the test that has been forked with it
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def crash(host: HostFolder, moment: Moment, verb: str, *arguments: str, **options: Any) -> None:
    """Run a command that is killed at a moment."""

    def work() -> None:
        with at(moment, die):
            host.call(verb, *arguments, **options)

    assert in_a_fork(work) == -signal.SIGKILL, f"{moment} never came"


def crash_at_call(host: HostFolder, number: int, verb: str, *arguments: str, **more: Any) -> bool:
    """Run a command that is killed right before an access to the file system.

    Args:
        more: `acts`: what somebody does at other accesses; the rest are options of the command.

    Returns:
        Whether it came so far.
    """
    acts = dict(more.pop("acts", {}))

    def work() -> None:
        with at_calls({**acts, number: die}):
            host.call(verb, *arguments, **more)

    status = in_a_fork(work)
    assert status in (-signal.SIGKILL, MISSED), f"{verb} ends with {status} before access {number}"
    return status == -signal.SIGKILL


def settled(host: HostFolder) -> Report:
    """Recover, and expect that nothing waits any more."""
    report = host.call("recover")
    assert (report.exit_code, report.error) == (0, None)
    private = host.root / ".vvmigrate"
    assert not {"journal", "run"} & set(os.listdir(private))
    for state in (private, host.home / ".vvmigrate"):
        assert os.listdir(state / "staging") == []
    assert host.call("history", verify=True).exit_code == 0
    return report
