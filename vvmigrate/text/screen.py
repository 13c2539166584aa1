"""The screen: what happens while it happens, and the shapes that reports are shown in. Knows no command."""

from __future__ import annotations

import os
import textwrap
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

    def say(self, markup: str, *, error: bool = False) -> None:
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
        handler: Callable[..., None] | None = getattr(self, f"_on_{event}", self.warn if event == "warning" else None)
        if handler is not None:
            handler(**facts)

    def warn(self, text: str) -> None:
        """A warning, once."""
        if text not in self._warned:
            self._warned.add(text)
            self.say(f"[yellow]warning:[/] {escape(printable(text))}", error=True)

    def _on_recovered(self, text: str) -> None:
        self.say(f"[yellow]recovered:[/] {escape(printable(text))}")

    def _on_artefact(self, **entry: Any) -> None:
        self._meter.end()
        what = f"{entry['model']} {entry['version']} ({entry['variant']}), {amount(entry['size_bytes'])}"
        where = f" {printable(entry['path'])}" if entry.get("path") else ""
        self.say(f"{escape(printable(what))}: [green]{entry['state']}[/]{escape(where)}")

    def _on_step_started(self, revision: str, title: str, direction: str) -> None:
        arrow = {"up": "↑", "down": "↓"}.get(direction, "~") if self.out.encoding.lower().startswith("utf") else "-"
        self.say(f"[bold]{arrow} {escape(revision)}[/] {escape(title)}")

    def _on_step_ended(self, **step: Any) -> None:
        self._meter.end()
        self.changes(step["changes"])
        if self.verbose or not step["changes"]:
            for text in step["skipped"]:
                self.say(f"    [dim]skipped: {escape(printable(text))}[/]")
        for item in step["kept"]:
            self.say(f"    [yellow]kept:[/] {escape(printable(item['path']))}: {escape(printable(item['reason']))}")
        for text in step["warnings"]:
            self.warn(text)
        if step["degraded"]:
            self.say(f"    [yellow]degraded:[/] {escape(printable(step['degraded']))}")
        if step["result"]:
            style = STYLE.get(step["result"], "")
            self.say(f"    [{style}]{step['result']}[/] in {step['duration_s']:.2f} s")

    def _on_progress(self, phase: str, done: int, total: int) -> None:
        if not self.quiet:
            self._meter.show(phase, done, total)

    def changes(self, changes: Iterable[Mapping[str, Any]]) -> None:
        """A line a change; like changes of one folder share one."""

        def like(change: Mapping[str, Any]) -> tuple[Any, ...]:
            own = change["action"] == "sql" or change.get("diff")
            return (change["action"], change["detail"], own or os.path.dirname(change["path"]))

        for (action, detail, _), group in groupby(changes, key=like):
            members = list(group)
            paths = [printable(change["path"]) for change in members]
            where = ", ".join([paths[0], *map(os.path.basename, paths[1:])])
            said = "" if not detail or action == "sql" else f" [dim]({escape(printable(detail))})[/]"
            self.say(f"    {action} {escape(printable(detail) if action == 'sql' else where)}{said}")
            for change in members:
                self.diff(change.get("diff") or "")

    # ---- what came of it -----------------------------------------------------------------------------------------

    def end(self) -> None:
        """Nothing happens any more: take what moves away."""
        self._meter.end()

    def error(self, error: VvmigrateError) -> None:
        """What is wrong, then, apart, what to do."""
        self.say(f"[bold red]error:[/] {escape(printable(error.message))}", error=True)
        if error.hint:
            self.say(f"  {escape(printable(error.hint))}", error=True)

    def diff(self, diff: str) -> None:
        """A unified diff, coloured; what is too long for a terminal goes on below, indented."""
        for line in map(printable, diff.splitlines()):
            style = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1], "dim")
            rows = [line]
            if self.out.is_terminal and line.strip():
                rows = textwrap.wrap(
                    line, max(self.out.width - 6, 20), subsequent_indent="    ", break_on_hyphens=False
                )
            for row in rows:
                self.say(f"      [{style}]{escape(row)}[/]")

    def table(self, heads: list[str], rows: Iterable[list[str]], entries: Iterable[Mapping[str, Any]]) -> None:
        """A table of attempts: columns, and then what it was."""
        table = Table(box=None, pad_edge=False, header_style="dim")
        for head in heads:
            table.add_column(head, no_wrap=True)
        table.add_column("what", overflow="fold")
        for row, entry in zip(rows, entries, strict=True):
            what = escape(printable(entry["title"]))
            if entry["error"]:
                what += f"\n[red]{escape(printable(entry['error']))}[/]"
            table.add_row(*row, what)
        self.out.print(table, soft_wrap=not self.out.is_terminal)
