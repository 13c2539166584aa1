"""Tables and indexes that a database of an older system has already: taken over if they are what the revision makes.

They are compared by what SQLite says of both, the one on the host and one made from the revision's words in memory.
`describe` says the same of a whole schema, so that a way back can be seen to be exact.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from vvmigrate.errors import StateError

Run = Callable[..., list[tuple[Any, ...]]]
"""Runs a statement with its arguments, and returns the rows."""

_BEYOND_PRAGMAS = re.compile(r"\b(check|collate|generated|where|strict|without)\b", re.IGNORECASE)
_BEYOND_SHAPE = re.compile(_BEYOND_PRAGMAS.pattern + r"|\bautoincrement\b", re.IGNORECASE)


@dataclass(frozen=True)
class Described:
    """A table, index, view or trigger.

    Attributes:
        sql: the statement that makes it, in one line.
        facts: what two of them have in common that are the same but for the order of columns.
    """

    sql: str = field(compare=False)
    facts: tuple[Any, ...]


Schema = dict[tuple[str, str], Described]
"""What a schema holds, by kind and name."""


def quoted(name: str) -> str:
    """An SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def statement_of(run: Run, kind: str, name: str) -> str:
    """The statement that made a table or index; empty where there is none."""
    rows = run("SELECT sql FROM sqlite_master WHERE type = ? AND name = ?", kind, name)
    return str(rows[0][0] or "") if rows else ""


def check_table(run: Run, name: str, wanted: str) -> None:
    """See that the table that stands there is the one that a statement would make.

    Raises:
        StateError: it is another one.
    """
    found = statement_of(run, "table", name)
    with closing(sqlite3.connect(":memory:")) as scratch:
        scratch.execute(wanted)
        if found and (_same_text(found, wanted) or _same(run, _runner(scratch), name, found, wanted)):
            return
    raise _differs("table", name, wanted, found)


def check_index(run: Run, table: str, name: str, wanted: str) -> None:
    """See that the index that stands there is the one that a statement would make.

    Raises:
        StateError: it is another one.
    """
    found = statement_of(run, "index", name)
    if not found or not _same_text(found, wanted):
        raise _differs("index", f"{name} on {table}", wanted, found)


def check_schema(run: Run, wanted: Schema, gone: Iterable[tuple[str, str]]) -> None:
    """See that a database holds what a schema holds, whatever else it has.

    Args:
        gone: (kind, name) of what must not be there.

    Raises:
        StateError: something is missing, is another, or is there still.
    """
    for (kind, name), described in wanted.items():
        sql = described.sql
        found = statement_of(run, kind, name)
        if not found:
            raise StateError(f"{kind} {name} is missing")
        if kind == "table":
            check_table(run, name, sql)
        elif not _same_text(found, sql):
            raise _differs(kind, name, sql, found)
    for kind, name in gone:
        if statement_of(run, kind, name):
            raise StateError(f"{kind} {name} is there still")


def _same(one: Run, other: Run, name: str, found: str, wanted: str) -> bool:
    """Whether columns, keys and constraints agree; what pragmas do not tell must not be in the words of either."""
    if _BEYOND_PRAGMAS.search(found + wanted):
        return False
    return _shape(one, name) == _shape(other, name)


def _shape(run: Run, name: str) -> tuple[Any, ...]:
    columns = run(f"PRAGMA table_xinfo({quoted(name)})")
    parents = sorted(row[2:] for row in run(f"PRAGMA foreign_key_list({quoted(name)})"))
    unique = sorted(
        tuple(row[2] for row in run(f"PRAGMA index_info({quoted(index)})"))
        for _, index, _, origin, _ in run(f"PRAGMA index_list({quoted(name)})")
        if origin == "u"
    )
    return [(row[1], row[2].upper(), *row[3:]) for row in columns], parents, unique


def describe(run: Run, without: Callable[[str], bool]) -> Schema:
    """Everything in a schema, by kind and name.

    Args:
        without: names of tables that do not count.
    """
    rows = run("SELECT type, name, tbl_name, sql FROM sqlite_master WHERE sql IS NOT NULL")
    found = {}
    for kind, name, table, sql in rows:
        if not without(table) and not name.startswith("sqlite_"):
            facts = _unordered(run, name, sql) if kind == "table" else (_plain(sql),)
            found[kind, name] = Described(" ".join(sql.split()), facts)
    return found


def _unordered(run: Run, name: str, sql: str) -> tuple[Any, ...]:
    """A table's shape, and the words of what pragmas do not tell."""
    columns, parents, unique = _shape(run, name)
    body, _, options = sql.partition("(")[2].rpartition(")")
    beyond = sorted(_plain(part) for part in _parts(body) if _BEYOND_SHAPE.search(part))
    return sorted(columns, key=repr), parents, unique, beyond, _plain(options)


def _parts(body: str) -> list[str]:
    """What the commas of the outermost level separate."""
    parts, depth = [""], 0
    for letter in body:
        depth += (letter == "(") - (letter == ")")
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def _same_text(one: str, other: str) -> bool:
    return _plain(one) == _plain(other)


def _plain(sql: str) -> str:
    return re.sub(r"\s+", "", sql.replace('"', "")).lower()


def _runner(connection: sqlite3.Connection) -> Run:
    return lambda statement, *arguments: connection.execute(statement, arguments).fetchall()


def _differs(kind: str, name: str, wanted: str, found: str) -> StateError:
    return StateError(
        f"{kind} {name} is there already, and not as this revision makes it: expected "
        f"{' '.join(wanted.split())}, found {' '.join(found.split()) or 'something else of this name'}",
        hint="compare the two, and change or rename the one that is there; vvmigrate adopt says what else differs",
    )
