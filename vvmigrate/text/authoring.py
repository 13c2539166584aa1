"""Reports for authors of releases, as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.markup import escape

from vvmigrate.text.screen import Screen, printable


def check(screen: Screen, body: Mapping[str, Any]) -> None:
    """Each finding where it is, as compilers say it, and what to do below."""
    for item in body["findings"]:
        where = f"{printable(item['path'])}:{item['line']}"
        screen.say(f"[bold]{escape(where)}[/]: [yellow]{item['kind']}[/]: {escape(printable(item['reason']))}")
        screen.say(f"  {escape(printable(item['remedy']))}")
    if screen.verbose:
        for item in body["allowed"]:
            where = f"{printable(item['path'])}:{item['line']}"
            screen.say(f"{escape(where)}: {item['kind']} is allowed: {escape(printable(item['because']))}")
    if body["not_tried"]:
        screen.say(f"only read, not tried on an empty database: {escape(', '.join(body['not_tried']))}")
    count, allowed = len(body["findings"]), len(body["allowed"])
    result = f"[yellow]{count} finding{'s' * (count != 1)}[/]" if count else "[green]nothing is wrong[/]"
    accepted = f", {allowed} allowed" if allowed else ""
    revisions = body["revisions"]
    screen.say(f"{revisions} revision{'s' * (revisions != 1)} checked: {result}{accepted}")
