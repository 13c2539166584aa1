"""The screen: what happens while it happens, and the shapes that reports are shown in. Knows no command."""

from __future__ import annotations

import os
import re
import textwrap
import time
from collections.abc import Callable, Iterable, Mapping
from itertools import groupby
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.text import Text

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


HANG = "    "
"""Before what goes on below a line."""
_COMMAND = re.compile(r"(?:^|: )(?P<command>(?:vvmigrate|sudo|chown|chmod|rm|sqlite3|timedatectl|useradd|groupadd) .*)")
_PARTS = re.compile(r"""(?:(?<=\s)'(?:[^']|'"'"')*'|(?!; ).)+""")
"""What "; " divides, but for that in an argument as `shlex.quote` writes it."""


def printable(text: object) -> str:
    """Text that a terminal may be given: control characters and undecodable bytes are shown escaped."""
    shown = "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in str(text))
    return shown.encode("utf-8", "backslashreplace").decode("utf-8")


def _hang(console: Console, lead: Text, text: Text, indent: int) -> None:
    """Print a line; what is too long for a terminal goes on below it, so many columns to the right."""
    if not console.is_terminal or lead.cell_len + text.cell_len <= console.width:
        console.print(lead + text, soft_wrap=True)
        return
    first, *more = text.wrap(console, max(console.width - indent, 20))
    for line in (lead + first, *(Text(" " * indent) + rest for rest in more)):
        line.rstrip()
        console.print(line)


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
        self._within = ""
        self._meter = Meter(self.err, clock)

    def say(self, markup: str, *, error: bool = False) -> None:
        """Print a line; on a terminal what is too long for it goes on below, indented. Elsewhere a line is a line."""
        if self.quiet and not error:
            return
        console = self.err if error else self.out
        self._meter.clear()
        if not console.is_terminal:
            console.print(markup, soft_wrap=True)
            return
        for line in Text.from_markup(markup).split("\n", allow_blank=True):
            indent = len(line.plain) - len(line.plain.lstrip(" "))
            _hang(console, line[:indent], line[indent:], indent + len(HANG))

    def advise(self, text: str, *, style: str = "", error: bool = False) -> None:
        """What to do next. On a terminal each command stands on a line of its own, and is whole when it is copied."""
        console = self.err if error else self.out
        if not console.is_terminal:
            shown = escape(printable(text))
            self.say(f"  [{style}]{shown}[/]" if style else f"  {shown}", error=error)
            return
        if self.quiet and not error:
            return
        self._meter.clear()
        for part in map(str.strip, _PARTS.findall(printable(text))):
            found = _COMMAND.search(part)
            lead = part[: found.start("command")].rstrip() if found else part
            if lead:
                self.say(f"  {escape(lead)}", error=error)
            if found:
                indent = " " * (6 if lead else 2)
                console.print(Text(indent + found["command"], style), soft_wrap=True)

    # ---- while it happens ----------------------------------------------------------------------------------------

    def listen(self, event: str, **facts: Any) -> None:
        """Show an event of a run."""
        handler: Callable[..., None] | None = getattr(self, f"_on_{event}", self.warn if event == "warning" else None)
        if handler is not None:
            handler(**facts)

    def warn(self, text: str) -> None:
        """A warning, once; of a step among its lines."""
        if text not in self._warned:
            self._warned.add(text)
            self.say(f"{self._within}[yellow]warning:[/] {escape(printable(text))}", error=True)

    def _on_recovered(self, text: str) -> None:
        self.say(f"[yellow]recovered:[/] {escape(printable(text))}")

    def _on_artefact(self, **entry: Any) -> None:
        self._meter.end()
        what = f"{entry['model']} {entry['version']} ({entry['variant']}), {amount(entry['size_bytes'])}"
        where = f" {printable(entry['path'])}" if entry.get("path") else ""
        self.say(f"{escape(printable(what))}: [green]{entry['state']}[/]{escape(where)}")

    def _on_step_started(self, revision: str, title: str, direction: str) -> None:
        arrow = {"up": "↑", "down": "↓"}.get(direction, "~") if self.out.encoding.lower().startswith("utf") else "-"
        self._meter.end()
        self.say(f"[bold]{arrow} {escape(revision)}[/] {escape(title)}")
        self._within = "    "

    def _on_step_ended(self, **step: Any) -> None:
        self._meter.end()
        self.changes(step["changes"])
        if self.verbose or not step["changes"]:
            for text in step["skipped"]:
                self.say(f"    [dim]skipped: {escape(printable(text))}[/]")
        self.kept(step["kept"])
        for text in step["warnings"]:
            self.warn(text)
        if step["degraded"]:
            self.say(f"    [yellow]degraded:[/] {escape(printable(step['degraded']))}")
        if step["result"]:
            style = STYLE.get(step["result"], "")
            self.say(f"    [{style}]{step['result']}[/] in {step['duration_s']:.2f} s")
        self._within = ""

    def _on_progress(self, phase: str, done: int, total: int) -> None:
        if not self.quiet:
            self._meter.show(phase, done, total)

    def changes(self, changes: Iterable[Mapping[str, Any]]) -> None:
        """A line a change; like changes of one folder share one. What is taken over and changed is changed."""
        told = list(changes)
        changed = {change["path"] for change in told if change["action"] != "adopt"}
        shown = [change for change in told if change["action"] != "adopt" or change["path"] not in changed]

        def like(change: Mapping[str, Any]) -> tuple[Any, ...]:
            own = change["action"] == "sql" or change.get("diff")
            return (change["action"], change["detail"], own or os.path.dirname(change["path"]))

        for (action, detail, _), group in groupby(shown, key=like):
            members = list(group)
            paths = list(dict.fromkeys(printable(change["path"]) for change in members))
            where = ", ".join([paths[0], *map(os.path.basename, paths[1:])])
            said = "" if not detail or action == "sql" else f" [dim]({escape(printable(detail))})[/]"
            self.say(f"    {action} {escape(printable(detail) if action == 'sql' else where)}{said}")
            for change in members:
                self.diff(change.get("diff") or "")

    def kept(self, kept: Iterable[Mapping[str, Any]]) -> None:
        """What stays, and why: what several steps say alike, once."""
        for path, reason in dict.fromkeys((item["path"], item["reason"]) for item in kept):
            self.say(f"    [yellow]kept:[/] {escape(printable(path))}: {escape(printable(reason))}")

    # ---- what came of it -----------------------------------------------------------------------------------------

    def end(self) -> None:
        """Nothing happens any more: take what moves away."""
        self._meter.end()
        self._within = ""

    def error(self, error: VvmigrateError) -> None:
        """What is wrong, then, apart, what to do."""
        self.say(f"[bold red]error:[/] {escape(printable(error.message))}", error=True)
        if error.hint:
            self.advise(error.hint, error=True)

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

    def table(self, heads: list[str], rows: list[list[str]], notes: Iterable[str]) -> None:
        """Columns of words, the last as wide as the line allows; what there is to note of a row stands below it.

        Args:
            rows: cells in markup.
            notes: of each row, in markup; empty for nothing.
        """
        cells = [[Text.from_markup(cell) for cell in row] for row in rows]
        lines = [[Text(head, "dim") for head in heads], *cells]
        widths = [max(cell_len(line[column].plain) for line in lines) for column in range(len(heads) - 1)]
        for line, note in zip(lines, ["", *notes], strict=True):
            for cell, width in zip(line, widths, strict=False):
                cell.pad_right(width - cell.cell_len + 2)
            if not self.quiet:
                _hang(self.out, Text("").join(line[:-1]), line[-1], sum(widths) + 2 * len(widths))
            if note:
                self.say(f"    {note}")
