"""How the reports of commands for authors are shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.markup import escape

from vvmigrate.text.screen import Screen, printable


def revision(screen: Screen, body: Mapping[str, Any]) -> None:
    """What was seen, and where the file is."""
    for item in body["differences"]:
        screen.say(f"  {escape(printable(item['input']))}: {escape(printable(item['what']))}")
    for text in body["advice"]:
        screen.warn(text)
    if body["fixed"]:
        screen.say(f"  fixed, not to be edited any more: {', '.join(body['fixed'])}")
    if body["path"]:
        screen.say(escape(printable(body["path"])))
    elif body["error"] is None:
        done = "no operation can do this: no revision was written" if body["differences"] else "nothing to write"
        screen.say(f"{done}: revisions cover every input" if not body["differences"] else done)
