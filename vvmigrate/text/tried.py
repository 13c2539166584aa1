"""How the report of a rehearsal is shown."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any

from rich.markup import escape

from vvmigrate.text.screen import Screen, printable


def rehearse(screen: Screen, body: Mapping[str, Any]) -> None:
    """What each revision changed, what came back, and the verdict."""
    if not body["steps"]:
        if body["error"] is None:
            screen.say(f"nothing pending at {body['from'] or 'base'}; to try the way back: vvmigrate rehearse -1")
        return
    for item in body["held"]:
        screen.say(f"[yellow]held:[/] {item['revision']} was taken back by {item['user']} ({escape(item['reason'])})")
    for step in body["steps"]:
        _step(screen, step)
    if body["proved"]:
        count = len(body["steps"])
        screen.say(f"[green]proved:[/] {count} revision{'s' * (count > 1)}; nothing on this host was changed")


def _step(screen: Screen, step: Mapping[str, Any]) -> None:
    ways = {"up": "up, down and up again", "down": "down, up and down again"}
    verdict = "[green]comes back[/]" if step["proved"] else "[red]is not proved[/]"
    if step["proved"] and step["again"] is None:
        verdict = "[green]can be taken back[/]; its way up is not in this release"
    screen.say(f"[bold]{escape(step['revision'])}[/] {escape(printable(step['title']))}: {verdict}")
    if step["again"] is not None:
        screen.say(f"    {ways[step['direction']]}; state {step['digest_before']}")
    for line in _lines(step["changes"]):
        screen.say(f"    {line}")
    for item in step["differs"]:
        screen.say(f"    [red]differs:[/] {_words(item, printable(item['path']))}")


def _lines(changes: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """A line a change; like changes of one folder share one."""

    def like(change: Mapping[str, Any]) -> tuple[Any, ...]:
        return os.path.dirname(change["path"]), change["before"], change["after"], change["back"], change["stays"]

    for _, group in groupby(sorted(changes, key=like), key=like):
        members = list(group)
        paths = [printable(change["path"]) for change in members]
        stays = members[0]["stays"]
        left = f" [yellow]({escape(printable(stays))})[/]" if stays else ""
        yield _words(members[0], ", ".join([paths[0], *map(_name, paths[1:])])) + left


def _name(path: str) -> str:
    """What is told of a path after one in the same folder: of a part of a file its own name."""
    return os.path.basename(path).rpartition(": ")[2]


def _words(change: Mapping[str, Any], where: str) -> str:
    path = escape(where)
    before, after = (escape(printable(change[name])) for name in ("before", "after"))
    if before == "nothing":
        return f"[green]+[/] {path} [dim]({after})[/]"
    if after == "nothing":
        return f"[red]-[/] {path} [dim]({before})[/]"
    return f"[yellow]~[/] {path} [dim](from {before} to {after})[/]"
