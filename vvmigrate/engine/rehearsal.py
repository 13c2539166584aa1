"""Rehearsing revisions: their code runs against an empty copy of the schema, in memory.

One copy is carried through all pending revisions, so that the second finds what the first made.
"""

from __future__ import annotations

import sqlite3
import uuid
from dataclasses import dataclass
from functools import partial
from typing import Self

from alembic.runtime.migration import RevisionStep

from vvmigrate import schema
from vvmigrate.engine import acts, runtime
from vvmigrate.engine.acts import Act
from vvmigrate.engine.existing import Schema, describe, quoted
from vvmigrate.engine.kept_rows import KEPT
from vvmigrate.engine.ledger import Ledger
from vvmigrate.engine.statements import Statement
from vvmigrate.engine.way_back import WayBack, replay


@dataclass(frozen=True)
class Rehearsed:
    """What one revision's code asked for.

    Attributes:
        operations: host operations, in order.
        statements: the SQL by which it changes schema or rows.
        reads_rows: it reads the orchestrator's rows, which the copy has not: the forecast may differ.
        acts: what it did, act by act; see `vvmigrate.engine.acts`.
    """

    operations: tuple[runtime.HostOperation, ...]
    statements: tuple[Statement, ...]
    reads_rows: bool
    acts: tuple[Act, ...] = ()


class Rehearsal:
    """A copy of a database's schema, in memory.

    Args:
        lenient: a statement that fails does nothing, since the copy lacks what no revision made: only what revisions
            ask of the host matters.
    """

    def __init__(self, *, lenient: bool = False) -> None:
        """An empty host's database: our tables, nothing else."""
        self._lenient = lenient
        self._connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        for statement in schema.TABLES.values():
            self._connection.execute(statement)

    @classmethod
    def of(cls, source: sqlite3.Connection | None) -> Self:
        """A copy of a real database's schema; where it is ours also its version row, and what is known of kept rows."""
        copy = cls()
        if source is None:
            return copy
        copy._take_schema(source)
        ledger = Ledger(source, None)
        if not ledger.installed():
            return copy
        copy._connection.executemany("INSERT INTO vv_kept VALUES (?, ?, ?, ?)", source.execute("SELECT * FROM vv_kept"))
        if version := ledger.version():
            copy._connection.execute(f"INSERT INTO {schema.VERSION_TABLE} VALUES (?)", (version,))
        return copy

    def _take_schema(self, source: sqlite3.Connection) -> None:
        """Make what a database has beside our own tables; of virtual ones those whose module is here.

        A module that is not here is not in the step's own SQLite either: a revision cannot do with its table what the
        copy lacks.
        """
        shadows = _shadows(source)
        for name, sql in source.execute(f"SELECT name, sql {_MADE}").fetchall():
            if name in schema.TABLES or name in shadows:
                continue
            try:
                self._connection.execute(sql)
            except sqlite3.OperationalError as error:
                if not str(error).startswith("no such module"):
                    raise

    @property
    def connection(self) -> sqlite3.Connection:
        """The copy itself, for looking at what revisions made of it."""
        return self._connection

    def run(self, step: RevisionStep, step_id: str = "") -> Rehearsed:
        """Run one revision's code on the copy, which stays as the revision left it.

        Args:
            step_id: names what is kept; a new one where it is empty.

        Raises:
            Exception: whatever the revision's code raises.
        """
        stage = runtime.Stage(self._connection, step_id or uuid.uuid4().hex, None, lenient=self._lenient)
        tables = self._tables()
        runtime.run(self._connection, step, stage)
        reads = not tables.isdisjoint(stage.seen)
        return Rehearsed(tuple(stage.operations), tuple(stage.statements), reads, tuple(stage.acts.done))

    def way_back(self, step: RevisionStep) -> WayBack:
        """Learn what a revision's downgrade would do now, and prove that the record of it does the same.

        The copy stays as it is: both are tried on copies of it.

        Args:
            step: the revision's downgrade.
        """
        with self.copy() as one, self.copy() as other:
            done = None
            try:
                done = one.run(step, step_id := uuid.uuid4().hex)
                if done.reads_rows:
                    return WayBack(problem="what its downgrade does depends on the orchestrator's rows")
                record = acts.as_bytes(list(done.acts))
                step.migration_fn = partial(replay, acts.from_bytes(record))
                again = other.run(step, step_id)
            except Exception as error:  # noqa: BLE001 - a revision may raise anything
                first = (str(error).strip() or "no message").splitlines()[0]
                problem = f"its downgrade fails when it is rehearsed: {type(error).__name__}: {first}"
                return WayBack(problem=problem, fails=done is None)
            if (again.operations, other.dump()) != (done.operations, one.dump()):
                return WayBack(problem="its downgrade does not do the same twice")
            return WayBack(record)

    def dump(self) -> list[str]:
        """All that the copy holds. Virtual tables have their rows in others, and cannot all be read while kept."""
        execute = self._connection.execute
        made = execute("SELECT type, name, rootpage != 0, sql FROM sqlite_master ORDER BY type, name").fetchall()
        found = [repr(one) for one in (*made, *execute("PRAGMA user_version"))]
        for kind, name, has_rows, _ in made:
            if kind == "table" and has_rows:
                found += [repr((name, *row)) for row in execute(f"SELECT * FROM {quoted(name)}")]
        return found

    def copy(self) -> Self:
        """Another copy, as this one is now."""
        other = type(self)()
        self._connection.backup(other._connection)  # noqa: SLF001 - of the same class
        return other

    def schema(self) -> Schema:
        """The orchestrator's tables, indexes, views and triggers; neither ours nor what was kept."""
        return describe(
            lambda statement, *arguments: self._connection.execute(statement, arguments).fetchall(),
            lambda table: table in schema.TABLES or table.startswith(KEPT),
        )

    def _tables(self) -> set[str]:
        rows = self._connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        return {name for (name,) in rows if name not in schema.TABLES and not name.startswith("sqlite_")}

    def __enter__(self) -> Self:
        """Close with the block."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Forget the copy."""
        self._connection.close()


_MADE = (
    "FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' "
    "ORDER BY type = 'table' DESC, rootpage = 0, type = 'view' DESC, rowid"  # virtual tables have no page of their own
)

_LIST = "PRAGMA table_list"  # since SQLite 3.37; before it says nothing


def _shadows(source: sqlite3.Connection) -> set[str]:
    """Tables in which virtual ones keep their rows, as FTS5 does: they come with these by themselves."""
    if listed := source.execute(_LIST).fetchall():
        return {name for _, name, kind, *_ in listed if kind == "shadow"}
    tables = source.execute("SELECT name, rootpage = 0 FROM sqlite_master WHERE type = 'table'").fetchall()
    virtual = tuple(f"{name}_" for name, is_virtual in tables if is_virtual)
    return {name for name, _ in tables if name.startswith(virtual)}
