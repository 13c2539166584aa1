"""Running a revision's code through Alembic, in a transaction that is ours.

The same function serves a rehearsal in memory and the real step: what differs is the connection, and what happens
when the version row has moved.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import Field, fields, is_dataclass
from typing import Any

from alembic import op
from alembic.migration import MigrationContext
from alembic.operations import MigrateOperation, Operations
from alembic.runtime.migration import RevisionStep
from sqlalchemy import Connection, create_engine, event
from sqlalchemy.engine.cursor import FullyBufferedCursorFetchStrategy
from sqlalchemy.pool import StaticPool

from vvmigrate import schema
from vvmigrate.engine import lenient
from vvmigrate.engine.acts import Acts
from vvmigrate.engine.guard import Guard
from vvmigrate.engine.keeping import KeepingImpl
from vvmigrate.engine.kept_rows import KEPT
from vvmigrate.engine.signals import is_signal
from vvmigrate.engine.statements import Statement, added_column, one_line
from vvmigrate.errors import StepError

_DENIED = ("not authorized", "authorization denied")
"""What SQLite says of a statement that is refused, and of one of a virtual table's own."""


class HostOperation(MigrateOperation):
    """What a revision may ask of the host; the subclasses, dataclasses, live in `vvmigrate.operations`."""

    def as_values(self) -> dict[str, Any]:
        """What it says, by the names of its fields."""
        own: tuple[Field[Any], ...] = fields(self) if is_dataclass(self) else ()
        return {field.name: getattr(self, field.name) for field in own if field.compare}

    def rows(self, connection: Connection) -> None:
        """Change rows of the database inside the step's transaction. Most operations have none to change."""


class Stage:
    """One run of one revision's code: collects what it asks for.

    Attributes:
        operations: the host operations asked for so far.
        statements: the SQL by which it changed schema or rows.
        seen: tables of which it got rows to see.
        acts: what the revision's code did, so that it can be done again without it.
        expected: what the rehearsal collected; a real run must ask for the same.
        lenient: a statement that fails does nothing: only what is asked of the host matters.
        on_table, on_column: told of each table, and column, that the revision's code has made, in whatever words.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        step_id: str,
        expected: tuple[HostOperation, ...] | None,
        *,
        lenient: bool = False,
    ) -> None:
        """Nothing collected yet."""
        self.step_id = step_id
        self.operations: list[HostOperation] = []
        self.statements: list[Statement] = []
        self.seen: set[str] = set()
        self.acts = Acts()
        self.expected = expected
        self.lenient = lenient
        self.guard = Guard(connection)
        self._marks: list[tuple[str, int]] = []
        self.on_table: Callable[[str], None] = lambda _name: None
        self.on_column: Callable[[str, str], None] = lambda _table, _column: None
        self._connection = connection

    def unguarded(self) -> AbstractContextManager[None]:
        """Let the engine's own statements through."""
        return self.guard.off_duty()

    def tell(self, statement: str) -> None:
        """SQL of the revision's code in whose place the engine does something else, for people."""
        self.statements.append(Statement(statement))

    def ran(self, statement: str) -> None:
        """A statement of the revision's code has been run; where it only looked there is nothing to tell."""
        if self.guard.savepoint:
            self._savepoint(*self.guard.savepoint)
        if (changed := self.guard.changed()) is None:
            return
        text = one_line(statement)
        if not text.upper().startswith("EXPLAIN"):  # explained, not done
            self.statements.append(Statement(text, changed))

    def ended(self, statement: str) -> None:
        """The same, and it is over: what was kept of a table or column that it makes comes back."""
        self.ran(statement)
        made = tuple(self.guard.made)
        self.guard.over()
        for table in made:
            self.on_table(table)
        if added := added_column(statement):
            self.on_column(*added)

    def failed(self, statement: str) -> None:
        """A statement of the revision's code failed; what it did before, in the first of several runs, is told."""
        if self.guard.has_changed_rows():
            self.ran(statement)
        self.guard.over()

    def _savepoint(self, what: str, name: str) -> None:
        """What is done behind a savepoint is not done if the revision goes back to it."""
        names = [mark for mark, _ in self._marks]
        if what == "BEGIN":
            self._marks.append((name, len(self.statements)))
        elif name in names:
            last = len(names) - 1 - names[::-1].index(name)
            if what == "ROLLBACK":
                del self.statements[self._marks[last][1] :]
            del self._marks[last + (what == "ROLLBACK") :]

    def act(self, kind: str, *facts: Any) -> AbstractContextManager[None]:
        """Write down what the block does, as one act."""
        return self.acts.one(kind, *facts)

    def run(self, statement: str, *arguments: Any) -> list[tuple[Any, ...]]:
        """Run a statement of the engine's in the step's transaction."""
        try:
            with self.unguarded():
                return self._connection.execute(statement, arguments).fetchall()
        except sqlite3.OperationalError:
            if not self.lenient:
                raise
            return []

    def orphans(self) -> Counter[tuple[str, str]]:
        """How many rows of a table miss their parent in another. What was kept is not in use, and does not count."""
        rows = self.run("PRAGMA foreign_key_check")
        return Counter((table, parent) for table, _, parent, _ in rows if not table.startswith(KEPT))

    def check_orphans(self, before: Counter[tuple[str, str]]) -> None:
        """Foreign keys are off while tables are rebuilt; the revision must leave no more orphans than it found.

        Raises:
            StepError: it does.
        """
        if more := self.orphans() - before:
            pairs = ", ".join(f"{table} (of {parent})" for table, parent in sorted(more))
            raise StepError(f"the revision leaves rows without their parent in {pairs}")

    def take(self, operation: HostOperation, connection: Connection) -> None:
        """A revision asked for a host operation.

        Raises:
            StepError: it did not ask for this when it was rehearsed.
        """
        number = len(self.operations)
        if self.expected is not None and (number >= len(self.expected) or self.expected[number] != operation):
            raise StepError(f"the revision asks for {operation!r}, which it did not when it was rehearsed")
        self.operations.append(operation)
        proposed = operation if self.expected is None else self.expected[number]
        with self.act("host", type(operation).__name__, operation.as_values()):
            proposed.rows(connection)


@Operations.implementation_for(HostOperation)
def _take(operations: Operations, operation: HostOperation) -> None:
    stage: Stage = operations.migration_context.opts["vvmigrate"]
    connection = operations.migration_context.connection
    if connection is None:
        raise StepError("host operations need a database connection")
    stage.take(operation, connection)


@contextmanager
def _alembic_connection(raw: sqlite3.Connection, stage: Stage) -> Iterator[tuple[Connection, Callable[[], None]]]:
    """The raw connection as SQLAlchemy's, beginning lazily until told to begin eagerly."""
    eager = False

    def begin_eagerly() -> None:
        nonlocal eager
        eager = True

    engine = create_engine("sqlite://", creator=lambda: raw, poolclass=StaticPool, pool_reset_on_return=None)

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if eager else "BEGIN")

    @event.listens_for(engine, "before_cursor_execute")
    def _capture(_c: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, many: bool) -> None:  # noqa: FBT001 - SQLAlchemy's order
        stage.guard.listen()
        stage.acts.statement(statement, parameters, many=many)

    @event.listens_for(engine, "after_cursor_execute")
    def _look(_c: Any, cursor: Any, statement: str, _parameters: Any, context: Any, many: bool) -> None:  # noqa: FBT001 - SQLAlchemy's order
        if cursor.description is not None:
            if not many:  # FTS5 prepares statements of its own for each row: they belong to this one
                context.cursor_fetch_strategy = FullyBufferedCursorFetchStrategy(cursor, cursor.description)
            stage.seen |= stage.guard.read
        stage.ended(statement)

    @event.listens_for(engine, "handle_error")
    def _failed(context: Any) -> None:
        stage.failed(context.statement or "")

    if stage.lenient:
        lenient.forgive(engine)

    with engine.connect() as connection:
        yield connection, begin_eagerly


def without_sql(step: RevisionStep, operations: Iterable[HostOperation]) -> RevisionStep:
    """The same step, of which only the host operations are left: what its SQL makes is there already."""

    def code(**_: Any) -> None:
        for operation in operations:
            op.invoke(operation)

    step.migration_fn = code
    return step


def _call(code: Callable[..., None], kw: dict[str, Any]) -> None:
    """Call a revision's function; it may fail, but not end the process.

    Raises:
        StepError: it tried to.
        Exception: whatever it raises.
    """
    try:
        code(**kw)
    except Exception:
        raise
    except BaseException as error:
        if is_signal(error):
            raise
        raise StepError(f"the revision wanted to end the process: {error!r}") from error


def run(
    raw: sqlite3.Connection,
    step: RevisionStep,
    stage: Stage,
    *,
    begun: Callable[[], None] = lambda: None,
    applied: Callable[[], None] = lambda: None,
) -> None:
    """Run one revision's upgrade or downgrade: BEGIN IMMEDIATE, its code, the version row, COMMIT.

    Args:
        begun: called inside the transaction, before the revision's code.
        applied: called inside the transaction, after the version row has moved and before COMMIT.

    Raises:
        StepError: the revision tried what it may not.
        Exception: whatever the revision's code raises; the transaction is rolled back.
    """
    code = step.migration_fn

    def guarded(**kw: Any) -> None:
        begun()
        stage.statements.clear()
        stage.seen.clear()
        orphans = stage.orphans() if step.is_upgrade else None  # nothing may stand in the way back
        with stage.guard.on_duty(), stage.acts.writing():
            _call(code, kw)
        if stage.expected is not None and len(stage.operations) != len(stage.expected):
            raise StepError("the revision asked for less than when it was rehearsed")
        impl.settle()
        if orphans is not None:
            stage.check_orphans(orphans)

    with _alembic_connection(raw, stage) as (connection, begin_eagerly):

        def steps(_heads: Any, _context: Any) -> list[RevisionStep]:
            connection.rollback()  # Alembic's look at the version row was a transaction of its own
            begin_eagerly()
            return [step]

        context = MigrationContext.configure(
            connection=connection,
            opts={
                "fn": steps,
                "version_table": schema.VERSION_TABLE,
                "transactional_ddl": True,
                "transaction_per_migration": True,
                "on_version_apply": (lambda **_: applied(),),
                "vvmigrate": stage,
            },
        )
        impl = KeepingImpl(context.dialect, connection, False, True, None, context.opts)  # noqa: FBT003 - Alembic's order
        context.impl = impl
        stage.on_table, stage.on_column = impl.return_rows, impl.return_column
        step.migration_fn = guarded
        try:
            with Operations.context(context) as operations:
                if stage.lenient:
                    lenient.pass_over_batches(operations, stage)
                context.run_migrations()
        except Exception as error:
            if stage.guard.refused and any(words in str(error) for words in _DENIED):
                raise StepError(f"the revision may not do this: {stage.guard.refused}") from error
            raise
        finally:
            step.migration_fn = code
