"""What a revision is going to drop from the database, and how many rows are kept of it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass

from vvmigrate.engine.acts import Act
from vvmigrate.engine.existing import quoted


@dataclass(frozen=True)
class Dropped:
    """A table, or a column of one, that goes.

    Attributes:
        column: empty where the whole table goes.
        rows: how many rows it has; of a column, how many have a value in it.
    """

    table: str
    column: str
    rows: int

    @property
    def name(self) -> str:
        """Of the table or column, for people."""
        return f"{self.table}.{self.column}" if self.column else self.table

    @property
    def reason(self) -> str:
        """Why its rows are not lost, for people."""
        if self.column:
            return f"{self.rows} values: kept with their keys; they come back with the column"
        return f"{self.rows} rows: the table is renamed and kept; they come back with it"


def look(connection: sqlite3.Connection, acts: Iterable[Act]) -> list[Dropped]:
    """Count what is in the database now, in what a revision drops; what is empty, or not there yet, is left out.

    Args:
        acts: what the revision did when it was rehearsed.
    """
    wanted: dict[tuple[str, str], None] = {}
    for kind, *facts in acts:
        if kind == "drop_table":
            wanted[facts[0], ""] = None
        elif kind in ("drop_column", "keep_column"):
            wanted[facts[0], facts[1]] = None
    found = (Dropped(table, column, _count(connection, table, column)) for table, column in wanted)
    return [dropped for dropped in found if dropped.rows]


def _count(connection: sqlite3.Connection, table: str, column: str) -> int:
    names = [row[1] for row in connection.execute(f"PRAGMA table_info({quoted(table)})")]
    if not names or (column and column not in names):
        return 0
    what = quoted(column) if column else "*"
    counted = connection.execute(f"SELECT count({what}) FROM {quoted(table)}")  # noqa: S608 - names of the schema's own
    return int(counted.fetchone()[0])
