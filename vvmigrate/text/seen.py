"""How the reports of commands that look are shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.markup import escape

from vvmigrate.progress import amount
from vvmigrate.text.screen import STYLE, Screen, printable


def plan(screen: Screen, body: Mapping[str, Any]) -> None:
    """What would be done, step by step."""
    if not body["steps"] and body["error"] is None:
        screen.say(f"nothing to do: at {body['from'] or 'base'}")
    for step in body["steps"]:
        screen.say(f"[bold]{escape(step['revision'])}[/] {escape(step['title'])}")
        screen.changes(step["changes"])
        for item in step["downloads"]:
            screen.say(f"    download {amount(item['size_bytes'])} from {escape(printable(item['url']))}")
        notes(screen, step)
    if body["steps"]:
        disk = body["disk"]
        screen.say(f"disk: {amount(disk['needed_bytes'])} needed, {amount(disk['free_bytes'])} free")
    for item in body["held"]:
        screen.say(f"[yellow]held:[/] {item['revision']} was taken back by {item['user']} ({escape(item['reason'])})")


def notes(screen: Screen, step: Mapping[str, Any]) -> None:
    """What a step has to say beside its changes."""
    if screen.verbose:
        for text in step["skipped"]:
            screen.say(f"    [dim]skipped: {escape(printable(text))}[/]")
    for item in step["kept"]:
        screen.say(f"    [yellow]kept:[/] {escape(printable(item['path']))}: {escape(printable(item['reason']))}")
    for text in step["warnings"]:
        screen.say(f"    [yellow]warning:[/] {escape(printable(text))}")
    if step["degraded"]:
        screen.say(f"    [yellow]degraded:[/] {escape(printable(step['degraded']))}")
    if step["required_missing"]:
        screen.say(f"    [yellow]no value for:[/] {', '.join(step['required_missing'])}")


def history(screen: Screen, body: Mapping[str, Any]) -> None:
    """Every attempt, newest first."""
    for text in body.get("problems", []):
        screen.say(f"[red]{escape(printable(text))}[/]")
    if not body["entries"]:
        screen.say("no history: nothing was done on this host yet")
        return
    rows = []
    for entry in body["entries"]:
        took = "" if entry["duration_s"] is None else f"{entry['duration_s']:.1f} s"
        style = STYLE.get(entry["result"], "")
        when = entry["finished_at"].replace("T", " ")[:19]
        rows.append(
            [when, entry["revision"], entry["direction"], f"[{style}]{entry['result']}[/]", took, entry["user"]]
        )
    screen.table(["when (UTC)", "revision", "way", "result", "took", "who"], rows, body["entries"])


def current(screen: Screen, body: Mapping[str, Any]) -> None:
    """The revision, in a line."""
    head = " (head)" if body["is_head"] else ""
    screen.say(f"{body['revision'] or 'base'}{head} {escape(body['title'] or '')}".rstrip())


def heads(screen: Screen, body: Mapping[str, Any]) -> None:
    """The release's last revision."""
    for head in body["heads"]:
        screen.say(f"{head['revision']} (head) {escape(head['title'] or '')}")


def show(screen: Screen, body: Mapping[str, Any]) -> None:
    """A revision, with its source."""
    screen.say(f"[bold]{escape(body['revision'])}[/] {escape(body['title'] or '')}")
    screen.say(
        f"  follows {body['follows'] or 'nothing'}; {'applied' if body['applied'] else 'not applied'} on this host"
    )
    screen.say(f"  {escape(printable(body['path']))}\n  SHA-256 {body['sha256']}\n")
    screen.say(escape(printable(body["source"])))


def status(screen: Screen, body: Mapping[str, Any]) -> None:
    """Where the host stands, and what is wrong with it."""
    place = " (head)" if body["revision"] == body["head"] else f" of {body['head']}"
    screen.say(f"revision      {body['revision'] or 'base'}{place}")
    screen.say(f"home          {escape(printable(body['home']))}")
    screen.say(f"storage root  {escape(printable(body['storage_root']))}")
    screen.say(f"state         {body['state_digest']}")
    if run := body["last_run"]:
        code = "it was killed" if run["exit_code"] is None else f"exit {run['exit_code']}"
        screen.say(
            f"last run      {run['command']} by {run['user']}, {run['finished_at'][:19].replace('T', ' ')}, {code}"
        )
    if failure := body["last_failure"]:
        screen.say(f"last failure  {failure['revision']}: {escape(printable(failure['error']))}")
    if body["generations"]:
        screen.say(f"models        {', '.join(body['generations'])}")
    findings(screen, body)


def findings(screen: Screen, body: Mapping[str, Any]) -> None:
    """What needs attention, a line each."""
    for item in body["pending"]:
        screen.say(f"[yellow]pending:[/] {item['revision']} {escape(item['title'])}")
    for item in body["held"]:
        screen.say(f"[yellow]held:[/] {item['revision']}, by {item['user']} at {item['at']}: {escape(item['reason'])}")
    for item in body["degraded"]:
        screen.say(f"[yellow]degraded:[/] {item['revision']}: {escape(printable(item['reason']))}")
    for item in body["drift"]:
        path = escape(printable(item["path"]))
        screen.say(f"[yellow]drift:[/] {path}: expected {item['expected']}, found {item['actual']}")
    if body["journal"]:
        screen.say(f"[yellow]a step was interrupted:[/] {escape(printable(body['journal']))} waits: vvmigrate recover")
    if body["required_missing"]:
        screen.say(f"[yellow]no value in .env for:[/] {', '.join(body['required_missing'])}")
