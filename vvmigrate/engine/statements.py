"""SQL by which a revision changed something, as a plan and as the history tell it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

MOST_LINES, LONGEST_LINE = 100, 500
"""Of what the history keeps of a step's SQL: lines, and characters of one."""

_QUOTED = r"'[^']*'|\"[^\"]*\"|`[^`]*`|\[[^]]*\]"  # of two that touch, as in 'it''s', each is one
_COMMENTS = re.compile(rf"({_QUOTED})|--[^\n]*|/\*.*?(?:\*/|\Z)", re.DOTALL)
_WORDS = re.compile(rf"{_QUOTED}|\w+|[()]")
_BODIES = frozenset({"AS", "WHERE", "WHEN", "BEGIN"})
"""Words behind which a definition holds expressions or statements of its own."""


NAME = r'("(?:[^"]|"")+"|\w+)'
_ADDS_COLUMN = re.compile(rf"ALTER TABLE (?:main\.)?{NAME} ADD (?:COLUMN )?{NAME}.*", re.IGNORECASE)


@dataclass(frozen=True)
class Statement:
    """A statement that changed the schema, or rows.

    Attributes:
        text: on one line, without comments.
        of_rows: what it did to rows, as in `UPDATE cameras`; empty where it changed the schema.
    """

    text: str
    of_rows: str = ""

    @property
    def without_values(self) -> str:
        """What it did, without values of rows. Defaults and conditions of columns are the schema's, and stay."""
        if self.of_rows:
            return f"{self.of_rows} ..."
        depth = 0
        for word in _WORDS.finditer(self.text):
            depth += {"(": 1, ")": -1}.get(word[0], 0)
            if not depth and word[0].upper() in _BODIES:
                return f"{self.text[: word.start()]}..."
        return self.text


def one_line(sql: str) -> str:
    """A statement on one line, without comments."""
    return " ".join(_COMMENTS.sub(lambda found: found[1] or " ", sql).split())


def plain(name: str) -> str:
    """A name without its quotes."""
    return name[1:-1].replace('""', '"') if name.startswith('"') else name


def added_column(sql: str) -> tuple[str, str] | None:
    """Table and column, where a statement adds one."""
    found = _ADDS_COLUMN.fullmatch(one_line(sql))
    return (plain(found[1]), plain(found[2])) if found else None


def for_history(statements: Iterable[Statement]) -> list[str]:
    """A step's SQL as the history keeps it, which more people may read than a plan: no values, nothing endless."""
    found = dict.fromkeys(statement.without_values for statement in statements)
    lines = [line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]}..." for line in found]
    return lines if len(lines) <= MOST_LINES else [*lines[:MOST_LINES], f"and {len(lines) - MOST_LINES} more"]
