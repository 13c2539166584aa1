"""Reading the rows of our tables. What they mean, and whether they are genuine, the ledger knows."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Any

from vvmigrate import schema
from vvmigrate.errors import StateError


@dataclass(frozen=True)
class Head:
    """The end of the chain: sequence number and hash of its last row."""

    seq: int = 0
    hash: str = ""


class Rows:
    """Our tables in the orchestrator's database, over an open connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Take over a connection of `database.connect`."""
        self.connection = connection

    def installed(self) -> bool:
        """Whether the database has our tables at all."""
        found = self.connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'vv_ledger'")
        return bool(found.fetchone()[0])

    def ledger_id(self) -> str:
        """The id that ties database, home and storage root together.

        Raises:
            StateError: no id, several, or a format that is newer than this tool.
        """
        rows = self.connection.execute("SELECT ledger_id, format FROM vv_ledger").fetchall()
        if len(rows) != 1:
            raise StateError(f"the database holds {len(rows)} ledger ids, expected 1")
        if rows[0][1] > schema.FORMAT:
            raise StateError(
                f"the ledger has format {rows[0][1]}, this vvmigrate knows {schema.FORMAT}: use a newer one"
            )
        return str(rows[0][0])

    def version(self) -> str:
        """The revision that the database is at; empty at base.

        Raises:
            StateError: several version rows.
        """
        rows = self.connection.execute(f"SELECT version_num FROM {schema.VERSION_TABLE}").fetchall()
        if len(rows) > 1:
            raise StateError(f"the database holds {len(rows)} version rows, expected one: {sorted(r[0] for r in rows)}")
        return str(rows[0][0]) if rows else ""

    def head(self) -> Head:
        """The end of the chain."""
        return max((self._last(table) for table in schema.LINKS), key=lambda head: head.seq)

    def _last(self, table: str) -> Head:
        row = self.connection.execute(f"SELECT seq, hash FROM {table} ORDER BY seq DESC LIMIT 1").fetchone()
        return Head(*row) if row else Head()

    def reaches(self, head: Head) -> bool:
        """Whether the chain once ended with this row, or still does."""
        links = (row for table in schema.LINKS for row in self.rows(table, "seq = ?", (head.seq,)))
        return head.seq == 0 or any(row["hash"] == head.hash for row in links)

    def rows(self, table: str, where: str = "1", arguments: tuple[Any, ...] = ()) -> list[dict[str, Any]]:
        """Rows of one of our tables, oldest first, as dictionaries."""
        cursor = self.connection.execute(f"SELECT * FROM {table} WHERE {where} ORDER BY rowid", arguments)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor]

    def newest(
        self, table: str, where: str = "1", arguments: tuple[Any, ...] = (), limit: int = 0
    ) -> list[dict[str, Any]]:
        """Rows of one of our tables, newest first; at most so many, 0 for all."""
        picked = f"seq IN (SELECT seq FROM {table} WHERE {where} ORDER BY seq DESC LIMIT ?)"
        return self.rows(table, picked, (*arguments, limit or -1))[::-1]

    def count(self, table: str, where: str = "1", arguments: tuple[Any, ...] = ()) -> int:
        """How many rows there are."""
        found = self.connection.execute(f"SELECT count(*) FROM {table} WHERE {where}", arguments)
        return int(found.fetchone()[0])

    def step(self, step_id: str) -> dict[str, Any] | None:
        """The row of one attempt, if it has one."""
        rows = self.rows("vv_step", "step_id = ?", (step_id,))
        return rows[0] if rows else None
