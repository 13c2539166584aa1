"""What revisions are going to drop from the database, and how many rows are kept of it.

Acts of earlier steps count too: what they rename, bring back or copy is followed to where its rows stand today.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, field

from vvmigrate.engine.acts import Act
from vvmigrate.engine.existing import quoted
from vvmigrate.engine.statements import NAME, one_line, plain


@dataclass(frozen=True)
class Dropped:
    """A table, or a column of one, that goes.

    Attributes:
        column: empty where the whole table goes.
        rows: how many rows it has; of a column, how many have a value in it; None where that cannot be told.
    """

    table: str
    column: str
    rows: int | None

    @property
    def name(self) -> str:
        """Of the table or column, for people."""
        return f"{self.table}.{self.column}" if self.column else self.table

    @property
    def reason(self) -> str:
        """Why its rows are not lost, for people."""
        count = "its" if self.rows is None else self.rows
        if self.column:
            return f"{count} values: kept with their keys; they come back with the column"
        return f"{count} rows: the table is renamed and kept; they come back with it"


_Values = tuple[str, str] | None
"""Table and column where values stand today; an empty table for none, None where it cannot be told."""


@dataclass
class _Origin:
    """Where the rows of a table stand today.

    Attributes:
        table: empty for none, None where it cannot be told.
        columns: where the values of columns stand that are not called there as they will be.
        written: its values will be others, its rows the same.
    """

    table: str | None
    columns: dict[str, _Values] = field(default_factory=dict)
    written: bool = False

    def values(self, column: str) -> _Values:
        """Where a column's values stand."""
        if self.table == "":
            return "", column
        if self.table is None or self.written:
            return None
        return self.columns.get(column, (self.table, column))


_INSERT = r"(?:INSERT|REPLACE)(?: OR \w+)? INTO "
_COPIES = re.compile(rf"{_INSERT}{NAME}(?: ?\(([^()]*)\))? SELECT (.*) FROM {NAME}", re.IGNORECASE)  # noqa: S608 - a pattern
_MAKES = re.compile(rf"CREATE (?:VIRTUAL )?TABLE (?:IF NOT EXISTS )?{NAME} ?(\(|USING|AS)?.*", re.IGNORECASE)
_COLUMN = re.compile(rf"(?:{NAME}\.)?{NAME}")
_ONE_FOR_ONE = re.compile(rf"\*|{_COLUMN.pattern}|CAST\([^(),]*\)(?: AS {NAME})?", re.IGNORECASE)
_RENAMES = re.compile(rf"ALTER TABLE {NAME} RENAME TO {NAME}", re.IGNORECASE)
_RENAMES_COLUMN = re.compile(rf"ALTER TABLE {NAME} RENAME (?:COLUMN )?{NAME} TO {NAME}", re.IGNORECASE)
_DROPS = re.compile(rf"DROP TABLE (?:IF EXISTS )?{NAME}", re.IGNORECASE)
_ADDS_OR_DELETES = re.compile(rf"(?:{_INSERT}|DELETE FROM ){NAME}.*", re.IGNORECASE)  # noqa: S608 - a pattern
_UPDATES = re.compile(rf"UPDATE (?:OR \w+ )?{NAME}.*", re.IGNORECASE)


class Counts:
    """What is in a database now, followed through the acts of step after step.

    Args:
        connection: the database; None where there is none.
    """

    def __init__(self, connection: sqlite3.Connection | None) -> None:
        """Before the first step everything stands where it is called."""
        self._connection = connection
        self._tables: dict[str, _Origin] = {}
        self._kept: dict[tuple[str, str], _Origin] = {}

    def dropped(self, acts: Iterable[Act]) -> list[Dropped]:
        """Go on through a step: what it drops that has rows, or may have.

        Args:
            acts: what the revision did when it was rehearsed.
        """
        found: dict[tuple[str, str], int | None] = {}
        for kind, *facts in acts if self._connection is not None else ():
            if kind == "drop_table":
                found[facts[0], ""] = self._count(self._keep(facts[0]).table, "*")
            elif kind in ("drop_column", "keep_column"):
                found[facts[0], facts[1]] = self._count_values(self._of(facts[0]).values(facts[1]))
                self._kept[facts[0], facts[1]] = _Origin(facts[0], {facts[1]: self._of(facts[0]).values(facts[1])})
            elif kind == "create_table" and self._of(facts[0]).table == "":
                self._tables[facts[0]] = self._return(facts[0], "")
            elif kind == "return_column":
                self._of(facts[0]).columns[facts[1]] = self._return(facts[0], facts[1]).values(facts[1])
            elif kind == "sql":
                self._follow(one_line(facts[0]))
        return [Dropped(table, column, rows) for (table, column), rows in found.items() if rows != 0]

    def _follow(self, statement: str) -> None:
        if match := _RENAMES.fullmatch(statement):
            old, new = map(plain, match.groups())
            self._tables[new], self._tables[old] = self._of(old), _Origin("")
        elif match := _RENAMES_COLUMN.fullmatch(statement):
            table, old, new = map(plain, match.groups())
            self._of(table).columns[new] = self._of(table).values(old)
        elif match := _MAKES.fullmatch(statement):
            if self._of(plain(match[1])).table == "":
                filled = (match[2] or "").upper() == "AS"
                self._tables[plain(match[1])] = _Origin(None) if filled else self._return(plain(match[1]), "")
        elif match := _DROPS.fullmatch(statement):
            self._tables[plain(match[1])] = _Origin("")
        elif (match := _COPIES.fullmatch(statement)) and self._of(plain(match[1])).table == "":
            self._tables[plain(match[1])] = self._copied(plain(match[4]), match[2] or "", match[3])
        elif match := _ADDS_OR_DELETES.fullmatch(statement):
            self._tables[plain(match[1])] = _Origin(None)
        elif match := _UPDATES.fullmatch(statement):
            self._of(plain(match[1])).written = True

    def _copied(self, source: str, names: str, expressions: str) -> _Origin:
        """The rows of one table in another one, as batch mode rebuilds it."""
        origin, words = self._of(source), expressions.split(", ")
        if not all(map(_ONE_FOR_ONE.fullmatch, words)):
            return _Origin(None)
        columns: dict[str, _Values] = {}
        for name, word in zip(filter(None, names.split(", ")), words, strict=False):
            column = _COLUMN.fullmatch(word)
            columns[plain(name)] = origin.values(plain(column[2])) if column else None
        return _Origin(origin.table, columns, origin.written)

    def _keep(self, table: str) -> _Origin:
        """Take a table away; its rows come back with one of its name."""
        origin = self._kept[table, ""] = self._of(table)
        self._tables[table] = _Origin("")
        return origin

    def _return(self, table: str, column: str) -> _Origin:
        """What was kept of a table or column, in this run or earlier; nothing where it was not."""
        if (table, column) in self._kept:
            return self._kept.pop((table, column))
        rows = self._rows("SELECT 1 FROM sqlite_master WHERE name = 'vv_kept'") and self._rows(
            "SELECT kept FROM vv_kept JOIN sqlite_master ON name = kept WHERE table_name = ? AND column_name = ? "
            "ORDER BY vv_kept.rowid DESC",
            table,
            column,
        )
        kept = str(rows[0][0]) if rows else ""
        return _Origin(kept, {column: (kept, "value")} if column else {})

    def _of(self, table: str) -> _Origin:
        if table not in self._tables:
            self._tables[table] = _Origin(table if self._columns(table) else "")
        return self._tables[table]

    def _count_values(self, values: _Values) -> int | None:
        if values is None:
            return None
        table, column = values
        return self._count(table, quoted(column)) if column in self._columns(table) else 0

    def _count(self, table: str | None, what: str) -> int | None:
        if not table:
            return 0 if table == "" else None
        return int(self._rows(f"SELECT count({what}) FROM {quoted(table)}")[0][0])  # noqa: S608 - the schema's own names

    def _columns(self, table: str) -> list[str]:
        return [row[1] for row in self._rows(f"PRAGMA table_info({quoted(table)})")]

    def _rows(self, statement: str, *arguments: str) -> list[tuple[str, ...]]:
        return self._connection.execute(statement, arguments).fetchall() if self._connection is not None else []
