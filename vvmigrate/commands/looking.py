"""Looking at a host: no lock, no recovery, nothing written."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from vvmigrate.commands.opening import Call
from vvmigrate.commands.site import Site
from vvmigrate.engine import journal
from vvmigrate.engine.host import ROOT
from vvmigrate.engine.session import Session
from vvmigrate.errors import VvmigrateError
from vvmigrate.report import Report
from vvmigrate.settings import Settings

Opened = TypeVar("Opened", bound=Site)

FINDINGS = 3
"""Exit code of a look that found something."""


def looking(
    call: Call, opened: Callable[[Call, Settings, Session], Opened], look: Callable[[Opened, Report], None]
) -> Report:
    """A whole command that only looks; it asks nobody anything.

    Args:
        opened: reads the revisions of the open host, as far as the look needs them.

    Returns:
        Its report, whatever happened.
    """
    report = Report(call.command)
    call = call.asking_nobody()
    try:
        settings, session = call.read()
        with session:
            for text in session.warnings:
                call.listener("warning", text=text)
            if waits := journal.pending(session.host.state(ROOT)):
                call.listener("warning", text=f"{waits.path}: a step was interrupted and waits: vvmigrate recover")
            look(opened(call, settings, session), report)
    except VvmigrateError as error:
        report.fail(error)
    return report
