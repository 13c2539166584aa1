"""How a plan is shown: step by step, then what it comes to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.markup import escape

from vvmigrate.progress import amount
from vvmigrate.text import seen
from vvmigrate.text.screen import Screen, printable


def plan(screen: Screen, body: Mapping[str, Any]) -> None:
    """What would be done; of a way back also what stays, what cannot be restored, and whether it needs the network."""
    seen.plan(screen, body)
    down = [step for step in body["steps"] if step["direction"] == "down"]
    if not screen.verbose:
        for text in [text for step in down for text in step["skipped"]]:
            screen.say(f"stays: {escape(printable(text))}")
    for item in body["cannot"]:
        where = f"{escape(printable(item['path']))}: " if item["path"] else ""
        screen.say(f"[red]cannot be restored:[/] {where}{escape(printable(item['reason']))}")
    if body["network_bytes"]:
        screen.say(f"[yellow]needs {amount(body['network_bytes'])} from the network[/]")
    elif down:
        screen.say("needs no network")
