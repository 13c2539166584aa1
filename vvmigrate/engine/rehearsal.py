"""Rehearsing revisions: their code runs against an empty copy of the schema, in memory.

One copy is carried through all pending revisions, so that the second finds what the first made.
"""

from __future__ import annotations

import re
import sqlite3
import uuid
from dataclasses import dataclass
from typing import Self

from alembic.runtime.migration import RevisionStep

from vvmigrate import schema
from vvmigrate.engine import runtime
from vvmigrate.engine.existing import Described, describe
from vvmigrate.engine.kept_rows import KEPT
from vvmigrate.engine.ledger import Ledger


@dataclass(frozen=True)
class Rehearsed:
    """What one revision's code asked for.

    Attributes:
        operations: host operations, in order.
        statements: the SQL by which it changes schema or rows, a line each, for people.
        reads_rows: it reads the orchestrator's rows, which the copy has not: the forecast may differ.
    """

    operations: tuple[runtime.HostOperation, ...]
    statements: tuple[str, ...]
    reads_rows: bool


class Rehearsal:
    """A copy of a database's schema, in memory."""

    def __init__(self) -> None:
        """An empty host's database: our tables, nothing else."""
        self._connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        for statement in schema.TABLES.values():
            self._connection.execute(statement)

    @classmethod
    def of(cls, ledger: Ledger | None) -> Self:
        """A copy of a real database's schema, its version row, and what is known of kept rows."""
        copy = cls()
        if ledger is None:
            return copy
        source = ledger.connection
        statements = source.execute(
            "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' "
            "ORDER BY type = 'table' DESC, type = 'view' DESC, rowid"
        )
        for name, sql in statements.fetchall():
            if name not in schema.TABLES:
                copy._connection.execute(sql)
        copy._connection.executemany("INSERT INTO vv_kept VALUES (?, ?, ?, ?)", source.execute("SELECT * FROM vv_kept"))
        if version := ledger.version():
            copy._connection.execute(f"INSERT INTO {schema.VERSION_TABLE} VALUES (?)", (version,))
        return copy

    @property
    def connection(self) -> sqlite3.Connection:
        """The copy itself, for looking at what revisions made of it."""
        return self._connection

    def run(self, step: RevisionStep) -> Rehearsed:
        """Run one revision's code on the copy, which stays as the revision left it.

        Raises:
            Exception: whatever the revision's code raises.
        """
        stage = runtime.Stage(self._connection, uuid.uuid4().hex, None)
        tables = self._tables()
        runtime.run(self._connection, step, stage)
        reads = any(_reads_rows(statement, tables) for statement in stage.statements)
        return Rehearsed(tuple(stage.operations), stage.changing(), reads)

    def copy(self) -> Self:
        """Another copy, as this one is now."""
        other = type(self)()
        self._connection.backup(other._connection)  # noqa: SLF001 - of the same class
        return other

    def schema(self) -> dict[tuple[str, str], Described]:
        """The orchestrator's tables, indexes, views and triggers; neither ours nor what was kept."""
        return describe(
            lambda statement, *arguments: self._connection.execute(statement, arguments).fetchall(),
            lambda table: table in schema.TABLES or table.startswith(KEPT),
        )

    def _tables(self) -> list[str]:
        rows = self._connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        return [name for (name,) in rows if name not in schema.TABLES and not name.startswith("sqlite_")]

    def __enter__(self) -> Self:
        """Close with the block."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Forget the copy."""
        self._connection.close()


_CHANGES_BEHIND_WITH = re.compile(r"\)\s*(insert|replace|update|delete)\b")


def _reads_rows(statement: str, tables: list[str]) -> bool:
    words = statement.lower().lstrip()
    if not words.startswith(("select", "with")) or (words.startswith("with") and _CHANGES_BEHIND_WITH.search(words)):
        return False
    return any(re.search(rf"\b{re.escape(table.lower())}\b", words) for table in tables)
