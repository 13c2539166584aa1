"""Reports as text for people: one line for what is one thing, a table for what is many, colour only where it shows."""

from __future__ import annotations

from vvmigrate.report import Report
from vvmigrate.text import authored, authoring, done, seen, signed, tried
from vvmigrate.text.screen import Screen

SHOWN = {
    "bundle": done.bundle,
    "check": authoring.check,
    "current": seen.current,
    "doctor": seen.doctor,
    "downgrade": done.downgrade,
    "fetch": done.fetch,
    "heads": seen.heads,
    "history": seen.history,
    "keygen": signed.keygen,
    "plan": seen.plan,
    "prune": done.prune,
    "recover": done.recover,
    "rehearse": tried.rehearse,
    "repair": done.repair,
    "revision": authored.revision,
    "show": seen.show,
    "sign": signed.sign,
    "status": seen.status,
    "upgrade": done.upgrade,
    "verify": seen.verify,
    "why": seen.why,
}
"""How each command's report is shown."""


def show(screen: Screen, report: Report) -> None:
    """Show a whole report, its error last."""
    screen.end()
    if report.command in SHOWN and report.body and not screen.quiet:
        SHOWN[report.command](screen, {**report.body, "error": report.error})
    if report.error is not None:
        screen.error(report.error)


__all__ = ["SHOWN", "Screen", "show"]
