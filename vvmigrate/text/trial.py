"""How an upgrade's time of trial is shown: its health check, the confirm it waits for, and that it was taken back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.markup import escape

from vvmigrate.text.screen import Screen, printable


def span(seconds: float) -> str:
    """A time as people say it."""
    whole = round(seconds)
    hours, minutes = whole // 3600, whole % 3600 // 60
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {whole % 60} s" if minutes else f"{whole} s"


def outcome(screen: Screen, body: Mapping[str, Any]) -> None:
    """What the check said, what was taken back, and what has to be confirmed."""
    health = body.get("health")
    if health and health["exit_code"] != 0:
        for line in health["output"].splitlines():
            screen.say(f"  [dim]{escape(printable(line))}[/]")
    elif health:
        screen.say(f"health check: [green]well[/], after {health['duration_s']:.1f} s")
    for step in body.get("reverted", ()):
        held = ", and held" if step["held"] else ""
        screen.say(f"[yellow]{step['revision']} was taken back{held}:[/] {escape(printable(step['reason']))}")
    if body.get("confirm"):
        screen.say(f"taken back in {span(body['confirm']['left_s'])} unless you say: [bold]vvmigrate confirm[/]")


def confirm(screen: Screen, body: Mapping[str, Any]) -> None:
    """What stays."""
    outcome(screen, body)
    if body.get("ended"):
        screen.say(f"nothing is taken back any more, and the host stays as it is: {escape(printable(body['ended']))}")
    elif found := body["confirmed"]:
        screen.say(f"confirmed: the run of {escape(found['user'])} at {found['started_at']} stays")
    elif body["error"] is None:
        screen.say("nothing to confirm")


def promised(screen: Screen, found: Mapping[str, Any] | None) -> None:
    """What `status` says of it."""
    if found is not None:
        screen.say(f"[yellow]{escape(printable(sentence(found)))}[/]")


def sentence(found: Mapping[str, Any]) -> str:
    """How a run that may yet be taken back stands."""
    who = f"the run of {found['user']} at {found['started_at']}"
    if found["state"] == "waiting" and found["left_s"]:
        return f"{who} waits to be confirmed, {span(found['left_s'])} more: vvmigrate confirm"
    if found["state"] == "waiting":
        return f"{who} was not confirmed in time and will be taken back: vvmigrate recover"
    if found["state"] == "checking":
        return f"{who} is having its health check, or was killed in it: vvmigrate recover"
    return f"{who} is under way, or will be taken back: vvmigrate recover"
