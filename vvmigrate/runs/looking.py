"""Looking at a host: no lock, no recovery, nothing written."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from shlex import quote
from typing import TypeVar

from vvmigrate.engine import adoption, journal
from vvmigrate.engine.host import ROOT
from vvmigrate.engine.session import Session
from vvmigrate.errors import VvmigrateError
from vvmigrate.report import Report
from vvmigrate.runs.opening import Call
from vvmigrate.runs.site import Site
from vvmigrate.settings import Settings

Opened = TypeVar("Opened", bound=Site)

FINDINGS = 3
"""Exit code of a look that found something."""


@contextmanager
def _nothing_collected() -> Iterator[None]:
    """For work that makes many values, of which none is garbage: the collector would go through all, again and again.

    With 50,000 recorded paths that is a fifth of what `verify` takes.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def warn_of_refusals(call: Call, session: Session) -> None:
    """Who looks is told what stands in the way of whoever writes."""
    for error in session.refusals:
        call.listener("warning", text=f"{error.message}: commands that change the host are refused; {error.hint}")


def tell_unseen(site: Site, report: Report) -> None:
    """Who looked is told what they could not see: it may be as it was left or not."""
    if site.unseen:
        report.body["unseen"] = [{"path": path, "reason": why} for path, why in site.unseen.items()]
    for path, why in site.unseen.items():
        hint = f"sudo vvmigrate --home {quote(str(site.settings.home))} doctor"
        text = f"{path}: {why}: whether all is there as it was left this user cannot see; who can: {hint}"
        site.call.listener("warning", text=text)


def looking(
    call: Call,
    opened: Callable[[Call, Settings, Session], Opened],
    look: Callable[[Opened, Report], None],
    *,
    judging: bool = False,
    planning: bool = False,
) -> Report:
    """A whole command that only looks; it asks nobody anything.

    At rows that are not genuine, or that nothing proves since their key is lost, it does not look.

    Args:
        opened: reads the revisions of the open host, as far as the look needs them.
        judging: whether what contradicts the rows is part of the report, after the look.
        planning: whether the look says what a command that writes would do: then it is refused what that is refused.

    Returns:
        Its report, whatever happened.
    """
    report = Report(call.command)
    call = call.asking_nobody()
    try:
        settings, session = call.plan() if planning else call.read()
        with session, _nothing_collected():
            warn_of_refusals(call, session)
            for text in session.warnings:
                call.listener("warning", text=text)
            if waits := journal.pending(session.host.state(ROOT)):
                text = f"{waits.path}: a step was interrupted and waits: vvmigrate recover"
                then = "; this is planned for the host as it is now" if planning else ""
                call.listener("warning", text=text + then)
            doubts = adoption.unproved(session) or adoption.unprovable(session)
            if not doubts:
                site = opened(call, settings, session)
                look(site, report)
                tell_unseen(site, report)
                doubts = adoption.contradictions(session) if judging else []
            for doubt in doubts:
                report.fail(doubt)
    except VvmigrateError as error:
        report.fail(error)
    return report
