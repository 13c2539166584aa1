"""Reading the rows of our tables. What they mean, and whether they are genuine, the ledger knows.

Their owner may write into any column what is not of its kind, and text that is not UTF-8 (sqlite.org/datatype3.html):
such rows can be read, so that it can be told of them, and be left behind.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

from vvmigrate import schema
from vvmigrate.errors import StateError

UNDECODED = "decode to UTF-8"
"""What Python's sqlite3 says of text that is none."""
RECONCILE = "vvmigrate adopt --reconcile"
LAST_SEQ = (1 << 63) - 1  # sqlite.org/autoinc.html: the largest number of a row

Found = TypeVar("Found")


class Head(NamedTuple):
    """The end of the chain: sequence number and hash of its last row."""

    seq: int = 0
    hash: str = ""


def plain(value: Any) -> str:
    """What stands in a column of text, as text; what is no text as Python writes it."""
    return value if isinstance(value, str) else repr(value)


def notes_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """The notes of a step; nothing where they are none, which only a row that is not genuine has."""
    with suppress(ValueError, TypeError):
        notes = json.loads(row["notes"])
        if isinstance(notes, dict):
            return notes
    return {}


def _decoded(text: bytes) -> str | bytes:
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text


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
            StateError: no id, several, or a format that is none, or newer than this tool.
        """
        self.check_format()
        rows = self.rows("vv_ledger")
        if len(rows) != 1:
            raise StateError(f"the database holds {len(rows)} ledger ids, expected 1", hint=RECONCILE)
        if not isinstance(rows[0]["format"], int):
            text = f"the ledger has format {rows[0]['format']!r}, expected {schema.FORMAT}: somebody changed it"
            raise StateError(text, hint=RECONCILE)
        return plain(rows[0]["ledger_id"])

    def check_format(self) -> None:
        """The ledger must not be one of a newer tool.

        Raises:
            StateError: it is.
        """
        for row in self.rows("vv_ledger"):
            if isinstance(row["format"], int) and row["format"] > schema.FORMAT:
                raise StateError(
                    f"the ledger has format {row['format']}, this vvmigrate knows {schema.FORMAT}: use a newer one"
                )

    def version(self) -> str:
        """The revision that the database is at; empty at base.

        Raises:
            StateError: several version rows.
        """
        found = sorted(plain(row["version_num"]) for row in self.rows(schema.VERSION_TABLE))
        if len(found) > 1:
            raise StateError(f"the database holds {len(found)} version rows, expected one: {found}")
        return found[0] if found else ""

    def head(self) -> Head:
        """The end of the chain."""
        return max((self._last(table) for table in schema.LINKS), key=lambda head: head.seq)

    def _last(self, table: str) -> Head:
        row = self.first(f"SELECT seq, hash FROM {table} ORDER BY seq DESC LIMIT 1")
        return Head(row[0], plain(row[1])) if row else Head()

    def reaches(self, head: Head) -> bool:
        """Whether the chain once ended with this row, or still does."""
        links = (row for table in schema.LINKS for row in self.rows(table, "seq = ?", (head.seq,)))
        return head.seq == 0 or any(plain(row["hash"]) == head.hash for row in links)

    def rows(self, table: str, where: str = "1", arguments: tuple[Any, ...] = ()) -> list[dict[str, Any]]:
        """Rows of one of our tables, oldest first, as dictionaries; text that is not UTF-8 as bytes."""

        def read() -> list[dict[str, Any]]:
            cursor = self.connection.execute(f"SELECT * FROM {table} WHERE {where} ORDER BY rowid", arguments)
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor]

        return self.reading(read)

    def first(self, select: str, arguments: tuple[Any, ...] = ()) -> tuple[Any, ...] | None:
        """The first row that a query finds, or None; text that is not UTF-8 as bytes."""
        found: tuple[Any, ...] | None = self.reading(lambda: self.connection.execute(select, arguments).fetchone())
        return found

    def reading(self, read: Callable[[], Found]) -> Found:
        """Read; once more, with text that is not UTF-8 as bytes, where there is such text."""
        try:
            return read()
        except sqlite3.OperationalError as error:
            if UNDECODED not in str(error):
                raise
        self.connection.text_factory = _decoded
        try:
            return read()
        finally:
            self.connection.text_factory = str  # nothing of the orchestrator's is read like that

    def newest(
        self, table: str, where: str = "1", arguments: tuple[Any, ...] = (), limit: int = 0
    ) -> list[dict[str, Any]]:
        """Rows of one of our tables, newest first, as they may be shown; at most so many, 0 for all."""
        picked = f"seq IN (SELECT seq FROM {table} WHERE {where} ORDER BY seq DESC LIMIT ?)"
        rows = self.rows(table, picked, (*arguments, limit or -1))[::-1]
        return [
            {name: plain(value) if isinstance(value, bytes) else value for name, value in row.items()} for row in rows
        ]

    def count(self, table: str, where: str = "1", arguments: tuple[Any, ...] = ()) -> int:
        """How many rows there are."""
        found = self.connection.execute(f"SELECT count(*) FROM {table} WHERE {where}", arguments)
        return int(found.fetchone()[0])

    def step(self, step_id: str) -> dict[str, Any] | None:
        """The row of one attempt, if it has one."""
        rows = self.rows("vv_step", "step_id = ?", (step_id,))
        return rows[0] if rows else None
