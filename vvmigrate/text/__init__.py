"""Reports as text for people: one line for what is one thing, a table for what is many, colour only where it shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vvmigrate.report import Report
from vvmigrate.text import adopted, authored, authoring, done, outlook, seen, signed, trial, tried
from vvmigrate.text.screen import Screen

SHOWN = {
    "adopt": adopted.adopt,
    "bundle": done.bundle,
    "check": authoring.check,
    "confirm": trial.confirm,
    "current": seen.current,
    "doctor": seen.doctor,
    "downgrade": done.downgrade,
    "fetch": done.fetch,
    "heads": seen.heads,
    "history": seen.history,
    "keygen": signed.keygen,
    "plan": outlook.plan,
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


def listener(screen: Screen) -> Callable[..., None]:
    """Who shows what happens while it happens: the screen, and for whole reports what shows them."""

    def listen(event: str, **facts: Any) -> None:
        if event == "outlook":
            outlook.plan(screen, facts)
        else:
            screen.listen(event, **facts)

    return listen


def show(screen: Screen, report: Report) -> None:
    """Show a whole report, its error last."""
    screen.end()
    if report.command in SHOWN and report.body and not screen.quiet:
        SHOWN[report.command](screen, {**report.body, "error": report.error, "exit_code": report.exit_code})
    if report.error is not None:
        screen.error(report.error)


__all__ = ["SHOWN", "Screen", "listener", "show"]
