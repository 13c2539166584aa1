"""How the report of `adopt` is shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.markup import escape

from vvmigrate.text.screen import Screen, printable
from vvmigrate.text.seen import drift


def adopt(screen: Screen, body: Mapping[str, Any]) -> None:
    """What was taken over, and what is left, with what differs."""
    for text in body.get("settled", []):
        screen.say(f"[yellow]settled:[/] {escape(printable(text))}")
    if body["from"] != body["to"]:
        screen.say(f"taken over from {body['from'] or 'base'} to {body['to'] or 'base'}")
    elif not body.get("left") and body["error"] is None:
        screen.say(f"nothing to adopt: at {body['to'] or 'base'}")
    for item in body.get("left", []):
        screen.say(f"[yellow]left:[/] {escape(item['revision'])} {escape(item['title'])}")
        for found in item["differs"]:
            path = f"{printable(found['path'])}: " if found["path"] else ""
            screen.say(f"    {escape(path)}{escape(printable(found['detail']))}")
    drift(screen, body.get("drift", []))
    for text in body.get("warnings", []):
        screen.say(f"[yellow]warning:[/] {escape(printable(text))}")
    if body.get("left"):
        screen.advise("what an upgrade would do about it: vvmigrate plan; to do it: vvmigrate upgrade head")
