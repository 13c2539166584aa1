"""What a revision's own SQL may not do, enforced by SQLite itself; and what it does, told by SQLite too.

The authorizer is asked when a statement is prepared, so `op.execute("COMMIT")`, which passes every hook of
SQLAlchemy's, does not pass here. Setting it anew expires all statements that were prepared. It is told what a statement
does whatever its words are: behind comments, `WITH` or quotes. What SQLAlchemy has not announced nobody could
plan, record or tell: the driver's connection, which a revision can get hold of, runs nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from vvmigrate import schema
from vvmigrate.engine.kept_rows import KEPT

_ENDS = {
    sqlite3.SQLITE_TRANSACTION: "BEGIN, COMMIT or ROLLBACK",
    sqlite3.SQLITE_ATTACH: "ATTACH",
    sqlite3.SQLITE_DETACH: "DETACH",
}
_WRITES = {
    sqlite3.SQLITE_INSERT,
    sqlite3.SQLITE_UPDATE,
    sqlite3.SQLITE_DELETE,
    sqlite3.SQLITE_CREATE_INDEX,
    sqlite3.SQLITE_DROP_INDEX,
    sqlite3.SQLITE_ALTER_TABLE,
    sqlite3.SQLITE_CREATE_TRIGGER,
    sqlite3.SQLITE_CREATE_TEMP_TRIGGER,
}
_OF_ROWS = {
    sqlite3.SQLITE_INSERT: "INSERT INTO",
    sqlite3.SQLITE_UPDATE: "UPDATE",
    sqlite3.SQLITE_DELETE: "DELETE FROM",
}
_OF_SCHEMA = {
    sqlite3.SQLITE_ALTER_TABLE,
    sqlite3.SQLITE_ANALYZE,
    sqlite3.SQLITE_REINDEX,
    *(getattr(sqlite3, f"SQLITE_{verb}_{what}") for verb in ("CREATE", "DROP") for what in (
        "INDEX", "TABLE", "TEMP_INDEX", "TEMP_TABLE", "TEMP_TRIGGER", "TEMP_VIEW", "TRIGGER", "VIEW", "VTABLE"
    )),
}  # fmt: skip
_MAKES = {sqlite3.SQLITE_CREATE_TABLE, sqlite3.SQLITE_CREATE_VTABLE}
_CATALOGUES = {"sqlite_master", "sqlite_temp_master"}
"""The tables in which SQLite keeps the schema: every change of it is also one of their rows."""
NUMBER = "user_version"
"""The one setting that is the schema's: a number that SQLite keeps for whoever makes the tables."""
READING_PRAGMAS = frozenset(
    {"table_info", "table_xinfo", "table_list", "index_list", "index_info", "index_xinfo", "foreign_key_list"}
    | {"foreign_key_check", "database_list", NUMBER, "encoding", "foreign_keys", "collation_list"}
    | {"data_version", "integrity_check", "quick_check", "compile_options"}
)
LOOKS_WITHOUT_VALUE = frozenset({"page_size"})
"""What an R*Tree asks for when it is made; with a value it would be set."""

Authorizer = Callable[[int, str | None, str | None, str | None, str | None], int]


class Guard:
    """Stands between a revision's code and the connection, while that code runs.

    `refused` holds what was refused last, in words, since SQLite only says "not authorized"; `read` the tables that
    a statement reads, also through views; `made` those that it makes; `savepoint` what it does to one of which name.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Know the connection; nothing is enforced yet."""
        self._connection = connection
        self.refused = ""
        self.read: set[str] = set()
        self.made: list[str] = []
        self.savepoint: tuple[str, str] | None = None
        self._announced = False
        self._before = 0
        self._changes: str | None = None
        self._authorizer: Authorizer | None = None

    def listen(self) -> None:
        """The revision's code is about to run a statement."""
        self.read.clear()
        self.made.clear()
        self._changes, self._announced, self.savepoint = None, True, None
        self._before = self._connection.total_changes

    def over(self) -> None:
        """That statement has ended, however it did; of the same one SQLite is asked again, whoever runs it."""
        self._announced = False
        self._ask(self._authorizer)

    def changed(self) -> str | None:
        """What the statement that was run changed.

        Returns:
            Of rows the verb and the table that it names; an empty text for the schema; None where it only looked.
        """
        return self._changes

    def has_changed_rows(self) -> bool:
        """Whether the statement changed any, though it may have failed: in the first of several runs."""
        return self._connection.total_changes != self._before

    @contextmanager
    def on_duty(self) -> Iterator[None]:
        """Enforce the rules for a revision's code."""
        self._ask(self._judge)
        try:
            yield
        finally:
            self._ask(None)

    @contextmanager
    def off_duty(self) -> Iterator[None]:
        """Let the engine's own statements through, in the middle of a revision's code."""
        before = self._authorizer
        self._ask(self._note)
        try:
            yield
        finally:
            self._ask(before)

    def _ask(self, authorizer: Authorizer | None) -> None:
        """Whom SQLite asks from now on, about statements that it has prepared already too."""
        self._authorizer = authorizer
        self._connection.set_authorizer(authorizer)

    def _note(self, action: int, first: str | None, second: str | None, _third: str | None, by: str | None) -> int:
        """Remember what a statement reads, and what it is told to change first: more may follow from that."""
        if action == sqlite3.SQLITE_READ and first:
            self.read.add(first)
        if action == sqlite3.SQLITE_SAVEPOINT and first and second:
            self.savepoint = first, second.lower()
        if action in _MAKES and first:
            self.made.append(first)
        if self._changes is None and by is None:
            if action in _OF_ROWS and first not in _CATALOGUES:
                self._changes = f"{_OF_ROWS[action]} {first}"
            elif action in _OF_SCHEMA or (
                action == sqlite3.SQLITE_PRAGMA and second and (first or "").lower() == NUMBER
            ):
                self._changes = ""
        return sqlite3.SQLITE_OK

    def _judge(self, action: int, first: str | None, second: str | None, third: str | None, by: str | None) -> int:
        self._note(action, first, second, third, by)
        refused = _forbidden(action, first or "", second or "", third or "")
        if not refused and not self._announced:
            refused = "SQL past SQLAlchemy, which no plan could tell (use op.execute, or op.get_bind().execute)"
        if not refused:
            return sqlite3.SQLITE_OK
        self.refused = refused
        return sqlite3.SQLITE_DENY


def _forbidden(action: int, first: str, second: str, third: str) -> str:
    """What a statement would do that a revision may not; empty if it may. See sqlite.org/c3ref/c_alter_table.html."""
    if action in _ENDS:
        return f"{_ENDS[action]} (the step's transaction belongs to vvmigrate)"
    if action == sqlite3.SQLITE_DROP_TABLE:
        return f"DROP TABLE {first} (use op.drop_table: it keeps the rows)"
    if action == sqlite3.SQLITE_ALTER_TABLE and third:  # of all its forms only DROP COLUMN names a column
        return f"ALTER TABLE {second} DROP COLUMN {third} (use op.drop_column: it keeps the values)"
    if action in _WRITES and (ours := [name for name in (first, second) if _is_ours(name)]):
        return f"writing to {ours[0]} (the ledger is vvmigrate's)"
    looks = first.lower() in READING_PRAGMAS or (first.lower() in LOOKS_WITHOUT_VALUE and not second)
    if action == sqlite3.SQLITE_PRAGMA and not looks:
        return f"PRAGMA {first} (the connection's settings are vvmigrate's)"
    return ""


def _is_ours(name: str) -> bool:
    return name in schema.TABLES or name.startswith(KEPT)
