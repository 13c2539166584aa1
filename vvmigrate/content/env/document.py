"""A `.env` file as a document that keeps every byte.

The text is UTF-8 with surrogate escapes: bytes that are not UTF-8 survive. A document is immutable; every change is
one pass over its lines and returns another document.
"""

from __future__ import annotations

import dataclasses
import re
from functools import cached_property
from typing import TYPE_CHECKING

from vvmigrate.content.env.lines import BINDING, INVALID, LINE_END, Line, read_lines
from vvmigrate.content.env.readers import NAME, read_compose, read_systemd
from vvmigrate.errors import EnvFileError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_BOM = "\ufeff"
_SIMPLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=(?:[A-Za-z0-9_./:@%+,=-]*|'[^'\\$\r]*')(?:\r?\n)?")


@dataclasses.dataclass(frozen=True, slots=True)
class Binding:
    """A key with its value, as python-dotenv reads it, without interpolation.

    Attributes:
        key: the name.
        value: None for a key without `=`.
        line: number of the line on which it starts, from 1.
        exported: whether `export` stands before it.
        text: the whole assignment as it stands in the file.
        comment: whether a comment follows on the same line.
    """

    key: str
    value: str | None
    line: int
    exported: bool
    text: str
    comment: bool


@dataclasses.dataclass(frozen=True)
class Document:
    """A `.env` file: its lines in order, and whether a byte order mark stands before them."""

    lines: tuple[Line, ...]
    bom: str = ""
    name: str = ".env"

    @classmethod
    def parse(cls, data: bytes, *, name: str) -> Document:
        """Read a file's bytes; `name` is for messages only.

        Raises:
            EnvFileError: a NUL byte, or a quote that is opened and not closed.
        """
        if (position := data.find(b"\0")) >= 0:
            line = data.count(b"\n", 0, position) + 1
            raise EnvFileError(f"{name}, line {line}: a NUL byte", hint="is this a text file?", path=name)
        text = data.decode("utf-8", "surrogateescape")
        content = text.lstrip(_BOM)
        return cls(tuple(read_lines(content, name=name)), text[: len(text) - len(content)], name)

    def to_bytes(self) -> bytes:
        """Return the file's bytes; for an unchanged document those that were parsed."""
        return (self.bom + "".join(line.text for line in self.lines)).encode("utf-8", "surrogateescape")

    @cached_property
    def bindings(self) -> tuple[Binding, ...]:
        """Every assignment, in order, duplicates included."""
        found, number = [], 1
        for line in self.lines:
            if line.kind == BINDING and line.key is not None:
                head, tail = line.text[: line.key_span[0]], line.text[line.token[1] :]
                found.append(Binding(line.key, line.value, number, "export" in head, line.text, "#" in tail))
            number += len(LINE_END.findall(line.text))
        return tuple(found)

    @cached_property
    def positions(self) -> dict[str, list[int]]:
        """For each key the indexes of its lines."""
        found: dict[str, list[int]] = {}
        for index, line in enumerate(self.lines):
            if line.kind == BINDING and line.key is not None:
                found.setdefault(line.key, []).append(index)
        return found

    @cached_property
    def broken(self) -> dict[str, int]:
        """The names that invalid lines seem to bind, with the indexes of those lines."""
        return {line.key: at for at, line in enumerate(self.lines) if line.kind == INVALID and line.key is not None}

    @cached_property
    def newline(self) -> str:
        """The file's line end: the first one in it, else a line feed."""
        ends = (LINE_END.search(line.text) for line in self.lines)
        return next((end[0] for end in ends if end is not None), "\n")

    def keys(self) -> tuple[str, ...]:
        """Every key once, in the order of first appearance."""
        return tuple(self.positions)

    def get(self, key: str) -> str | None:
        """Return the key's value, the last one where there are several; None when it has none."""
        return self.lines[self.positions[key][-1]].value if key in self.positions else None

    def values_of(self, key: str) -> tuple[str | None, ...]:
        """Return the values of all the key's assignments, in order."""
        return tuple(self.lines[index].value for index in self.positions.get(key, ()))

    def duplicates(self) -> dict[str, tuple[int, ...]]:
        """Return each key that is bound more than once, with its line numbers."""
        numbers: dict[str, list[int]] = {}
        for binding in self.bindings:
            numbers.setdefault(binding.key, []).append(binding.line)
        return {key: tuple(lines) for key, lines in numbers.items() if len(lines) > 1}

    def with_value(self, key: str, value: str) -> Document:
        """Return the document with another value in the key's last assignment; KeyError when it has none."""
        return self.with_values({key: value})

    def with_values(self, values: Mapping[str, str]) -> Document:
        """Return the document with other values, each in the last assignment of its key."""
        lines = list(self.lines)
        for key, value in values.items():
            index = self.positions[key][-1]
            lines[index] = lines[index].with_value(value, name=self.name)
        return self.with_lines(lines)

    def without(self, *keys: str) -> Document:
        """Return the document without the assignments of these keys; comments stay."""
        gone = {index for key in keys for index in self.positions.get(key, ())}
        return self.with_lines([line for index, line in enumerate(self.lines) if index not in gone])

    def commented(self, *keys: str) -> Document:
        """Return the document with the assignments of these keys as comments."""
        lines: list[Line] = []
        for line in self.lines:
            lines.extend(line.commented() if line.kind == BINDING and line.key in keys else (line,))
        return self.with_lines(lines)

    def renamed(self, names: Mapping[str, str]) -> Document:
        """Return the document with keys renamed, old to new, where they stand."""
        lines = list(self.lines)
        for old, new in names.items():
            for index in self.positions.get(old, ()):
                lines[index] = lines[index].renamed(new)
        return self.with_lines(lines)

    def inserted(self, groups: Mapping[int, Sequence[Line]]) -> Document:
        """Return the document with groups of lines before the lines of these indexes (their number: at the end)."""
        lines: list[Line] = []
        for index, line in enumerate(self.lines):
            lines.extend(groups.get(index, ()))
            lines.append(line)
        if (tail := groups.get(len(self.lines))) and lines and not lines[-1].text.endswith(("\n", "\r")):
            lines[-1] = dataclasses.replace(lines[-1], text=lines[-1].text + self.newline)
        return self.with_lines([*lines, *(tail or ())])

    def with_name(self, name: str) -> Document:
        """Return the same document under another name."""
        return dataclasses.replace(self, name=name)

    def with_lines(self, lines: Iterable[Line]) -> Document:
        """Return a document of these lines, with the same byte order mark and name."""
        return Document(tuple(lines), self.bom, self.name)


def readers_differ(binding: Binding) -> str | None:
    """Say why python-dotenv, Docker Compose and systemd read this assignment differently; None when they agree.

    The text names programs and reasons, never the value.
    """
    if _SIMPLE.fullmatch(binding.text):
        return None
    expected = (binding.key, binding.value)
    who = [
        program
        for program, read in (("Docker Compose", read_compose), ("systemd", read_systemd))
        if read(binding.text) != expected
    ]
    reasons = (
        (binding.value is not None and "${" in binding.value, "not all of them expand ${...}"),
        (binding.value is None, "it has no ="),
        (NAME.fullmatch(binding.key) is None, "not all of them accept such a name"),
        (binding.exported, "systemd ignores lines with export"),
        (binding.comment, "systemd takes a comment behind a value as part of it"),
        ("$" in binding.text, "Docker Compose expands $"),
        (bool(who), "quotes, backslashes or #"),
    )
    reason = next((reason for holds, reason in reasons[:1] if holds), None) or (
        next(reason for holds, reason in reasons if holds) if who else None
    )
    if reason is None:
        return None
    return f"read differently by python-dotenv and {' and '.join(who) or 'Docker Compose and systemd'}: {reason}"
