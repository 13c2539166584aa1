"""Reports as text for people: one line for what is one thing, a table for what is many, colour only where it shows."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from itertools import groupby
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from vvmigrate.errors import VvmigrateError
from vvmigrate.progress import Meter, amount
from vvmigrate.report import Report

STYLE = {
    "applied": "green",
    "adopted": "green",
    "reverted": "cyan",
    "repaired": "green",
    "degraded": "yellow",
    "superseded": "dim",
    "failed": "red",
    "interrupted": "red",
}


def printable(text: object) -> str:
    """Text that a terminal may be given: control characters and undecodable bytes are shown escaped."""
    shown = "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in str(text))
    return shown.encode("utf-8", "backslashreplace").decode("utf-8")


class _Console(Console):
    """A console that nobody has to listen to: a broken pipe or a full disk behind it does not stop the work."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Print, or fall silent for good."""
        try:
            super().print(*objects, **options)
        except OSError:
            self.quiet = True

    def on_broken_pipe(self) -> None:
        """Whoever listened has gone."""
        self.quiet = True


class Screen:
    """Where people see what happens, and what came of it.

    Args:
        colour: `auto`, `always` or `never`.
        quiet: only errors.
        verbose: effects and diffs too.
        to_stderr: everything goes to standard error (`--json` has standard output for itself).
        clock: seconds that only go forward.
    """

    def __init__(
        self,
        colour: str = "auto",
        *,
        quiet: bool = False,
        verbose: bool = False,
        to_stderr: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Look at the terminal."""
        forced = {"always": True, "never": False}.get(colour)
        options: dict[str, Any] = {"highlight": False}
        if forced is not None:
            options |= {"force_terminal": forced, "no_color": not forced}
        self.out = _Console(stderr=to_stderr, **options)
        self.err = _Console(stderr=True, **options)
        self.quiet, self.verbose = quiet, verbose
        self._warned: set[str] = set()
        self._meter = Meter(self.err, clock)

    def _say(self, markup: str, *, error: bool = False) -> None:
        """Print a line; on a terminal what is too long for it goes on below, indented. Elsewhere a line is a line."""
        if self.quiet and not error:
            return
        console = self.err if error else self.out
        indent = len(markup) - len(markup.lstrip(" "))
        if console.is_terminal and indent:
            console.print(Padding(markup.lstrip(" "), (0, 0, 0, indent)), soft_wrap=False)
        else:
            console.print(markup, soft_wrap=not console.is_terminal)

    # ---- while it happens ----------------------------------------------------------------------------------------

    def listen(self, event: str, **facts: Any) -> None:
        """Show an event of a run."""
        handler: Callable[..., None] | None = getattr(self, f"_on_{event}", None)
        if handler is not None:
            handler(**facts)

    def _on_warning(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            self._say(f"[yellow]warning:[/] {escape(printable(text))}", error=True)

    def _on_recovered(self, text: str) -> None:
        self._say(f"[yellow]recovered:[/] {escape(printable(text))}")

    def _on_artefact(self, **entry: Any) -> None:
        self._meter.end()
        what = f"{entry['model']} {entry['version']} ({entry['variant']}), {amount(entry['size_bytes'])}"
        where = f" {printable(entry['path'])}" if entry.get("path") else ""
        self._say(f"{escape(printable(what))}: [green]{entry['state']}[/]{escape(where)}")

    def _on_step_started(self, revision: str, title: str, direction: str) -> None:
        arrow = {"up": "↑", "down": "↓"}.get(direction, "~") if self.out.encoding.lower().startswith("utf") else "-"
        self._say(f"[bold]{arrow} {escape(revision)}[/] {escape(title)}")

    def _on_step_ended(self, **step: Any) -> None:
        self._meter.end()
        self._changes(step["changes"])
        if self.verbose or not step["changes"]:
            for text in step["skipped"]:
                self._say(f"    [dim]skipped: {escape(printable(text))}[/]")
        for item in step["kept"]:
            self._say(f"    [yellow]kept:[/] {escape(printable(item['path']))}: {escape(printable(item['reason']))}")
        for text in step["warnings"]:
            self._on_warning(text)
        if step["degraded"]:
            self._say(f"    [yellow]degraded:[/] {escape(printable(step['degraded']))}")
        if step["result"]:
            style = STYLE.get(step["result"], "")
            self._say(f"    [{style}]{step['result']}[/] in {step['duration_s']:.2f} s")

    def _on_progress(self, phase: str, done: int, total: int) -> None:
        if not self.quiet:
            self._meter.show(phase, done, total)

    def _changes(self, changes: Iterable[Mapping[str, Any]]) -> None:
        """A line a change; like changes of one folder share one."""

        def like(change: Mapping[str, Any]) -> tuple[Any, ...]:
            own = change["action"] == "sql" or change.get("diff")
            return (change["action"], change["detail"], own or os.path.dirname(change["path"]))

        for (action, detail, _), group in groupby(changes, key=like):
            members = list(group)
            paths = [printable(change["path"]) for change in members]
            where = ", ".join([paths[0], *map(os.path.basename, paths[1:])])
            said = "" if not detail or action == "sql" else f" [dim]({escape(printable(detail))})[/]"
            self._say(f"    {action} {escape(printable(detail) if action == 'sql' else where)}{said}")
            for change in members:
                self._diff(change.get("diff") or "")

    # ---- what came of it -----------------------------------------------------------------------------------------

    def show(self, report: Report) -> None:
        """Show a whole report."""
        self._meter.end()
        handler: Callable[[Mapping[str, Any]], None] | None = getattr(self, f"_show_{report.command}", None)
        if handler is not None and report.body and not self.quiet:
            handler({**report.body, "error": report.error})
        if report.error is not None:
            self._show_error(report.error)

    def _show_error(self, error: VvmigrateError) -> None:
        self._say(f"[bold red]error:[/] {escape(printable(error.message))}", error=True)
        if error.hint:
            self._say(f"  {escape(printable(error.hint))}", error=True)

    def _show_upgrade(self, body: Mapping[str, Any]) -> None:
        if not body["steps"] and body["error"] is None:
            self._say(f"nothing to do: at {body['to'] or 'base'}")
        if body["from"] != body["to"]:
            self._say(f"from {body['from'] or 'base'} to {body['to'] or 'base'}")
        if body["affects"]:
            self._say(f"changed: {', '.join(body['affects'])}; restart what uses them")
        for item in body["degraded"]:
            text = f"revision {item['revision']} is degraded: {item['reason']}; the next upgrade tries again"
            self._on_warning(text)
        if body["required_missing"]:
            names = body["required_missing"]
            self._say(f"[bold yellow]{', '.join(names)} has no value in .env.[/] The system needs it:")
            self._say(f"  vvmigrate upgrade head {' '.join(f'--set {name}=VALUE' for name in names)}")

    def _show_downgrade(self, body: Mapping[str, Any]) -> None:
        self._show_upgrade({**body, "required_missing": [], "degraded": []})
        if body["held"] and body["steps"]:
            self._say(
                f"held, so that it does not return by itself: {', '.join(item['revision'] for item in body['held'])}"
            )
            self._say("  to let it return: vvmigrate upgrade head --release-hold")

    def _show_recover(self, body: Mapping[str, Any]) -> None:
        for text in body["settled"] or ["nothing to recover"]:
            self._say(escape(printable(text)))

    def _show_fetch(self, body: Mapping[str, Any]) -> None:
        if not body["artefacts"] and body["error"] is None:
            self._say("nothing to fetch: an upgrade would download nothing")

    def _show_bundle(self, body: Mapping[str, Any]) -> None:
        if not body["artefacts"] and body["error"] is None:
            self._say("the release needs no model")
        if body["error"] is None:
            self._say(escape(printable(body["file"])))

    def _show_prune(self, body: Mapping[str, Any]) -> None:
        for item in body["pruned"]:
            path = escape(printable(item["path"]))
            self._say(f"{path}: {amount(item['size_bytes'])} [dim]({escape(item['reason'])})[/]")
        for item in body["kept"]:
            self._say(f"[yellow]kept:[/] {escape(printable(item['path']))}: {escape(item['reason'])}")
        does = "would be freed" if body["dry_run"] else "freed"
        self._say(f"{amount(body['freed_bytes'])} {does}" if body["pruned"] else "nothing to prune")

    def _show_plan(self, body: Mapping[str, Any]) -> None:
        if not body["steps"] and body["error"] is None:
            self._say(f"nothing to do: at {body['from'] or 'base'}")
        for step in body["steps"]:
            self._say(f"[bold]{escape(step['revision'])}[/] {escape(step['title'])}")
            self._changes(step["changes"])
            for item in step["downloads"]:
                self._say(f"    download {amount(item['size_bytes'])} from {escape(printable(item['url']))}")
            self._notes(step)
        if body["steps"]:
            disk = body["disk"]
            self._say(f"disk: {amount(disk['needed_bytes'])} needed, {amount(disk['free_bytes'])} free")
        for item in body["held"]:
            self._say(
                f"[yellow]held:[/] {item['revision']} was taken back by {item['user']} ({escape(item['reason'])})"
            )

    def _notes(self, step: Mapping[str, Any]) -> None:
        if self.verbose:
            for text in step["skipped"]:
                self._say(f"    [dim]skipped: {escape(printable(text))}[/]")
        for item in step["kept"]:
            self._say(f"    [yellow]kept:[/] {escape(printable(item['path']))}: {escape(printable(item['reason']))}")
        for text in step["warnings"]:
            self._say(f"    [yellow]warning:[/] {escape(printable(text))}")
        if step["degraded"]:
            self._say(f"    [yellow]degraded:[/] {escape(printable(step['degraded']))}")
        if step["required_missing"]:
            self._say(f"    [yellow]no value for:[/] {', '.join(step['required_missing'])}")

    def _diff(self, diff: str) -> None:
        for line in diff.splitlines():
            style = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1], "dim")
            self._say(f"      [{style}]{escape(printable(line))}[/]")

    def _show_history(self, body: Mapping[str, Any]) -> None:
        for text in body.get("problems", []):
            self._say(f"[red]{escape(printable(text))}[/]")
        if not body["entries"]:
            self._say("no history: nothing was done on this host yet")
            return
        rows = []
        for entry in body["entries"]:
            took = "" if entry["duration_s"] is None else f"{entry['duration_s']:.1f} s"
            style = STYLE.get(entry["result"], "")
            when = entry["finished_at"].replace("T", " ")[:19]
            rows.append(
                [when, entry["revision"], entry["direction"], f"[{style}]{entry['result']}[/]", took, entry["user"]]
            )
        self._table(["when (UTC)", "revision", "way", "result", "took", "who"], rows, body["entries"])

    def _table(self, heads: list[str], rows: Iterable[list[str]], entries: Iterable[Mapping[str, Any]]) -> None:
        table = Table(box=None, pad_edge=False, header_style="dim")
        for head in heads:
            table.add_column(head, no_wrap=True)
        table.add_column("what", overflow="fold")
        for row, entry in zip(rows, entries, strict=True):
            what = escape(printable(entry["title"]))
            if entry["error"]:
                what += f"\n[red]{escape(printable(entry['error']))}[/]"
            for effect in entry.get("effects", []):
                what += f"\n[dim]{effect['action']} {escape(printable(effect['path']))}[/]"
            table.add_row(*row, what)
        self.out.print(table, soft_wrap=not self.out.is_terminal)

    def _show_current(self, body: Mapping[str, Any]) -> None:
        head = " (head)" if body["is_head"] else ""
        self._say(f"{body['revision'] or 'base'}{head} {escape(body['title'] or '')}".rstrip())

    def _show_heads(self, body: Mapping[str, Any]) -> None:
        for head in body["heads"]:
            self._say(f"{head['revision']} (head) {escape(head['title'] or '')}")

    def _show_show(self, body: Mapping[str, Any]) -> None:
        self._say(f"[bold]{escape(body['revision'])}[/] {escape(body['title'] or '')}")
        self._say(
            f"  follows {body['follows'] or 'nothing'}; {'applied' if body['applied'] else 'not applied'} on this host"
        )
        self._say(f"  {escape(printable(body['path']))}\n  SHA-256 {body['sha256']}\n")
        self._say(escape(printable(body["source"])))

    def _show_status(self, body: Mapping[str, Any]) -> None:
        place = " (head)" if body["revision"] == body["head"] else f" of {body['head']}"
        self._say(f"revision      {body['revision'] or 'base'}{place}")
        self._say(f"home          {escape(printable(body['home']))}")
        self._say(f"storage root  {escape(printable(body['storage_root']))}")
        self._say(f"state         {body['state_digest']}")
        if run := body["last_run"]:
            code = "it was killed" if run["exit_code"] is None else f"exit {run['exit_code']}"
            self._say(
                f"last run      {run['command']} by {run['user']}, {run['finished_at'][:19].replace('T', ' ')}, {code}"
            )
        if failure := body["last_failure"]:
            self._say(f"last failure  {failure['revision']}: {escape(printable(failure['error']))}")
        if body["generations"]:
            self._say(f"models        {', '.join(body['generations'])}")
        self._findings(body)

    def _findings(self, body: Mapping[str, Any]) -> None:
        for item in body["pending"]:
            self._say(f"[yellow]pending:[/] {item['revision']} {escape(item['title'])}")
        for item in body["held"]:
            self._say(
                f"[yellow]held:[/] {item['revision']}, by {item['user']} at {item['at']}: {escape(item['reason'])}"
            )
        for item in body["degraded"]:
            self._say(f"[yellow]degraded:[/] {item['revision']}: {escape(printable(item['reason']))}")
        for item in body["drift"]:
            path = escape(printable(item["path"]))
            self._say(f"[yellow]drift:[/] {path}: expected {item['expected']}, found {item['actual']}")
        if body["journal"]:
            self._say(
                f"[yellow]a step was interrupted:[/] {escape(printable(body['journal']))} waits: vvmigrate recover"
            )
        if body["required_missing"]:
            self._say(f"[yellow]no value in .env for:[/] {', '.join(body['required_missing'])}")
