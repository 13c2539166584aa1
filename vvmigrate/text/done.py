"""How the reports of commands that change a host are shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.markup import escape

from vvmigrate.progress import amount
from vvmigrate.text import trial
from vvmigrate.text.screen import Screen, printable
from vvmigrate.text.seen import differing, set_command


def upgrade(screen: Screen, body: Mapping[str, Any]) -> None:
    """What was done, and what is left to do."""
    if not body["steps"] and body["error"] is None and body["exit_code"] == 0:
        screen.say(f"nothing to do: at {body['to'] or 'base'}")
    if body["from"] != body["to"]:
        screen.say(f"from {body['from'] or 'base'} to {body['to'] or 'base'}")
    if body["affects"]:
        screen.say(f"changed: {', '.join(body['affects'])}; restart what uses them")
    trial.outcome(screen, body)
    for item in body["degraded"]:
        text = f"revision {item['revision']} is degraded: {item['reason']}; the next upgrade tries again"
        screen.warn(text)
    if body["required_missing"]:
        names = body["required_missing"]
        has, it = ("has", "it") if len(names) == 1 else ("have", "them")
        screen.say(f"[bold yellow]{', '.join(names)} {has} no value in .env.[/] The system needs {it}:")
        screen.advise(set_command(names))


def downgrade(screen: Screen, body: Mapping[str, Any]) -> None:
    """What was taken back, and what holds it."""
    upgrade(screen, {**body, "required_missing": []})
    if body["held"] and body["steps"]:
        screen.say(
            f"held, so that it does not return by itself: {', '.join(item['revision'] for item in body['held'])}"
        )
        screen.advise("to let it return: vvmigrate upgrade head --release-hold")


def recover(screen: Screen, body: Mapping[str, Any]) -> None:
    """What was settled."""
    nothing = ["nothing to recover"] if body["error"] is None else []
    for text in body["settled"] or nothing:
        screen.say(escape(printable(text)))


def fetch(screen: Screen, body: Mapping[str, Any]) -> None:
    """Nothing, where everything was named while it came."""
    if not body["artefacts"] and body["error"] is None:
        screen.say("nothing to fetch: neither an upgrade nor a repair would download anything")


def bundle(screen: Screen, body: Mapping[str, Any]) -> None:
    """Where it is."""
    if not body["artefacts"] and body["error"] is None:
        screen.say("the release needs no model")
    if body["error"] is None:
        screen.say(escape(printable(body["file"])))


def prune(screen: Screen, body: Mapping[str, Any]) -> None:
    """What went, what stayed, and why."""
    for item in body["pruned"]:
        path = escape(printable(item["path"]))
        screen.say(f"{path}: {amount(item['size_bytes'])} [dim]({escape(item['reason'])})[/]")
    for item in body["kept"]:
        screen.say(f"[yellow]kept:[/] {escape(printable(item['path']))}: {escape(item['reason'])}")
    does = "would be freed" if body["dry_run"] else "freed"
    screen.say(f"{amount(body['freed_bytes'])} {does}" if body["pruned"] else "nothing to prune")


def repair(screen: Screen, body: Mapping[str, Any]) -> None:
    """What was set aside, and what still differs."""
    for item in body.get("set_aside", []):
        screen.say(f"[yellow]set aside:[/] {escape(printable(item['path']))} is now {escape(printable(item['aside']))}")
    for path in body.get("put_back", []):
        screen.say(f"put back: {escape(printable(path))}")
    if body["affects"]:
        screen.say(f"changed: {', '.join(body['affects'])}; restart what uses them")
    differing(screen, body.get("left", []), "not mended", why="")
    if not body.get("drift") and not body.get("put_back") and body["error"] is None:
        what = "what was named" if body.get("named") else "everything"
        screen.say(f"nothing to repair: {what} is as recorded")
